"""The training example of the embedded backbone, run small: it prepares, trains, resumes and writes weights that load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli.backbones.tiny import TinyBackbone

EXAMPLE = Path(__file__).parent.parent / "examples" / "tiny"


@pytest.fixture(scope="module")
def photos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC).save(
            folder / f"{seed}.png"
        )
    return folder


@pytest.fixture(scope="module")
def crops_dir(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "crops"
    prepare = example("prepare")
    prepare.prepare(photos_dir, folder, count=16, seed=0)
    return folder


def example(name: str) -> Any:
    """One of the example's scripts as a module."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return __import__(name)


def small_trainer(crops_dir: Path, *, seed: int = 0) -> tuple[Any, Any]:
    from hypir_cli.backbones.tiny_unet import TinyUNet, TinyUNetConfig

    stage = example("denoiser_stage")
    torch.manual_seed(seed)
    backbone = TinyBackbone.load()
    small = TinyUNetConfig(channels=(8, 12, 16), down_blocks=(1, 1, 1), up_blocks=(1, 1, 1))
    backbone.denoiser = TinyUNet(small)
    backbone.control_embedding = None
    recipe = stage.Recipe(minutes=1.0, batch=2, side=32, vgg_batch=1, vgg_from=0.0, critic_from=0.0)
    return stage.Trainer(backbone, recipe), example("crops").Crops(crops_dir)


def step_of(trainer: Any, crops: Any) -> dict[str, float]:
    stage = example("denoiser_stage")
    losses: dict[str, float] = trainer.train_step(
        stage.draw_batch(crops, trainer.recipe, step=trainer.step)
    )
    return losses


@pytest.mark.slow
def test_crops_come_with_degraded_versions(crops_dir: Path) -> None:
    gt, lq = np.load(crops_dir / "gt.npy"), np.load(crops_dir / "lq.npy")
    assert gt.shape == (16, 160, 160, 3)
    assert lq.shape == (4, 16, 160, 160, 3)
    assert (np.load(crops_dir / "texture.npy") > 0).all()
    assert not np.array_equal(lq[0], lq[2])


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(crops_dir: Path, tmp_path: Path) -> None:
    whole, crops = small_trainer(crops_dir)
    stopped, _ = small_trainer(crops_dir)
    for _ in range(4):
        step_of(whole, crops)
    for _ in range(2):
        step_of(stopped, crops)
    stopped.save(tmp_path / "state.pt")
    resumed, _ = small_trainer(crops_dir, seed=1)
    resumed.load(tmp_path / "state.pt")
    for _ in range(2):
        step_of(resumed, crops)
    for wanted, weight in zip(
        whole.trained.parameters(), resumed.trained.parameters(), strict=True
    ):
        assert torch.allclose(wanted, weight, atol=1e-5)


@pytest.mark.slow
def test_every_loss_is_finite_and_the_autoencoder_stays(crops_dir: Path) -> None:
    trainer, crops = small_trainer(crops_dir)
    before = [weight.clone() for weight in trainer.backbone.components()["vae"].parameters()]
    losses = step_of(trainer, crops)
    assert set(losses) == {"fidelity", "texture", "vgg", "critic", "generator"}
    assert all(np.isfinite(value) for value in losses.values())
    after = trainer.backbone.components()["vae"].parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.slow
def test_the_whole_script_writes_weights_that_load(
    photos_dir: Path, crops_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_dir = crops_dir.parent
    train = example("train")
    arguments = ["train.py", str(photos_dir), str(out_dir), "--minutes", "0.02"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--channels", "8", "12", "16"])
    train.main()
    backbone = TinyBackbone.load(out_dir / "weights")
    assert backbone.control_embedding is not None
    assert backbone.texture_predictor is not None
    assert backbone.encode(torch.rand(1, 3, 32, 32)).shape == (1, 32, 8, 8)


@pytest.mark.slow
def test_the_score_script_prints_means_and_saves_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "one.png")
    pictures = tmp_path / "pictures"
    arguments = ["score.py", str(tmp_path / "photos"), "--own-texture", "--pictures", str(pictures)]
    monkeypatch.setattr(sys, "argv", arguments)
    example("score").main()
    assert "light mean" in capsys.readouterr().out
    assert sorted(path.name for path in pictures.iterdir()) == [
        "light_one.png",
        "realesrgan_one.png",
    ]
