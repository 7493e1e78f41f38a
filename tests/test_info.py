"""`hypir info` and `hypir fetch` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hypir_cli.config.families import family_names
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.lora import save_lora
from tests.commands import run


def test_the_machine_and_every_backbone_are_listed() -> None:
    content = json.loads(run("info", "--json").stdout)
    assert torch.__version__.startswith(content["system"]["torch"])
    assert [entry["name"] for entry in content["backbones"]] == list(family_names())
    shown = run("info").output
    for name in family_names():
        assert name in shown


def test_a_backbone_shows_the_memory_it_takes() -> None:
    content = json.loads(run("info", "--backbone", "flux", "--json").stdout)
    by_format = {(row["dtype"], row["quantize"]): row["total"] for row in content["memory"]}
    assert by_format["bf16", "none"] > by_format["bf16", "int8"] > by_format["bf16", "nf4"]
    assert "most at once" in run("info", "--backbone", "flux").output
    assert run("info", "--backbone", "fluxx").exit_code == 1


def test_a_lora_file_says_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    tensors = {
        "down.conv1.lora_A.weight": torch.zeros(2, 3, 3, 3),
        "down.conv1.lora_B.weight": torch.zeros(5, 2, 1, 1),
    }
    info = CheckpointInfo(
        backbone="sd2", lora_rank=2, lora_alpha=2.0, lora_targets=("conv1",), texture=True
    )
    save_lora(path, tensors, info=info)
    facts = json.loads(run("info", path, "--json").stdout)
    assert facts["backbone"] == "sd2"
    assert facts["lora_rank"] == "2"
    assert facts["texture"] == "yes"
    assert facts["adapters"] == "1"


def test_folders_of_weights_say_what_they_are(tmp_path: Path) -> None:
    tensors = {"x.lora_A.weight": torch.zeros(2, 3), "x.lora_B.weight": torch.zeros(4, 2)}
    info = CheckpointInfo(backbone="sd2", lora_rank=2, lora_alpha=2.0)
    save_lora(tmp_path / "checkpoints" / "step-3" / "ema.safetensors", tensors, info=info)
    facts = json.loads(run("info", tmp_path, "--json").stdout)
    assert facts["weights"] == "checkpoints/step-3/ema.safetensors"
    assert (facts["backbone"], facts["lora_rank"]) == ("sd2", "2")
    (tmp_path / "base" / "unet").mkdir(parents=True)
    (tmp_path / "base" / "model_index.json").write_text("{}", encoding="utf-8")
    save_file({"a": torch.zeros(3, 5)}, tmp_path / "base" / "unet" / "model.safetensors")
    facts = json.loads(run("info", tmp_path / "base", "--json").stdout)
    assert facts["kind"] == "base weights"
    assert facts["unet"] == "15 parameters, F32"


def test_a_folder_of_something_else_is_an_error(tmp_path: Path) -> None:
    result = run("info", tmp_path)
    assert result.exit_code == 1
    assert "neither the folder of a training run nor one of weights" in result.output


@pytest.mark.parametrize("name", ["nothing.safetensors", "text.pth"])
def test_a_file_that_is_none_is_an_error_in_two_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pth").write_text("words", encoding="utf-8")
    result = run("info", tmp_path / name)
    assert result.exit_code == 1
    assert result.output.count("Error:") == 1
    assert "Hint:" in result.output


def test_fetching_the_embedded_backbone_says_that_it_is_here() -> None:
    result = run("fetch", "tiny")
    assert result.exit_code == 1
    assert "inside the package" in result.output
