"""The generator of the adversarial stage: one denoiser call, with the user's controls drawn at random in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hypir_cli.backbones.base import Backbone
from hypir_cli.backbones.controls import Controls
from hypir_cli.config.adversarial import ControlsConfig
from hypir_cli.config.train import TrainGanConfig
from hypir_cli.prediction import mix_noise
from hypir_cli.texture import TexturePredictor, texture_richness
from hypir_cli.train import draws
from hypir_cli.train.discriminator import Discriminator
from hypir_cli.train.perceptual import PerceptualDistance
from hypir_cli.train.prompts import PromptCache
from hypir_cli.train.stage import Pairs


@dataclass(frozen=True, kw_only=True)
class GanModels:
    """The networks of the stage; all but adapters, control embedding and heads are frozen."""

    backbone: Backbone
    """With adapters in its denoiser, and controls enabled if they are trained."""
    discriminator: Discriminator | None
    """None when the adversarial loss has no weight."""
    perceptual: PerceptualDistance | None
    """None when the perceptual loss has no weight."""
    prompts: PromptCache
    """Text conditioning."""
    predictor: TexturePredictor | None
    """Guesses the clean image's texture richness; None without texture conditioning."""


def generate(
    models: GanModels, pairs: Pairs, *, config: TrainGanConfig
) -> tuple[Tensor, Controls | None]:
    """Restored images (B, 3, H, W) around 0..1, with a gradient history to the trained weights, and what was asked."""
    backbone = models.backbone
    with torch.no_grad():
        noise = None
        if config.model.posterior == "sample":
            noise = draws.normal(pairs.keys, "posterior", shape=latent_shape(backbone, pairs.lq))
        latents = backbone.encode(pairs.lq, noise=noise)
        latents, controls = drawn_controls(latents, pairs, config=config.controls)
    return finish(models, latents, pairs, controls=controls, config=config), controls


def drawn_controls(
    latents: Tensor, pairs: Pairs, *, config: ControlsConfig
) -> tuple[Tensor, Controls | None]:
    """The latents with noise of a random level, and what the model is told; None when no control is trained."""
    if not config.enabled:
        return latents, None
    texture = generativity = None
    if config.texture:
        texture = texture_richness(pairs.gt)
        if config.texture_jitter:
            places = 2.0 * draws.uniform(pairs.keys, "texture jitter").to(texture) - 1.0
            texture = texture * 2.0 ** (config.texture_jitter * places**3)
        dropped = draws.uniform(pairs.keys, "texture dropout") < config.texture_dropout
        texture = texture.masked_fill(dropped.to(texture.device), math.nan)
    if config.generativity:
        kept = draws.uniform(pairs.keys, "generativity dropout") >= config.generativity_dropout
        level = draws.uniform(pairs.keys, "generativity") * config.max_generativity
        generativity = (level * kept).float().to(latents.device)
        noise = draws.normal(pairs.keys, "generativity noise", shape=tuple(latents.shape[1:]))
        latents = mix_noise(latents, noise.to(latents), level=generativity)
    return latents, Controls(texture=texture, generativity=generativity)


def finish(
    models: GanModels,
    latents: Tensor,
    pairs: Pairs,
    *,
    controls: Controls | None,
    config: TrainGanConfig,
) -> Tensor:
    """Denoise once, jump to the clean latent, decode."""
    backbone = models.backbone
    timestep, coeff_timestep = timesteps(backbone, config)
    output = backbone.denoise(
        latents,
        prompt=models.prompts.get(pairs.prompts),
        timestep=torch.tensor(timestep, device=latents.device),
        controls=controls,
    )
    clean = backbone.predict_clean(latents, output, timestep=torch.tensor(coeff_timestep))
    return backbone.decode(clean)


def latent_shape(backbone: Backbone, images: Tensor) -> tuple[int, int, int]:
    """(C, h, w) of the latents of images."""
    factor = backbone.traits.spatial_factor
    height, width = images.shape[-2:]
    return backbone.traits.latent_channels, height // factor, width // factor


def timesteps(backbone: Backbone, config: TrainGanConfig) -> tuple[int, int]:
    """Timestep into the denoiser and timestep of the clean-latent formula."""
    model, traits = config.model, backbone.traits
    timestep = traits.timestep if model.timestep is None else model.timestep
    coeff = traits.coeff_timestep if model.coeff_timestep is None else model.coeff_timestep
    return timestep, coeff
