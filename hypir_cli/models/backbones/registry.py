"""The backbones by name; a member's code is imported when it is loaded."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import torch

from hypir_cli.errors import ConfigError
from hypir_cli.models.backbones.base import Backbone

EMBEDDED = "tiny"
"""The backbone whose weights ship inside the package."""
MEMBERS = {
    EMBEDDED: "hypir_cli.models.backbones.tiny.backbone:TinyBackbone",
    "sd2": "hypir_cli.models.backbones.sd2:SD2Backbone",
    "sdxl": "hypir_cli.models.backbones.sdxl:SdxlBackbone",
    "sd3": "hypir_cli.models.backbones.sd3:Sd3Backbone",
    "sd35": "hypir_cli.models.backbones.sd3:Sd35Backbone",
    "flux": "hypir_cli.models.backbones.flux:FluxBackbone",
    "flux2": "hypir_cli.models.backbones.flux2:Flux2Backbone",
}
"""Registry name -> module and class."""


class Loader(Protocol):
    """What every backbone class has as `load`."""

    def __call__(
        self,
        base: str | None,
        *,
        revision: str | None,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Backbone:
        """The backbone from a folder or hub id; None takes its own weights."""


def backbone_names() -> tuple[str, ...]:
    """Names that `load_backbone` knows, the embedded one first."""
    return tuple(MEMBERS)


def load_backbone(
    name: str,
    *,
    base: str | None = None,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Backbone:
    """A backbone with its base weights, frozen, in evaluation mode.

    Args:
        name: Registry name.
        base: Diffusers-layout folder or hub id; None takes the backbone's own weights.
        revision: Hub revision of `base`.
        device: Where it computes.
        dtype: What its networks compute in.

    Raises:
        ConfigError: No backbone of that name.
        BackboneError: Its weights cannot be found, downloaded or read.
    """
    if name not in MEMBERS:
        near = difflib.get_close_matches(name, MEMBERS, n=1)
        raise ConfigError(
            f"there is no backbone {name!r}.",
            hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(MEMBERS)}",
        )
    if name == EMBEDDED:
        return _load_embedded(base, revision=revision, device=device, dtype=dtype)
    module, _, member = MEMBERS[name].partition(":")
    load = cast("Loader", getattr(import_module(module), member).load)
    return load(base, revision=revision, device=device, dtype=dtype)


def _load_embedded(
    base: str | None, *, revision: str | None, device: torch.device | str, dtype: torch.dtype
) -> Backbone:
    from hypir_cli.models.backbones.tiny.backbone import TinyBackbone

    if revision is not None:
        raise ConfigError(
            f"the backbone {EMBEDDED} is not on the hub, so it has no revision {revision!r}.",
            hint="drop --revision",
        )
    return TinyBackbone.load(None if base is None else Path(base), device=device, dtype=dtype)
