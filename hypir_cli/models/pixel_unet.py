"""A diffusion model on pixels, as diffusers stores it: a `UNet2DModel` and the schedule it was trained with.

Both published layouts are read: the pipeline's (`unet/`, `scheduler/`) and the bare one with everything in one folder. DDPM's networks
predict the noise; ADM's predict, in as many channels again, how far a reverse step spreads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.schedule import (
    alphas_cumprod,
    prediction_kind,
    read_scheduler_config,
)
from hypir_cli.models.components import load_component
from hypir_cli.models.prediction import PredictionKind

CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class PixelUNet:
    """A loaded network and what is needed to use it."""

    network: nn.Module
    """Called with (samples, timestep); its first three output channels are the prediction."""
    alphas_cumprod: Tensor
    """Of its schedule, (T,) float64."""
    prediction: PredictionKind
    """What it predicts."""
    learned_spread: bool
    """Whether three further output channels say how far a step spreads."""
    native_size: int
    """Side in pixels that it was trained at."""
    multiple: int
    """Sides must be multiples of this."""

    def predict(self, samples: Tensor, timestep: float) -> Tensor:
        """The raw output, (B, 3 or 6, H, W) float32, of samples (B, 3, H, W); tracks gradients."""
        weight = next(self.network.parameters())
        time = torch.full((len(samples),), timestep, device=weight.device)
        output: Tensor = self.network(samples.to(weight), time, return_dict=False)[0]
        return output.float()


def load_pixel_unet(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> PixelUNet:
    """The network in a folder, frozen.

    Raises:
        BackboneError: Not such a folder, a damaged one, or a network that needs more than an image and a timestep.
    """
    # Loading diffusers takes seconds, which runs with other priors are spared.
    from diffusers import UNet2DModel

    component = "unet" if (folder / "unet").is_dir() else "."
    config = _config(folder / component / "config.json")
    scheduler = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    schedule = read_scheduler_config(scheduler)
    network = load_component(UNet2DModel, folder, component, dtype=dtype)
    network.requires_grad_(False).eval().to(device)
    return PixelUNet(
        network=network,
        alphas_cumprod=alphas_cumprod(schedule),
        prediction=prediction_kind(schedule),
        learned_spread=config["out_channels"] == 2 * CHANNELS,
        native_size=_side(config.get("sample_size")),
        multiple=2 ** (len(network.config.block_out_channels) - 1),
    )


def _config(path: Path) -> dict[str, Any]:
    """A configuration that fits."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"cannot read {path}: {error}.",
            hint="give a folder with a diffusers UNet2DModel and its scheduler_config.json",
        ) from error
    if config.get("_class_name") != "UNet2DModel":
        raise BackboneError(
            f"{path.parent} holds a {config.get('_class_name')}, not a UNet2DModel.",
            hint="latent models are chosen by --backbone and --base",
        )
    if config.get("num_class_embeds") or config.get("class_embed_type"):
        raise BackboneError(
            f"the network in {path.parent} wants a class label with each image.",
            hint="use an unconditional one",
        )
    channels = (config.get("in_channels"), config.get("out_channels"))
    if channels[0] != CHANNELS or channels[1] not in (CHANNELS, 2 * CHANNELS):
        raise BackboneError(
            f"the network in {path.parent} maps {channels[0]} to {channels[1]} channels; "
            "3 to 3 or 3 to 6 are expected.",
            hint="use a network trained on RGB images",
        )
    return config


def _side(size: Any) -> int:
    """One side of a `sample_size`, which may be missing, a number or a pair."""
    if isinstance(size, (list, tuple)):
        return int(min(size))
    return int(size or 256)
