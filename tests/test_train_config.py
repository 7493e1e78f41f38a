from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config import schema
from hypir_cli.config.families import family_names
from hypir_cli.config.schedule import ScheduleConfig
from hypir_cli.config.train import (
    TrainEncoderConfig,
    TrainGanConfig,
    resolved_yaml,
    train_config,
)
from hypir_cli.errors import ConfigError
from tests.pictures import EXAMPLES


@pytest.mark.parametrize("preset", family_names())
def test_every_preset_is_valid_for_both_commands(preset: str) -> None:
    gan = train_config(TrainGanConfig, [("test", {"preset": preset})], command="gan")
    encoder = train_config(TrainEncoderConfig, [("test", {"preset": preset})], command="encoder")
    assert gan.model.backbone == encoder.model.backbone == preset
    assert gan.output_dir == Path("runs") / f"{preset}-gan"
    assert encoder.output_dir == Path("runs") / f"{preset}-encoder"


def test_the_sd2_preset_has_the_numbers_of_the_release() -> None:
    config = train_config(TrainGanConfig, [("test", {"preset": "sd2"})], command="gan")
    assert config.lora.rank == 256
    assert (config.loss.adversarial, config.loss.perceptual, config.loss.pixel) == (0.5, 5.0, 1.0)
    assert config.ema.decay == 0.999
    assert [config.schedule.rates(step) for step in (0, 9_999, 10_000)] == [
        (1e-5, 1e-5),
        (1e-5, 1e-5),
        (5e-6, 5e-6),
    ]
    assert config.schedule.at(10_000).accumulation == 4 * config.schedule.at(0).accumulation
    assert config.schedule.total_steps == 20_000


def test_a_printed_configuration_reads_back_as_itself() -> None:
    printed = CliRunner().invoke(app, ["train-gan", "--print-config", "sd2"])
    assert printed.exit_code == 0
    values = schema.read_yaml(printed.stdout)
    wanted = train_config(TrainGanConfig, [("test", {"preset": "sd2"})], command="gan")
    assert train_config(TrainGanConfig, [("printed", values)], command="gan") == wanted
    for line in ("# How weights move.", "# Optimiser."):
        assert (line in printed.stdout) == (line == "# Optimiser.")


def test_a_file_beats_its_preset_and_set_beats_the_file() -> None:
    layers: list[schema.Layer] = [
        ("file", {"preset": "tiny", "lora": {"rank": 8}, "seed": 1}),
        ("--set", {"seed": 2, "degradation_preset": "light"}),
    ]
    config = train_config(TrainGanConfig, layers, command="gan")
    light = train_config(TrainGanConfig, [("x", {"degradation_preset": "light"})], command="gan")
    assert (config.lora.rank, config.seed, config.data.crop_size) == (8, 2, 96)
    assert config.degradation == light.degradation
    assert config.degradation != TrainGanConfig().degradation


def test_scientific_notation_is_a_number_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("schedule: {first: {lr: 1e-5}}\noptim: {eps: 1E-7, betas: [.9, 9.5e-1]}\n")
    layers = [
        (str(path), schema.load_yaml(path)),
        ("--set", schema.parse_assignments(["schedule.second.lr=1e-4", "data.prompt=off"])),
    ]
    config = train_config(TrainGanConfig, layers, command="gan")
    assert (config.schedule.first.lr, config.schedule.second.lr) == (1e-5, 1e-4)
    assert (config.optim.eps, config.optim.betas) == (1e-7, (0.9, 0.95))
    assert config.data.prompt == "off"


@pytest.mark.parametrize("preset", family_names())
@pytest.mark.parametrize(
    ("cls", "command"), [(TrainGanConfig, "gan"), (TrainEncoderConfig, "encoder")]
)
def test_presets_act_on_top_of_a_printed_configuration(
    tmp_path: Path, preset: str, cls: type[TrainGanConfig], command: Literal["gan", "encoder"]
) -> None:
    printed = CliRunner().invoke(app, [f"train-{command}", "--print-config", "tiny"])
    path = tmp_path / "run.yaml"
    path.write_text(printed.stdout, encoding="utf-8")

    def made(*assignments: str, text: str = printed.stdout) -> object:
        path.write_text(text, encoding="utf-8")
        layers = [
            (str(path), schema.load_yaml(path)),
            ("--set", schema.parse_assignments(assignments)),
        ]
        return train_config(cls, layers, command=command)

    def direct(values: dict[str, object]) -> object:
        return train_config(cls, [("direct", values)], command=command)

    assert made(f"preset={preset}") == direct({"preset": preset})
    light = {"preset": "tiny", "degradation_preset": "light"}
    assert made("degradation_preset=light") == direct(light)
    edited = printed.stdout.replace(
        "#= degradation_preset: realesrgan", "degradation_preset: light"
    )
    assert edited != printed.stdout
    assert made(text=edited) == direct(light)


def test_a_degradation_preset_that_a_later_layer_names_stands_alone() -> None:
    def made(*layers: dict[str, object]) -> TrainGanConfig:
        named: list[schema.Layer] = [(f"layer {n}", values) for n, values in enumerate(layers)]
        return train_config(TrainGanConfig, named, command="gan")

    tiny: dict[str, object] = {"preset": "tiny"}
    assert "scan" in made(tiny).degradation_mix
    assert made(tiny, {"degradation_preset": "light"}).degradation_mix == ()
    both: dict[str, object] = {"degradation_preset": "light", "degradation_mix": ["phone"]}
    assert made(tiny, both).degradation_mix == ("phone",)
    assert made(tiny, both, {"seed": 5}).degradation_mix == ("phone",)
    assert made(both, {"degradation_preset": "scan"}).degradation_mix == ()


def test_a_preset_named_later_beats_earlier_values_and_its_own_layer_beats_it() -> None:
    layers: list[schema.Layer] = [
        ("file", {"preset": "tiny", "lora.rank": 8, "seed": 3}),
        ("--set", {"preset": "sd2", "data.crop_size": 128}),
    ]
    config = train_config(TrainGanConfig, layers, command="gan")
    assert (config.lora.rank, config.seed, config.data.crop_size) == (256, 3, 128)
    assert config.model.backbone == "sd2"


def test_a_preset_of_which_its_own_layer_leaves_nothing_is_an_error() -> None:
    config = train_config(TrainGanConfig, [("x", {"preset": "tiny"})], command="gan")
    values = schema.to_dict(config)
    for change in ({"preset": "sd2"}, {"degradation_preset": "light"}):
        with pytest.raises(ConfigError, match="the preset changes nothing"):
            train_config(TrainGanConfig, [("config.yaml", values | change)], command="gan")
    assert train_config(TrainGanConfig, [("config.yaml", values)], command="gan") == config


def test_the_resolved_file_names_its_origin_without_claiming_the_preset() -> None:
    layers: list[schema.Layer] = [
        ("x", {"preset": "tiny", "lora.rank": 3, "degradation_preset": "light"})
    ]
    config = train_config(TrainGanConfig, layers, command="gan")
    text = resolved_yaml(config)
    assert text.splitlines()[0].endswith("preset tiny, degradation preset light.")
    values = schema.read_yaml(text)
    assert (values["preset"], values["degradation_preset"]) == ("", "")
    again = train_config(TrainGanConfig, [("config.yaml", values)], command="gan")
    assert again == replace(config, preset="", degradation_preset="")


@pytest.mark.parametrize(
    "values", [{"lora.rank": 1, "lora": {"rank": 2}}, {"lora": {"rank": 1}, "lora.rank": 1}]
)
def test_a_key_set_twice_in_one_layer_is_an_error(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank is set twice"):
        train_config(TrainGanConfig, [("x", values)], command="gan")
    with pytest.raises(ConfigError, match="given twice"):
        schema.parse_assignments(["seed=1", "seed=2"])


def test_step_sizes_rise_over_the_warm_up() -> None:
    values = {"first": {"steps": 4, "lr": 1.0, "warmup_steps": 2, "discriminator_lr": 0.5}}
    schedule = schema.resolve(ScheduleConfig, layers=[("test", values)])
    assert [schedule.rates(step) for step in range(3)] == [(0.5, 0.25), (1.0, 0.5), (1.0, 0.5)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora": {"ranks": 3}}, "unknown setting 'lora.ranks'"),
        ({"preset": "sd9"}, "no training preset 'sd9'"),
        ({"degradation_preset": "rain"}, "no degradation preset 'rain'"),
        ({"schedule": {"first": {"steps": 0}}}, "at least 1 step"),
        ({"ema": {"decay": 1.0}}, "ema.decay"),
        ({"optim": {"batch_size": 0}}, "optim.batch_size"),
        ({"checkpoint": {"keep_best": "psnr"}}, "keep_best needs validation.sources"),
        ({"device": "gpu"}, "device must be"),
        ({"discriminator": {"real_target": 0.0}}, "real_target"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_config(TrainGanConfig, [("test.yaml", values)], command="gan")


def test_an_unknown_key_is_a_two_line_error(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("lora: {ranks: 3}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["train-gan", str(path)])
    assert result.exit_code == 1
    lines = result.stderr.strip().splitlines()
    assert lines[0].startswith("Error: ")
    assert lines[1] == "Hint: did you mean lora.rank?"


def test_a_command_without_settings_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["train-encoder"]).exit_code == 2


def test_the_example_settings_are_valid() -> None:
    path = EXAMPLES / "train_gan.yaml"
    config = train_config(TrainGanConfig, [(str(path), schema.load_yaml(path))], command="gan")
    assert config.controls.texture
    assert config.lora.rank == 256
