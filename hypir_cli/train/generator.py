"""The generator of the adversarial stage: one denoiser call, with the user's controls drawn at random in training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypir_cli.config.adversarial import ControlsConfig
from hypir_cli.config.train import TrainGanConfig
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.perceptual.distances import PerceptualDistance
from hypir_cli.models.prediction import mix_noise
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.pixels.texture import TexturePredictor, texture_richness
from hypir_cli.train import draws
from hypir_cli.train.degradation.filtering import filter2d
from hypir_cli.train.degradation.kernels import gaussian_family_kernel
from hypir_cli.train.networks.discriminator import Discriminator
from hypir_cli.train.stage import Pairs, Teacher
from hypir_cli.train.trained import TrainedWeights


@dataclass(frozen=True, kw_only=True)
class GanModels:
    """The networks of the stage; all but what `trained` names, control embedding and discriminator are frozen."""

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
    trained: TrainedWeights
    """What of the backbone trains."""
    teacher: Teacher | None = None
    """Restorer to imitate."""


def generate(
    models: GanModels, pairs: Pairs, *, config: TrainGanConfig
) -> tuple[Tensor, Controls | None]:
    """Restored images (B, 3, H, W) around 0..1, with a gradient history to the trained weights, and what was asked."""
    backbone = models.backbone
    with torch.set_grad_enabled(models.trained.reach_encoder):
        noise = None
        if config.model.posterior == "sample":
            noise = draws.normal(pairs.keys, "posterior", shape=latent_shape(backbone, pairs.lq))
        latents = backbone.encode(pairs.lq, noise=noise)
        latents, controls = drawn_controls(latents, pairs, config=config.controls)
    return finish(models, latents, pairs, controls=controls, config=config), controls


_DETAIL_SIGMA = 1.5
_DETAIL_SIZE = 11


def with_scaled_detail(pairs: Pairs, *, config: ControlsConfig) -> Pairs:
    """The pairs with the fine detail of what is wanted made weaker or stronger at random, where its texture is told."""
    if not (config.texture and config.texture_detail):
        return pairs
    places = 2.0 * draws.uniform(pairs.keys, "texture detail") - 1.0
    octaves = config.texture_detail * places.masked_fill(_untold(pairs, config), 0.0)
    factors = (2.0**octaves).to(pairs.reference).reshape(-1, 1, 1, 1)
    kernel = gaussian_family_kernel(
        "iso", size=_DETAIL_SIZE, sigma_x=_DETAIL_SIGMA, sigma_y=_DETAIL_SIGMA
    )
    smooth = filter2d(pairs.reference, kernel[None])
    scaled = smooth + factors * (pairs.reference - smooth)
    return replace(pairs, target=scaled.clamp(0.0, 1.0))


def _untold(pairs: Pairs, config: ControlsConfig) -> Tensor:
    """(B,) bool, on the CPU: which samples are not told a texture."""
    return draws.uniform(pairs.keys, "texture dropout") < config.texture_dropout


def drawn_controls(
    latents: Tensor, pairs: Pairs, *, config: ControlsConfig
) -> tuple[Tensor, Controls | None]:
    """The latents with noise of a random level, and what the model is told; None when no control is trained."""
    if not config.enabled:
        return latents, None
    texture = generativity = None
    if config.texture:
        texture = texture_richness(pairs.reference)
        if config.texture_jitter:
            places = 2.0 * draws.uniform(pairs.keys, "texture jitter").to(texture) - 1.0
            texture = texture * 2.0 ** (config.texture_jitter * places**3)
        texture = texture.masked_fill(_untold(pairs, config).to(texture.device), math.nan)
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
