"""A whole training setup small enough for a test: photographs, a random backbone, settings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hypir_cli.config.schema import to_yaml
from hypir_cli.config.train import TrainEncoderConfig, TrainGanConfig, train_config
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.gan import GanStage
from hypir_cli.train.runs import build_gan_stage
from hypir_cli.train.runtime import open_runtime
from hypir_cli.train.stage import Pairs
from tests.builders import BUILDERS, load_built

SIDE = 32
PRECISION = "fp32"
"""Number format of the runs; the fixture `precision` sets it."""


def save_photos(folder: Path, *, count: int = 3, side: int = 48) -> Path:
    """Smooth random pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(
            folder / f"{number}.png"
        )
    return folder


def small_values(root: Path, *, backbone: str = "tiny") -> dict[str, Any]:
    """Settings of a run of four updates on the CPU; the backbone and the photographs are written under `root`."""
    if not (root / "photos").exists():
        save_photos(root / "photos")
    if not (root / backbone).exists():
        BUILDERS[backbone](root / backbone)
    return {
        "output_dir": str(root / "run"),
        "device": "cpu",
        "seed": 5,
        "model": {"backbone": backbone, "base": str(root / backbone)},
        "data": {"sources": [str(root / "photos")], "crop_size": SIDE, "prompt": "a photo"},
        "schedule": {"first": {"steps": 4, "lr": 1e-3}},
        "optim": {"batch_size": 2, "precision": PRECISION},
        "logging": {"every": 1, "samples_every": 0, "tensorboard": False},
        "checkpoint": {"every": 100},
    }


def gan_config(root: Path, overrides: Mapping[str, Any] | None = None) -> TrainGanConfig:
    """Settings of a small adversarial run."""
    overrides = dict(overrides or {})
    values = small_values(root, backbone=overrides.pop("backbone", "tiny"))
    values |= {
        "lora": {"rank": 2},
        "loss": {"perceptual_kind": "none", "perceptual": 0.0},
        "discriminator": {"trunk": "random-small", "hidden": 8},
    }
    layers = [("test", values), ("overrides", overrides)]
    return train_config(TrainGanConfig, layers, command="gan")


def encoder_config(root: Path, overrides: Mapping[str, Any] | None = None) -> TrainEncoderConfig:
    """Settings of a small encoder run."""
    layers = [("test", small_values(root)), ("overrides", overrides or {})]
    return train_config(TrainEncoderConfig, layers, command="encoder")


def on_two_ranks(
    script: str, config: TrainGanConfig, folder: Path, *arguments: str
) -> list[tuple[int, str]]:
    """Exit code and errors of two processes of one run; a rank's script gets the settings file, then the arguments."""
    settings = folder / "ranks.yaml"
    settings.write_text(to_yaml(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(settings), *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for rank in range(2)
    ]
    errors = [rank.communicate(timeout=300)[1] for rank in ranks]
    return [(rank.returncode, text) for rank, text in zip(ranks, errors, strict=True)]


def load_configured(config: TrainGanConfig | TrainEncoderConfig) -> Backbone:
    """The backbone of a small run."""
    assert config.model.base is not None
    # As the commands do it: an encoder trains in float32, a frozen denoiser is kept in what it computes in.
    narrow = isinstance(config, TrainGanConfig) and config.optim.precision == "bf16"
    dtype = torch.bfloat16 if narrow else torch.float32
    return load_built(config.model.backbone, Path(config.model.base), dtype=dtype)


@contextmanager
def gan_stage(config: TrainGanConfig) -> Any:
    """A freshly built adversarial stage and its runtime."""
    with open_runtime(device="cpu", precision=config.optim.precision) as runtime:
        yield build_gan_stage(load_configured(config), config=config, runtime=runtime), runtime


def random_pairs(*, count: int = 2, side: int = SIDE, seed: int = 0) -> Pairs:
    """Unrelated random images with keys."""
    generator = torch.Generator().manual_seed(seed)
    return Pairs(
        lq=torch.rand(count, 3, side, side, generator=generator),
        gt=torch.rand(count, 3, side, side, generator=generator),
        prompts=("a photo",) * count,
        keys=tuple(SampleKey(seed, 0, number) for number in range(count)),
    )


class SamePairs(Prefetcher):
    """A prefetcher that gives one batch again and again."""

    def __init__(self) -> None:
        self.position = 0
        self.waited = 0.0

    def next(self) -> Pairs:
        return random_pairs()


def trainable_names(stage: GanStage) -> set[str]:
    """Names, inside the backbone, of everything that requires a gradient."""
    backbone = stage.models.backbone
    modules = dict(backbone.components())
    if backbone.control_embedding is not None:
        modules["control_embedding"] = backbone.control_embedding
    return {
        f"{part}.{name}"
        for part, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
