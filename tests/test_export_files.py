"""Where a LoRA comes from, what rank reduction costs, the release's format, merged folders, and the command."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.export import ExportConfig
from hypir_cli.config.restore import ModelConfig, RuntimeConfig
from hypir_cli.errors import CheckpointError, ConfigError, HypirError
from hypir_cli.export.reduce import reduce_rank, summarize
from hypir_cli.export.run import export_lora
from hypir_cli.info.inspection import folder_facts
from hypir_cli.models.backbones.controls import ControlEmbedding
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo, read_info, save_tensors
from hypir_cli.models.load import load_model
from hypir_cli.models.lora import merge_lora, read_lora, save_lora
from hypir_cli.models.run_weights import find_trained_weights
from tests.adapted_families import RANK, Family, assert_same, make_family

RELEASE = Path(__file__).parent / "data" / "golden" / "lora.pth"
"""A LoRA in the release's format."""


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return make_family("sd2", tmp_path_factory.mktemp("sd2"))


def exported(source: Path, out: Path, **settings: Any) -> Any:
    return export_lora(source, out, config=ExportConfig(**settings))


def test_the_release_format_comes_back_key_for_key_and_bit_for_bit(tmp_path: Path) -> None:
    exported(RELEASE, tmp_path / "ours.safetensors")
    result = exported(tmp_path / "ours.safetensors", tmp_path / "back.pth", format="reference")
    expected = torch.load(RELEASE, weights_only=True)
    back = torch.load(result.path, weights_only=True)
    assert set(back) == set(expected)
    assert all(torch.equal(back[key], expected[key]) for key in expected)


def test_the_release_format_is_for_sd2_and_has_its_ending(sd2: Family, tmp_path: Path) -> None:
    assert exported(sd2.lora, tmp_path / "x", format="reference").path == tmp_path / "x.pth"
    with pytest.raises(ConfigError, match="is for sd2, not for flux"):
        exported(sd2.lora, tmp_path / "y", backbone="flux")
    save_lora(
        tmp_path / "z.safetensors",
        read_lora(sd2.lora).tensors,
        info=CheckpointInfo(backbone="tiny"),
    )
    for form in ("reference", "diffusers", "kohya", "merged"):
        with pytest.raises(CheckpointError, match="tiny") as caught:
            exported(tmp_path / "z.safetensors", tmp_path / "out", format=form)
        assert "peft" in caught.value.hint


def test_peft_loads_the_folder(sd2: Family, tmp_path: Path) -> None:
    exported(sd2.lora, tmp_path / "adapter")
    denoiser = copy.deepcopy(sd2.loaded.denoiser)
    model = PeftModel.from_pretrained(denoiser, str(tmp_path / "adapter"))
    assert_same(sd2.denoised(sd2.backbone(model.base_model.model)), sd2.adapted)


def test_peft_loads_layers_of_different_rank(sd2: Family, tmp_path: Path) -> None:
    exported(sd2.lora, tmp_path / "adapter", rank=2)
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert config["r"] == 2
    model = PeftModel.from_pretrained(copy.deepcopy(sd2.loaded.denoiser), str(tmp_path / "adapter"))
    merged = sd2.denoised(sd2.backbone(model.base_model.model))
    assert (merged - sd2.plain).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [None, "fp16"])
def test_a_merged_folder_needs_no_lora(sd2: Family, tmp_path: Path, dtype: Any) -> None:
    out = tmp_path / "merged"
    exported(sd2.lora, out, format="merged", base=str(sd2.base), dtype=dtype)
    backbone = load_backbone("sd2", base=str(out))
    limit = 1e-5 if dtype is None else 2e-2
    assert (sd2.denoised(backbone) - sd2.adapted).abs().max() < limit * sd2.adapted.abs().max()
    weights = load_file(out / "unet/diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {
        torch.float16 if dtype else torch.float32
    }
    assert json.loads((out / "hypir.json").read_text(encoding="utf-8"))["coeff_timestep"] == 150
    assert not list(tmp_path.glob(".*"))


def test_restore_takes_a_merged_folder_as_it_is(sd2: Family, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    exported(sd2.lora, out, format="merged", base=str(sd2.base))
    facts = folder_facts(out)
    assert facts["kind"] == "base weights with a LoRA merged into them"
    assert (facts["backbone"], facts["coeff_timestep"]) == ("sd2", "150")
    assert {"unet", "vae", "text_encoder"} <= set(facts)
    assert facts["unet"].endswith("parameters, F32")
    assert len({path.stat().st_mode for path in (out / "unet").iterdir()}) == 1
    runtime = RuntimeConfig(device="cpu", dtype="fp32")
    merged = load_model(ModelConfig(backbone="sd2", base=str(out)), runtime).backbone
    assert merged.traits.coeff_timestep == 150
    assert_same(sd2.denoised(merged), sd2.adapted)
    with pytest.raises(CheckpointError, match="sd2"):
        load_model(ModelConfig(backbone="sdxl", base=str(out)), runtime)


def test_an_existing_output_is_kept_unless_told_otherwise(sd2: Family, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        exported(sd2.lora, out)
    assert out.read_text() == "mine"
    exported(sd2.lora, out, overwrite=True)
    assert read_info(out) is not None


def test_controls_stay_in_peft_and_are_said_to_be_left_out_elsewhere(
    sd2: Family, tmp_path: Path
) -> None:
    state = read_lora(sd2.lora)
    controls = ControlEmbedding(8).state_dict()
    info = replace(state.info, texture=True, generativity=True)
    save_lora(tmp_path / "x.safetensors", state.tensors, info=info, controls=controls)
    for out in ("y.safetensors", "folder"):
        result = exported(tmp_path / "x.safetensors", tmp_path / out)
        kept = read_lora(result.path)
        assert set(kept.controls) == set(controls)
        assert kept.info.texture
        assert not result.warnings
    model = PeftModel.from_pretrained(copy.deepcopy(sd2.loaded.denoiser), str(tmp_path / "folder"))
    assert_same(sd2.denoised(sd2.backbone(model.base_model.model)), sd2.adapted)
    result = exported(tmp_path / "x.safetensors", tmp_path / "z.safetensors", format="diffusers")
    assert "left out" in result.warnings[0]
    written = read_lora(result.path)
    assert not written.controls
    assert not written.info.texture
    assert not written.info.generativity


def test_rank_reduction_keeps_the_strongest_directions_of_linear_and_convolution_layers() -> None:
    torch.manual_seed(0)
    for down, up in (
        (torch.randn(6, 20), torch.randn(30, 6)),
        (torch.randn(6, 5, 3, 3), torch.randn(30, 6, 1, 1)),
    ):
        update = up.flatten(1) @ down.flatten(1)
        values = torch.linalg.svdvals(update)
        small_down, small_up, report = reduce_rank(down, up, rank=2, module="m")
        assert small_down.shape == (2, *down.shape[1:])
        assert small_up.shape == (30, 2, *up.shape[2:])
        smaller = small_up.flatten(1) @ small_down.flatten(1)
        assert report.energy == pytest.approx(float(values.square().sum()), rel=1e-4)
        assert report.kept == pytest.approx(float(values[:2].square().sum()), rel=1e-4)
        noise = torch.randn(20_000, update.shape[1])
        error = (noise @ (update - smaller).T).norm() / (noise @ update.T).norm()
        assert float(error) == pytest.approx(report.error, rel=0.02)


def test_a_rank_at_or_above_the_old_one_changes_nothing(sd2: Family, tmp_path: Path) -> None:
    result = exported(sd2.lora, tmp_path / "x.safetensors", rank=8)
    assert summarize(result.reductions).energy_kept == pytest.approx(1.0)
    assert result.info.lora_rank == RANK
    denoiser = copy.deepcopy(sd2.loaded.denoiser)
    merge_lora(denoiser, read_lora(result.path))
    assert_same(sd2.denoised(sd2.backbone(denoiser)), sd2.adapted)


def test_a_layer_without_an_update_loses_nothing() -> None:
    down, up, report = reduce_rank(torch.randn(4, 5), torch.zeros(6, 4), rank=2, module="m")
    assert report.error == 0.0
    assert torch.isfinite(down).all()
    assert not up.any()
    assert summarize([report]).energy_kept == 1.0


def test_runs_checkpoints_and_files_are_found(tmp_path: Path) -> None:
    for step in (9, 10):
        folder = tmp_path / "checkpoints" / f"step-{step}"
        folder.mkdir(parents=True)
        for name in ("ema.safetensors", "lora.safetensors"):
            (folder / name).touch()
    newest = tmp_path / "checkpoints" / "step-10"
    assert find_trained_weights(tmp_path) == newest / "ema.safetensors"
    assert find_trained_weights(tmp_path, weights="raw") == newest / "lora.safetensors"
    assert find_trained_weights(newest.with_name("step-9")).parent.name == "step-9"
    (tmp_path / "ema.safetensors").touch()
    assert find_trained_weights(tmp_path) == tmp_path / "ema.safetensors"
    assert find_trained_weights(tmp_path, weights="raw") == newest / "lora.safetensors"
    assert find_trained_weights(newest / "lora.safetensors") == newest / "lora.safetensors"


def test_places_without_a_lora_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file or folder"):
        find_trained_weights(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"holds no LoRA: no ema\.safetensors"):
        find_trained_weights(tmp_path)
    save_tensors(
        tmp_path / "e.safetensors", {"a": torch.ones(1)}, info=CheckpointInfo(kind="encoder")
    )
    with pytest.raises(HypirError, match="encoder"):
        exported(tmp_path / "e.safetensors", tmp_path / "out.safetensors")


def test_a_lora_of_unknown_backbone_must_be_told(sd2: Family, tmp_path: Path) -> None:
    state = read_lora(sd2.lora)
    save_file(
        {f"unet.{key}": value for key, value in state.tensors.items()}, tmp_path / "x.safetensors"
    )
    with pytest.raises(ConfigError, match="which backbone"):
        exported(tmp_path / "x.safetensors", tmp_path / "y.safetensors")
    result = exported(tmp_path / "x.safetensors", tmp_path / "y.safetensors", backbone="sd2")
    assert result.info.backbone == "sd2"


def test_the_command_says_what_rank_reduction_cost(sd2: Family, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    arguments = ["export-lora", str(sd2.lora), str(out), "--format", "diffusers", "--rank", "2"]
    result = CliRunner().invoke(app, [*arguments, "--dtype", "bf16"])
    assert result.exit_code == 0, result.output
    assert "rank 3 -> 2" in result.output
    assert "of the energy kept" in result.output
    assert {value.dtype for value in load_file(out).values()} == {torch.bfloat16}
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output


def test_the_command_takes_raw_or_averaged_weights_of_a_run(sd2: Family, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step-7"
    state = read_lora(sd2.lora)
    for name, ema in (("ema", True), ("lora", False)):
        save_lora(folder / f"{name}.safetensors", state.tensors, info=replace(state.info, ema=ema))
    for flag, ema in (("--ema", True), ("--raw", False)):
        out = tmp_path / f"{flag}.safetensors"
        result = CliRunner().invoke(app, ["export-lora", str(tmp_path), str(out), flag])
        assert result.exit_code == 0, result.output
        info = read_info(out)
        assert info is not None
        assert info.ema is ema
