"""The ways of training that are compared, and what each starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.unet import TinyUNet
from hypir_cli.models.whole import apply_whole

FULL = {"lora": {"rank": "full"}}
FIDELITY = {"loss": {"pixel": 1.0, "pixel_kind": "l1", "perceptual": 0.0, "adversarial": 0.0}}
VGG = {
    "perceptual": 10.0,
    "perceptual_kind": "vgg16-hed",
    "perceptual_features": "raw",
    "perceptual_levels": [0.1, 0.1, 1.0, 1.0, 1.0],
    "perceptual_samples": 4,
}
JUDGED = {"pixel": 1.0, "pixel_kind": "l1", "adversarial": 0.2, **VGG}
PIXELS = {
    "trunk": "none",
    "pixel_width": 32,
    "pixel_scales": 3,
    "loss": "relativistic",
    "r1": 1.0,
    "alone_steps": 200,
}
FEATURES = {**PIXELS, "trunk": "efficientnet-lite0", "hidden": 96, "pixel_width": 0}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training."""

    name: str
    """Folder of its run."""
    values: dict[str, Any] = field(default_factory=dict)
    """Settings that only it has."""
    fresh: bool = False
    """Whether its denoiser starts untrained instead of from the prior."""
    before: Arm | None = None
    """The arm whose averaged whole weights it starts from; it trains first, for as many updates."""


_ADVERSARIAL = {**FULL, "loss": JUDGED, "discriminator": PIXELS}
_REGRESSOR = Arm(name="regressor-l1", values={**FULL, **FIDELITY}, fresh=True)
TOPICS: dict[str, tuple[Arm, ...]] = {
    "prior": (
        Arm(name="prior", values=_ADVERSARIAL),
        Arm(name="noise", values=_ADVERSARIAL, fresh=True),
        Arm(name="regressor", values=_ADVERSARIAL, fresh=True, before=_REGRESSOR),
    ),
    "rank": (
        Arm(name="rank-16", values={"lora": {"rank": 16}, **FIDELITY}),
        Arm(name="rank-64", values={"lora": {"rank": 64}, **FIDELITY}),
        Arm(name="full", values={**FULL, **FIDELITY}),
    ),
    "discriminator": (
        Arm(name="features", values={**FULL, "loss": JUDGED, "discriminator": FEATURES}),
        Arm(name="pixels", values=_ADVERSARIAL),
        Arm(
            name="both",
            values={**FULL, "loss": JUDGED, "discriminator": {**FEATURES, "pixel_width": 32}},
        ),
    ),
}


def start_of(arm: Arm, folder: Path, *, prior: Path) -> Path:
    """The folder of the backbone that an arm starts from; written when it is not the prior itself."""
    if not arm.fresh:
        return prior
    start = folder / f"{arm.name}-start"
    if (start / "tokenizer" / "tokenizer.json").exists():
        return start
    backbone = TinyBackbone.load(prior)
    torch.manual_seed(0)
    fresh = TinyUNet(backbone.denoiser.config)
    fresh.latent_scale.copy_(backbone.denoiser.latent_scale)
    backbone.denoiser.load_state_dict(fresh.state_dict())
    if arm.before is not None:
        apply_whole(backbone, folder / arm.before.name / "ema.safetensors")
    backbone.save(start, dtype=torch.float32)
    return start


def settings(
    arm: Arm, *, base: Path, out_dir: Path, shards: list[Path], validation: Path, steps: int
) -> dict[str, Any]:
    """Settings of `hypir train-gan` for one arm; all that is not the arm's own is the same for all."""
    return {
        "output_dir": str(out_dir),
        "seed": 0,
        "model": {"backbone": "tiny", "base": str(base)},
        "data": {
            "sources": [str(path) for path in shards],
            "crop_size": 128,
            "cache_megabytes": 600,
            "reuse": 4,
        },
        "degradation_preset": "light",
        "degradation_mix": ["realesrgan"],
        "optim": {"batch_size": 8, "precision": "bf16", "betas": [0.9, 0.99], "weight_decay": 0.0},
        "schedule": {
            "first": {
                "steps": steps,
                "lr": 2.0e-4,
                "discriminator_lr": 4.0e-4,
                "warmup_steps": min(100, steps // 10),
            }
        },
        "ema": {"decay": 0.99},
        "logging": {"every": max(1, steps // 50), "samples_every": steps, "tensorboard": False},
        "validation": {"sources": [str(validation)], "every": max(1, steps // 10)},
        "checkpoint": {"every": max(1, steps // 10), "keep_last": 1},
        **arm.values,
    }
