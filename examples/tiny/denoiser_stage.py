"""Second stage: the one-step restoration network, with texture and generativity conditioning from the start.

The autoencoder is frozen. Each step encodes degraded crops, mixes in noise (generativity), denoises once, decodes, and compares
with the clean crops. This trains the restoration directly; it is not the long way over a diffusion prior, an encoder and
adapters.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from crops import Crops
from losses import PatchCritic, fidelity_loss, soft_texture, texture_loss, vgg_distance
from torch import Tensor, nn
from torch.nn import functional

from hypir_cli.backbones.base import PromptEmbeds
from hypir_cli.backbones.controls import Controls
from hypir_cli.backbones.tiny import TinyBackbone
from hypir_cli.backbones.tiny_vae import TinyVAEConfig
from hypir_cli.prediction import mix_noise

NOISY_SHARE = 0.15
"""Share of crops whose latent gets noise mixed in; strong noise is so hard that more would drown the rest."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of the second stage."""

    minutes: float
    """Time to train."""
    batch: int = 16
    """Crops per step."""
    side: int = 96
    """Side of the squares cut from the crops, pixels."""
    learning_rate: float = 1e-3
    """Of AdamW at its highest; falls to nearly nothing as a cosine."""
    vgg_from: float = 0.7
    """Share of the time after which VGG features are compared; until then a step costs half."""
    vgg_batch: int = 4
    """How many crops of a step are compared in VGG features, the dearest part."""
    vgg_weight: float = 0.1
    """Of the feature distance beside the fidelity."""
    texture_weight: float = 0.004
    """Of the texture distance, per octave."""
    critic_from: float = 2.0
    """Share of the time after which the critic joins, and with it the texture distance, which alone asks for patterns."""
    critic_weight: float = 0.02
    """Of the adversarial loss."""
    critic_learning_rate: float = 2e-4
    """Of the critic's AdamW."""
    ema_decay: float = 0.995
    """Of the averaged weights, which are what is kept."""
    seed: int = 0
    """Of all draws."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's data, images (B, 3, side, side) in 0..1."""

    gt: Tensor
    lq: Tensor
    texture: Tensor
    """Texture that is asked of the whole photograph, (B,); NaN where none is asked."""
    wanted: Tensor
    """Texture that the crop should then have, (B,)."""
    generativity: Tensor
    """Level of the mixed-in noise, (B,)."""
    noise: Tensor
    """Standard normal, latent-shaped."""


def draw_batch(crops: Crops, recipe: Recipe, *, step: int) -> Batch:
    """The batch of a step."""
    random = np.random.default_rng((recipe.seed, step))
    count = recipe.batch
    gt, lq, textures = crops.draw(random, batch=count, side=recipe.side)
    octaves = np.zeros(count)
    asked = textures * 2.0**octaves
    asked[random.random(count) < 0.3] = np.nan
    level = random.random(count) ** 2 * (random.random(count) < NOISY_SHARE)
    noise = random.standard_normal((count, *latent_shape(recipe.side)))
    return Batch(
        gt=gt,
        lq=lq,
        texture=torch.from_numpy(asked).float(),
        wanted=soft_texture(gt) * torch.from_numpy(2.0**octaves).float(),
        generativity=torch.from_numpy(level).float(),
        noise=torch.from_numpy(noise).float(),
    )


def latent_shape(side: int) -> tuple[int, int, int]:
    """Channels, height and width of the latent of a square."""
    config = TinyVAEConfig()
    return config.latent_channels, side // config.patch, side // config.patch


def restore(backbone: TinyBackbone, batch: Batch, *, blank: PromptEmbeds) -> Tensor:
    """Restored images (B, 3, H, W), with gradients to the denoiser and the control embedding."""
    with torch.no_grad():
        latents = backbone.encode(batch.lq)
        latents = mix_noise(latents, batch.noise, level=batch.generativity)
    count = len(latents)
    timestep = torch.full((count,), backbone.traits.timestep)
    output = backbone.denoise(
        latents,
        prompt=blank.select([0] * count),
        timestep=timestep,
        controls=Controls(texture=batch.texture, generativity=batch.generativity),
    )
    return backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))


class Trainer:
    """The networks, optimisers and losses of the second stage."""

    def __init__(self, backbone: TinyBackbone, recipe: Recipe) -> None:
        self.backbone, self.recipe = backbone, recipe
        backbone.components()["vae"].requires_grad_(False)
        self.trained = nn.ModuleDict(
            {"unet": backbone.denoiser, "control": backbone.enable_controls()}
        )
        self.trained["unet"].attention.requires_grad_(False)
        self.averaged = copy.deepcopy(self.trained).requires_grad_(False)
        self.critic = PatchCritic().to(memory_format=torch.channels_last)
        self.vgg = vgg_distance()
        self.blank = backbone.encode_prompts([""])
        weights = [weight for weight in self.trained.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.99), weight_decay=1e-3)
        self.critic_optimizer = torch.optim.AdamW(
            self.critic.parameters(), lr=recipe.critic_learning_rate, betas=(0.0, 0.99)
        )
        self.step, self.elapsed = 0, 0.0

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update of the networks; the losses by name."""
        share = self.elapsed / (60.0 * self.recipe.minutes)
        images = restore(self.backbone, batch, blank=self.blank)
        losses = self._losses(images, batch)
        total = losses["fidelity"]
        if share >= self.recipe.vgg_from:
            count = self.recipe.vgg_batch
            losses["vgg"] = self.vgg(images[:count], batch.gt[:count]).mean()
            total = total + self.recipe.vgg_weight * losses["vgg"]
        if share >= self.recipe.critic_from:
            losses |= self._critic_step(images.detach().clamp(0, 1), batch)
            logits = self.critic(images, batch.lq)
            losses["generator"] = functional.softplus(-logits).mean()
            total = total + self.recipe.critic_weight * losses["generator"]
            total = total + self.recipe.texture_weight * losses["texture"]
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(share)
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), 0.5)
        self.optimizer.step()
        self._average()
        self.step += 1
        return {name: value.item() for name, value in losses.items()}

    def _losses(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        asked = batch.texture.isfinite()
        return {
            "fidelity": fidelity_loss(images, batch.gt),
            "texture": texture_loss(images[asked], batch.wanted[asked]),
        }

    def _critic_step(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        real = functional.softplus(-self.critic(batch.gt, batch.lq)).mean()
        fake = functional.softplus(self.critic(images, batch.lq)).mean()
        self.critic_optimizer.zero_grad()
        (real + fake).backward()
        self.critic_optimizer.step()
        return {"critic": real + fake}

    def _learning_rate(self, share: float) -> float:
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
        return self.recipe.learning_rate * max(0.01, cosine) * min(1.0, (self.step + 1) / 100)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (self.step + 1) / (self.step + 10))
        for kept, now in zip(self.averaged.parameters(), self.trained.parameters(), strict=True):
            kept.lerp_(now, 1.0 - decay)

    def save(self, path: Path) -> None:
        """Everything a later run needs to go on, written under a temporary name first."""
        state = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        temporary = path.with_suffix(".tmp")
        torch.save(state | {"step": self.step, "elapsed": self.elapsed}, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.elapsed = state["step"], state["elapsed"]


_STATEFUL = ("trained", "averaged", "critic", "optimizer", "critic_optimizer")


def train_denoiser(trainer: Trainer, crops: Crops, *, state_path: Path, save_every: float) -> None:
    """Train until the recipe's minutes are over, saving every `save_every` seconds."""
    if state_path.exists():
        trainer.load(state_path)
    saved = trainer.elapsed
    recipe = trainer.recipe
    sums: dict[str, list[float]] = {}
    while trainer.elapsed < 60.0 * recipe.minutes:
        start = time.monotonic()
        for name, value in trainer.train_step(draw_batch(crops, recipe, step=trainer.step)).items():
            sums.setdefault(name, []).append(value)
        trainer.elapsed += time.monotonic() - start
        if trainer.step % 50 == 0:
            means = " ".join(f"{name} {np.mean(values):.4f}" for name, values in sums.items())
            print(f"step {trainer.step} {trainer.elapsed / 60:.1f} min {means}", flush=True)
            sums.clear()
        if trainer.elapsed - saved > save_every:
            trainer.save(state_path)
            saved = trainer.elapsed
    trainer.save(state_path)
