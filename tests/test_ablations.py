"""The comparisons of ways of training, run small: every arm trains from what it should, and the table has all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.checkpoint import load_tensors
from tests.builders import BUILDERS
from tests.pictures import EXAMPLES
from tests.training import save_photos

SMALL = (
    "device=cpu",
    "data.crop_size=32",
    "data.reuse=1",
    "optim.batch_size=2",
    "optim.precision=fp32",
    "logging.num_samples=1",
    "validation.num_images=1",
    "validation.perceptual_kind=none",
)


def example(folder: str, name: str) -> Any:
    """A script under examples as a module."""
    path = str(EXAMPLES / folder)
    if path not in sys.path:
        sys.path.insert(0, path)
    return __import__(name)


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one topic on small data; gives the folder of the topic."""
    photos = save_photos(tmp_path / "photos", side=220)
    BUILDERS["tiny"](tmp_path / "prior")
    example("tiny", "pack").pack(photos, tmp_path / "shards", count=12, seed=0)

    def run(topic: str, *assignments: str) -> Path:
        command = ["compare.py", topic, str(tmp_path / "shards"), str(tmp_path / "out")]
        command += ["--validation", str(photos), "--prior", str(tmp_path / "prior"), "--steps", "2"]
        for assignment in (*SMALL, *assignments):
            command += ["--set", assignment]
        monkeypatch.setattr(sys, "argv", command)
        example("ablations", "compare").main()
        return tmp_path / "out" / topic

    return run


@pytest.mark.slow
def test_the_prior_is_compared_with_noise_and_a_regressor(
    compare: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = compare(
        "prior",
        "loss.perceptual=0",
        "discriminator.alone_steps=0",
        "discriminator.pixel_width=4",
        "discriminator.pixel_scales=2",
    )
    results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert list(results) == ["prior", "noise", "regressor"]
    for found in results.values():
        assert found["logits/real"] is not None
        assert found["val/psnr"] > 0
    table = capsys.readouterr().out
    assert all(f"\n| {name} |" in table for name in results)
    prior, noise, regressor = (
        TinyBackbone.load(path).denoiser
        for path in (tmp_path / "prior", folder / "noise-start", folder / "regressor-start")
    )
    trained = load_tensors(folder / "regressor-l1" / "ema.safetensors")[0]
    for key, value in regressor.named_parameters():
        assert torch.equal(value, trained[f"denoiser.{key}"])
    assert not torch.equal(prior.conv_in.weight, noise.conv_in.weight)
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.height == 3 * (32 + 4)


@pytest.mark.slow
def test_ranks_are_compared_with_all_weights(compare: Any) -> None:
    folder = compare("rank")
    results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert list(results) == ["rank-16", "rank-64", "full"]
    assert all(found["logits/real"] is None for found in results.values())
    assert load_tensors(folder / "rank-16" / "ema.safetensors")[1].lora_rank == 16
    assert load_tensors(folder / "full" / "ema.safetensors")[1].kind == "backbone"
