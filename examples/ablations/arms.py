"""The ways of training that are compared, and what each starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from overlap import ENLARGE, overlapping
from refine import RESULT

from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.unet import TinyUNet
from hypir_cli.models.whole import apply_whole

FULL = {"lora": {"rank": "full"}}
FIDELITY = {"loss": {"pixel": 1.0, "pixel_kind": "l1", "perceptual": 0.0, "adversarial": 0.0}}
LOSSES = {
    "pixel": 1.5,
    "pixel_kind": "log-l1",
    "perceptual": 1.2,
    "perceptual_kind": "vgg16-hed",
    "perceptual_features": "raw",
    "perceptual_levels": [0.1, 0.1, 1.0, 1.0, 1.0],
    "perceptual_samples": 4,
}
ALONE = {"loss": "relativistic", "alone_steps": 100}
FEATURES = {**ALONE, "trunk": "efficientnet-lite0", "hidden": 128}
PATCHES = {**ALONE, "trunk": "none", "patch_width": 48}
PIXELS = {**ALONE, "trunk": "none", "pixel_width": 32, "pixel_scales": 3}
BY_FEATURES, BY_IMAGES = 0.008, 0.4
"""Weights of the adversarial loss: for equal logits, heads behind a trunk move the image a hundred times as much."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training."""

    name: str
    """Folder of its run."""
    values: dict[str, Any] = field(default_factory=dict)
    """Settings that only it has."""
    fresh: bool = False
    """Whether its denoiser starts untrained instead of from the prior."""
    decoder: tuple[int, tuple[int, ...]] | None = None
    """Patches that its projections reach over and widths of its enlarging path, where the autoencoder is given another form."""
    before: Arm | None = None
    """The arm whose averaged whole weights it starts from; it trains first, for as many updates."""


def judged(discriminator: dict[str, Any], **adversarial: float) -> dict[str, Any]:
    """Settings of all weights against a discriminator."""
    return {**FULL, "loss": {**LOSSES, **adversarial}, "discriminator": discriminator}


_BY_PATCHES = judged(PATCHES, adversarial=BY_IMAGES)
_REGRESSOR = Arm(name="regressor-l1", values={**FULL, **FIDELITY}, fresh=True)
TOPICS: dict[str, tuple[Arm, ...]] = {
    "prior": (
        Arm(name="prior", values=_BY_PATCHES),
        Arm(name="noise", values=_BY_PATCHES, fresh=True),
        Arm(name="regressor", values=_BY_PATCHES, fresh=True, before=_REGRESSOR),
    ),
    "rank": (
        Arm(name="rank-16", values={"lora": {"rank": 16}, **FIDELITY}),
        Arm(name="rank-64", values={"lora": {"rank": 64}, **FIDELITY}),
        Arm(name="full", values={**FULL, **FIDELITY}),
    ),
    "discriminator": (
        Arm(name="features", values=judged(FEATURES, adversarial=BY_FEATURES)),
        Arm(name="patches", values=_BY_PATCHES),
        Arm(name="pixels", values=judged(PIXELS, adversarial=BY_IMAGES)),
        Arm(
            name="features-patches",
            values=judged(
                {**PATCHES, **FEATURES},
                adversarial=BY_FEATURES,
                adversarial_images=BY_IMAGES,
            ),
        ),
    ),
    "decoder": tuple(
        Arm(name=name, values=_BY_PATCHES, decoder=decoder)
        for name, decoder in (
            ("patches", (1, ())),
            ("overlap", (3, ())),
            ("enlarge", (1, ENLARGE)),
            ("overlap-enlarge", (3, ENLARGE)),
        )
    ),
}


def start_of(arm: Arm, folder: Path, *, prior: Path) -> Path:
    """The folder of the backbone that an arm starts from; written when it is not the prior itself."""
    if not (arm.fresh or arm.decoder):
        return prior
    start = folder / f"{arm.name}-start"
    if (start / "tokenizer" / "tokenizer.json").exists():
        return start
    backbone = TinyBackbone.load(prior)
    torch.manual_seed(0)
    if arm.decoder is not None:
        basis, enlarge = arm.decoder
        backbone = overlapping(backbone, basis=basis, enlarge=enlarge)
    if arm.fresh:
        fresh = TinyUNet(backbone.denoiser.config)
        fresh.latent_scale.copy_(backbone.denoiser.latent_scale)
        backbone.denoiser.load_state_dict(fresh.state_dict())
    if arm.before is not None:
        apply_whole(backbone, folder / arm.before.name / RESULT)
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
            "reuse_pool": 512,
        },
        "degradation_preset": "light",
        "degradation_mix": ["realesrgan"],
        "optim": {
            "batch_size": 8,
            "precision": "bf16",
            "betas": [0.9, 0.99],
            "weight_decay": 0.0,
            "grad_clip": 10.0,
        },
        "schedule": {
            "first": {
                "steps": steps,
                "lr": 2.0e-4,
                "discriminator_lr": 1.5e-4,
                "warmup_steps": min(100, steps // 10),
            }
        },
        "ema": {"decay": 0.99},
        "logging": {"every": max(1, steps // 50), "samples_every": steps, "tensorboard": False},
        "validation": {"sources": [str(validation)], "every": max(1, steps // 10)},
        "checkpoint": {"every": max(1, steps // 10), "keep_last": 1},
        **arm.values,
    }
