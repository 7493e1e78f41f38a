"""Any backbone as a prior on its latents."""

from __future__ import annotations

import torch
from torch import Tensor

from hypir_cli.models import prediction
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.solvers.priors.base import linear_alphas_cumprod
from hypir_cli.solvers.priors.schedule import DiscreteSchedule

FLOW_SIGMA_MAX = 100.0
"""Noise level at which sampling a flow starts: a noise share of 0.99."""


class LatentPrior:
    """A backbone's denoiser, called as often as a sampler likes, and its autoencoder.

    Args:
        backbone: With its base weights; a restoration LoRA would make it something else than a prior.
        prompt: Conditioning, one row.
    """

    clips = False

    def __init__(self, backbone: Backbone, prompt: PromptEmbeds) -> None:
        self._backbone = backbone
        self._prompt = prompt
        self._traits = backbone.traits
        self.multiple = self._traits.tile_multiple
        self._schedule: DiscreteSchedule | None = None
        if self._traits.prediction == "flow":
            self.alphas_cumprod, self.sigma_max = linear_alphas_cumprod(), FLOW_SIGMA_MAX
        else:
            steps = torch.arange(self._traits.num_train_timesteps)
            self._schedule = DiscreteSchedule(
                backbone.alpha_or_sigma(steps), self._traits.prediction
            )
            self.alphas_cumprod = self._schedule.alphas_cumprod
            self.sigma_max = self._schedule.sigma_max

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Mean of the clean latent, (B, C, h, w)."""
        if self._schedule is None:
            return self._flow(x, sigma)
        mixed = self._schedule.input(x, sigma)
        output = self._network(mixed, self._schedule.timestep(sigma))
        return self._schedule.clean(mixed, output.to(x), sigma)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images in -1..1; what lies outside is cut off."""
        return self._backbone.encode(((images + 1.0) / 2.0).clamp(0.0, 1.0))

    def decode(self, x: Tensor) -> Tensor:
        """Images about -1..1."""
        return 2.0 * self._backbone.decode(x) - 1.0

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the latent of an image whose sides fit the autoencoder."""
        factor = self._traits.spatial_factor
        return self._traits.latent_channels, height // factor, width // factor

    def _flow(self, x: Tensor, sigma: float) -> Tensor:
        """x = clean + sigma * noise, divided by 1 + sigma, is the flow's mixture at the noise share sigma / (1 + sigma)."""
        share = sigma / (1.0 + sigma)
        mixed = x / (1.0 + sigma)
        output = self._network(mixed, share * self._traits.num_train_timesteps).to(x)
        return prediction.z0_from_flow(mixed, output, sigma=torch.tensor(share))

    def _network(self, mixed: Tensor, timestep: float) -> Tensor:
        return self._backbone.denoise(
            mixed,
            prompt=self._prompt.select([0] * len(mixed)),
            timestep=torch.tensor(timestep, device=mixed.device),
        )
