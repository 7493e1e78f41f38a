"""Another VAE than the base's own: a small one that shares its latents, which takes a fraction of the arithmetic.

The denoiser sees the same latents, so nothing else of a backbone changes. What a checkpoint was trained with stands in its header.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from hypir_cli.config.family import Family
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.hub import find_vae

DEFAULT, SMALL = "default", "small"
"""Names for the base's own VAE, and for the family's small one."""
KINDS = ("AutoencoderTiny", "AutoencoderKL", "AutoencoderKLFlux2")
"""Classes of diffusers that can stand in."""


def vae_name(choice: str, *, family: Family) -> str:
    """What a header calls a VAE: empty for the base's own, else a hub id or the path.

    Raises:
        ConfigError: The family has no small one.
    """
    if choice == DEFAULT:
        return ""
    if choice != SMALL:
        return choice
    if family.preset.small_vae:
        return family.preset.small_vae
    raise ConfigError(
        f"there is no small VAE for {family.name}.", hint="leave --vae out, or give a folder"
    )


def same_vae(first: str, second: str) -> bool:
    """Whether two header names mean the same VAE: a hub id and a folder of its last part do."""
    return Path(first).name == Path(second).name


def load_vae(choice: str, *, family: Family, base: Path, dtype: torch.dtype) -> Any:
    """A VAE that takes the place of the base's own.

    Args:
        choice: `small`, a folder or a hub id.
        family: The backbone's record.
        base: Folder of the base weights, whose own VAE says which latents are wanted.
        dtype: What it computes in.

    Raises:
        BackboneError: It cannot be found or read, or its latents are others.
        ConfigError: The family has no small one.
    """
    # Slow to import and 250 MB large; the embedded backbone, which only asks for names here, needs neither.
    import diffusers

    from hypir_cli.models.components import load_component

    folder = find_vae(vae_name(choice, family=family), name=family.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config.get("_class_name", "")
    if kind not in KINDS:
        raise BackboneError(
            f"{folder} holds a {kind or 'network without a class name'}, not a VAE.",
            hint=f"give a folder or hub id of one of {', '.join(KINDS)}",
        )
    if dtype == torch.float16 and config.get("force_upcast") and kind != KINDS[0]:
        dtype = torch.float32  # it says that it overflows in half precision
    vae = load_component(getattr(diffusers, kind), folder, "", dtype=dtype)
    own = json.loads((base / "vae" / "config.json").read_text(encoding="utf-8"))
    _require_same_latents(vae, own, source=str(folder), family=family)
    return vae


def _require_same_latents(vae: Any, own: dict[str, Any], *, source: str, family: Family) -> None:
    found = (int(vae.config.latent_channels), len(vae.config.block_out_channels))
    wanted = (int(own["latent_channels"]), len(own["block_out_channels"]))
    normalised = own.get("_class_name") == "AutoencoderKLFlux2"
    if found == wanted and (not normalised or hasattr(vae, "bn")):
        return
    raise BackboneError(
        f"the VAE {source} has {found[0]} latent channels at 1/{2 ** (found[1] - 1)} of the side, "
        f"{family.name} wants {wanted[0]} at 1/{2 ** (wanted[1] - 1)}"
        f"{' with running statistics' if normalised else ''}.",
        hint=f"use --vae small ({family.preset.small_vae}), or leave --vae out",
    )
