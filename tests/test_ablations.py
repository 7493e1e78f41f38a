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
from hypir_cli.models.backbones.tiny.vae import TinyVAE
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
SMALL_JUDGE = ("loss.perceptual=0", "discriminator.alone_steps=0", "discriminator.patch_width=4")


def example(folder: str, name: str) -> Any:
    """A script under examples as a module."""
    path = str(EXAMPLES / folder)
    if path not in sys.path:
        sys.path.insert(0, path)
    return __import__(name)


def summary(folder: Path) -> Any:
    """What a topic's run wrote down."""
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one topic on small data; gives the folder of the topic."""
    photos = save_photos(tmp_path / "photos", side=220)
    BUILDERS["tiny"](tmp_path / "prior")
    example("tiny", "pack").pack(photos, tmp_path / "shards", count=12, seed=0)

    def run(topic: str, *assignments: str) -> Path:
        command = ["compare.py", topic, str(tmp_path / "shards"), str(tmp_path / "out")]
        command += ["--validation", str(photos), "--prior", str(tmp_path / "prior"), "--steps", "2"]
        command += ["--crop", "192"]
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
    folder = compare("prior", *SMALL_JUDGE)
    results = summary(folder)
    assert list(results["log"]) == ["prior", "noise", "regressor"]
    for found in results["log"].values():
        assert found["logits/real"] is not None
        assert found["val/psnr"] > 0
    held_out = results["held_out"]
    assert list(held_out) == ["light", "realesrgan"]
    for by_arm in held_out.values():
        assert list(by_arm) == list(results["log"])
        assert len({scores["psnr"] for scores in by_arm.values()}) == 3
    table = capsys.readouterr().out
    assert all(table.count(f"\n| {name} |") == 3 for name in by_arm)
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
def test_forms_of_the_decoder_start_alike_and_become_what_they_are_called(compare: Any) -> None:
    folder = compare("decoder", *SMALL_JUDGE)
    results = summary(folder)
    latents = torch.randn(1, 32, 16, 16)
    pixels = {}
    for name, reach, steps in (
        ("patches", 1, 0),
        ("overlap", 3, 0),
        ("enlarge", 1, 2),
        ("overlap-enlarge", 3, 2),
    ):
        assert results["held_out"]["realesrgan"][name]["|log grid-score|"] > 0
        vae = TinyBackbone.load(folder / f"{name}-start").components()["vae"]
        assert isinstance(vae, TinyVAE)
        assert vae.config.basis == reach
        assert len(vae.config.enlarge) == steps
        with torch.no_grad():
            pixels[name] = vae.decode(latents)
    # The enlarging path adds nothing before training; overlapping patches decode other pixels from the same latents.
    torch.testing.assert_close(pixels["enlarge"], pixels["patches"])
    torch.testing.assert_close(pixels["overlap-enlarge"], pixels["overlap"])
    assert not torch.allclose(pixels["overlap"], pixels["patches"], atol=0.1)


@pytest.mark.slow
def test_ranks_are_compared_with_all_weights(compare: Any) -> None:
    folder = compare("rank")
    results = summary(folder)["log"]
    assert list(results) == ["rank-16", "rank-64", "full"]
    assert all(found["logits/real"] is None for found in results.values())
    assert load_tensors(folder / "rank-16" / "ema.safetensors")[1].lora_rank == 16
    assert load_tensors(folder / "full" / "ema.safetensors")[1].kind == "backbone"
