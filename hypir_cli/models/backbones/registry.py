"""Load a backbone by its name; its code is imported here and nowhere else."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Protocol, cast

import torch

from hypir_cli.config.families import find_family
from hypir_cli.models.backbones.base import Backbone


class Loader(Protocol):
    """What every backbone class has as `load`, and by inheritance as `load_vae`."""

    def __call__(
        self,
        base: str | None,
        *,
        revision: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
        vae: str,
    ) -> Backbone:
        """The backbone from a folder or hub id; None takes its own weights."""


def load_backbone(
    name: str,
    *,
    base: str | None = None,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str = "default",
    only_vae: bool = False,
) -> Backbone:
    """A backbone with its base weights, frozen, in evaluation mode.

    Args:
        name: Registry name.
        base: Diffusers-layout folder or hub id; None takes the backbone's own weights.
        revision: Hub revision of `base`.
        device: Where it computes.
        dtype: What its networks compute in.
        vae: `default`, `small`, or a folder or hub id of one with the same latents.
        only_vae: For those who only encode and decode: the text encoders are released, and the denoiser's weights are not read,
            or stay away from the device.

    Raises:
        ConfigError: No backbone of that name.
        BackboneError: Its weights cannot be found, downloaded or read.
    """
    kind = resolve_name(find_family(name).backbone)
    load = cast("Loader", kind.load_vae if only_vae else kind.load)
    return load(base, revision=revision, device=device, dtype=dtype, vae=vae)
