"""All weights of a backbone train, resume, are saved as its own, and restore what they did in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypir_cli.config.restore import ModelConfig, RuntimeConfig
from hypir_cli.errors import CheckpointError, ConfigError
from hypir_cli.models.checkpoint import load_tensors, save_tensors
from hypir_cli.models.load import load_model
from hypir_cli.models.lora import CONTROL_PREFIX
from hypir_cli.models.whole import apply_whole, whole_modules
from hypir_cli.train.runs import train_gan
from tests.training import gan_config, gan_stage, load_configured, random_pairs, trainable_names

WHOLE = {"lora.rank": "full", "loss.adversarial": 0.0}


def test_all_weights_of_vae_and_denoiser_train_and_the_text_encoder_does_not(
    tmp_path: Path,
) -> None:
    config = gan_config(tmp_path, {**WHOLE, "controls.texture": True})
    with gan_stage(config) as (stage, _):
        names = trainable_names(stage)
        stage.accumulate(random_pairs(), scale=1.0)
        parameters = stage.models.trained.named()
        reached = {key for key, value in parameters.items() if value.grad is not None}
    assert {name.split(".")[0] for name in names} == {"vae", "denoiser", "control_embedding"}
    assert any(key.startswith("vae.encoder.") for key in reached)
    assert any(key.startswith("vae.decoder.") for key in reached)
    assert any(key.startswith("denoiser.") for key in reached)


@pytest.mark.parametrize("backbone", ["tiny", "sd2"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_result_restores_as_the_averaged_weights_did(
    tmp_path: Path, backbone: str, precision: str
) -> None:
    config = gan_config(
        tmp_path, {**WHOLE, "backbone": backbone, "optim.precision": precision, "ema.decay": 0.0}
    )
    result = train_gan(config).result
    tensors, info = load_tensors(result)
    assert info is not None
    assert info.kind == "backbone"
    assert all(value.dtype == torch.float32 for value in tensors.values())
    fresh, trained = load_configured(config), load_configured(config)
    apply_whole(trained, result)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(fresh.encode(images), trained.encode(images))
    for part, module in whole_modules(trained).items():
        for name, value in module.named_parameters():
            torch.testing.assert_close(value, tensors[f"{part}.{name}"].to(value.dtype))


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def run(name: str, steps: int, resume: str | None = None) -> Path:
        overrides = {
            **WHOLE,
            "controls.texture": True,
            "schedule.first.steps": steps,
            "output_dir": str(tmp_path / name),
        }
        return train_gan(gan_config(tmp_path, overrides), resume=resume).result

    unbroken = load_tensors(run("one", 4))[0]
    run("two", 2)
    resumed = load_tensors(run("two", 4, resume="auto"))[0]
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)


def test_a_run_starts_from_the_whole_weights_of_another(tmp_path: Path) -> None:
    first = train_gan(gan_config(tmp_path, WHOLE)).result
    config = gan_config(
        tmp_path, {**WHOLE, "lora.start": str(first), "output_dir": str(tmp_path / "next")}
    )
    with gan_stage(config) as (stage, _):
        tensors = load_tensors(first)[0]
        for key, value in stage.models.trained.named().items():
            assert torch.equal(value, tensors[key])


def test_restoring_takes_whole_weights_where_it_takes_adapters(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {**WHOLE, "ema.decay": 0.0})
    result = train_gan(config).result
    model = ModelConfig(base=config.model.base, lora=str(result))
    runtime = RuntimeConfig(device="cpu", dtype="fp32")
    loaded = load_model(model, runtime)
    weights = dict(whole_modules(loaded.backbone)["denoiser"].named_parameters())
    tensors = load_tensors(result)[0]
    assert all(torch.equal(value, tensors[f"denoiser.{key}"]) for key, value in weights.items())
    assert "ema.safetensors" in loaded.weights
    with pytest.raises(ConfigError, match="no strength of 0"):
        load_model(replace(model, lora_scale=0.5), runtime)


def test_whole_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    config = gan_config(tmp_path, WHOLE)
    result = train_gan(config).result
    tensors, info = load_tensors(result)
    assert info is not None
    key = next(iter(tensors))
    save_tensors(tmp_path / "bad.safetensors", {**tensors, key: torch.zeros(1)}, info=info)
    with pytest.raises(CheckpointError, match="of another shape") as caught:
        apply_whole(load_configured(config), tmp_path / "bad.safetensors")
    assert key in str(caught.value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", ["vae.encoder", "vae", "denoiser.conv_in"])
def test_frozen_weights_stay_and_are_saved_beside_the_others(
    tmp_path: Path, frozen: str, precision: str
) -> None:
    overrides = {**WHOLE, "lora.frozen": [frozen], "optim.precision": precision, "ema.decay": 0.0}
    config = gan_config(tmp_path, overrides)
    before = {
        f"{part}.{name}": value.detach().clone()
        for part, module in whole_modules(load_configured(gan_config(tmp_path))).items()
        for name, value in module.named_parameters()
    }
    after = load_tensors(train_gan(config).result)[0]
    assert before.keys() <= after.keys()
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed
    assert {key for key in changed if key.startswith(f"{frozen}.")} == set()
    resumed = gan_config(tmp_path, {**overrides, "schedule.first.steps": 6})
    again = load_tensors(train_gan(resumed, resume="auto").result)[0]
    assert any(not torch.equal(after[key], again[key]) for key in changed)


@pytest.mark.parametrize(
    ("backbone", "frozen", "reached"),
    [
        ("tiny", ["vae.encoder"], False),
        ("tiny", ["vae.encoder.blocks"], True),
        # Its quant_conv encodes too.
        ("sd2", ["vae.encoder"], True),
        ("sd2", ["vae.encoder", "vae.quant_conv"], False),
    ],
)
def test_no_gradient_is_taken_to_a_frozen_encoder(
    tmp_path: Path, backbone: str, frozen: list[str], reached: bool
) -> None:
    config = gan_config(tmp_path, {**WHOLE, "backbone": backbone, "lora.frozen": frozen})
    with gan_stage(config) as (stage, _):
        assert stage.models.trained.reach_encoder == reached


@pytest.mark.parametrize(
    ("frozen", "reached"), [(["vae.encoder", "denoiser"], False), (["denoiser.conv_in"], True)]
)
def test_controls_stay_as_they_are_where_all_of_the_denoiser_does(
    tmp_path: Path, frozen: list[str], reached: bool
) -> None:
    overrides = {**WHOLE, "lora.frozen": frozen, "controls.texture": True, "ema.decay": 0.0}
    config = gan_config(tmp_path, overrides)
    with gan_stage(config) as (stage, _):
        assert stage.models.trained.reach_controls == reached
        embedding = stage.models.backbone.control_embedding
        assert embedding is not None
        before = {key: value.clone() for key, value in embedding.state_dict().items()}
    after = load_tensors(train_gan(config).result)[0]
    same = [torch.equal(value, after[f"{CONTROL_PREFIX}{key}"]) for key, value in before.items()]
    assert all(same) != reached


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora.frozen": ["vae.encodr"]}, "no weight's name begins with 'vae.encodr'"),
        ({"lora.frozen": ["vae.enc"]}, "no weight's name begins with 'vae.enc'"),
        ({"lora.frozen": ["vae", "denoiser"]}, "leaves no weight"),
        ({"lora.frozen": ["vae"], "lora.rank": 4}, "needs lora.rank full"),
    ],
)
def test_names_of_frozen_weights_are_checked(
    tmp_path: Path, values: dict[str, object], message: str
) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        gan_stage(gan_config(tmp_path, {**WHOLE, **values})),
    ):
        pass


def test_whole_weights_cannot_train_on_a_quantised_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quantize_base must be none"):
        gan_config(tmp_path, {**WHOLE, "lora.quantize_base": "int8"})


def test_a_rank_is_a_number_or_full(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank"):
        gan_config(tmp_path, {"lora.rank": "half"})
