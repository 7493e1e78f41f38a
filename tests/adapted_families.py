"""Tiny models of every family with a trained-looking LoRA, and what their denoisers say with and without it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.lora import save_lora
from tests.builders import BUILDERS
from tests.pipelines import PROMPT, random_lora
from tests.tiny_families import LATENT_CHANNELS


@dataclass(frozen=True, kw_only=True)
class Family:
    """A tiny model on disk, a trained-looking LoRA for it, and what the denoiser says with and without it."""

    name: str
    base: Path
    lora: Path
    loaded: Backbone
    plain: Tensor
    adapted: Tensor

    def backbone(self, denoiser: nn.Module | None = None) -> Backbone:
        """The backbone with an untouched denoiser, or with another one."""
        fresh = copy.copy(self.loaded)
        fresh.denoiser = denoiser or copy.deepcopy(self.loaded.denoiser)
        return fresh

    def denoised(self, backbone: Backbone) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        latents = torch.randn(1, LATENT_CHANNELS, 8, 8, generator=generator)
        with torch.inference_mode():
            prompt = backbone.encode_prompts([PROMPT])
            return backbone.denoise(latents, prompt=prompt, timestep=torch.tensor(200.0))


FAMILIES = tuple(name for name in BUILDERS if name != "tiny")
"""Backbones that other programs know."""
RANK = 3
ALPHA = 4.5
"""Not the rank: formats without a place for alpha must fold it in."""


def make_family(name: str, folder: Path) -> Family:
    base = BUILDERS[name](folder / "base")
    loaded = load_backbone(name, base=str(base))
    lora = folder / "lora.safetensors"
    made = Family(name=name, base=base, lora=lora, loaded=loaded, plain=Tensor(), adapted=Tensor())
    backbone = made.backbone()
    tensors = random_lora(backbone, rank=RANK, alpha=ALPHA, size=0.2)
    info = CheckpointInfo(
        backbone=name,
        base="some/base",
        timestep=200,
        coeff_timestep=150,
        lora_rank=RANK,
        lora_alpha=ALPHA,
        lora_targets=backbone.traits.lora_targets,
        training_step=7,
        ema=True,
    )
    save_lora(lora, tensors, info=info)
    plain, adapted = made.denoised(made.backbone()), made.denoised(backbone)
    assert (adapted - plain).abs().max() > 1e-2
    return replace(made, plain=plain, adapted=adapted)


def assert_same(ours: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    assert (ours - expected).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))
