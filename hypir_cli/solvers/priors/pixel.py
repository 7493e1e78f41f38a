"""A pixel-space diffusion model as a prior."""

from __future__ import annotations

from torch import Tensor

from hypir_cli.models.pixel_unet import CHANNELS, PixelUNet
from hypir_cli.solvers.priors.base import ImageSpace
from hypir_cli.solvers.priors.schedule import DiscreteSchedule


class PixelPrior(ImageSpace):
    """A `UNet2DModel` that predicts noise or v.

    Args:
        unet: Loaded network.
    """

    clips = True

    def __init__(self, unet: PixelUNet) -> None:
        self._unet = unet
        self._schedule = DiscreteSchedule(unet.alphas_cumprod, unet.prediction)
        self.alphas_cumprod = self._schedule.alphas_cumprod
        self.sigma_max = self._schedule.sigma_max
        self.multiple = unet.multiple

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Mean of the clean image, (B, 3, H, W)."""
        return self._outputs(x, sigma)[0]

    def sample_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(3, height, width)."""
        return CHANNELS, height, width

    def _outputs(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The clean image, and whatever else the network said."""
        mixed = self._schedule.input(x, sigma)
        output = self._unet.predict(mixed, self._schedule.timestep(sigma)).to(x)
        return self._schedule.clean(mixed, output[:, :CHANNELS], sigma), output[:, CHANNELS:]


class SpreadPixelPrior(PixelPrior):
    """One that also learned how far a reverse step spreads (ADM)."""

    def denoise_with_spread(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The clean image, and where the step's log variance lies between its bounds, 0..1."""
        clean, spread = self._outputs(x, sigma)
        return clean, (spread + 1.0) / 2.0


def pixel_prior(unet: PixelUNet) -> PixelPrior:
    """The prior of a loaded network."""
    return SpreadPixelPrior(unet) if unet.learned_spread else PixelPrior(unet)
