"""Load a backbone by its name; its code is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pkgutil import resolve_name
from typing import Any

import torch

from hypir_cli.config.families import find_family
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.execution import set_execution_device


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
    kind: Any = resolve_name(find_family(name).backbone)
    load: Callable[..., Backbone] = partial(
        kind.load, base, revision=revision, dtype=dtype, vae=vae
    )
    if not only_vae:
        return load(device=device)
    if kind.reads_vae_alone:
        return load(device=device, only_vae=True)
    backbone = load(device="cpu")
    backbone.release_text_encoders()
    backbone.components()["vae"].to(device)
    set_execution_device(backbone.denoiser, torch.device(device))
    return backbone
