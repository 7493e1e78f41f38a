"""From settings to a prior on its device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources

import torch

from hypir_cli.config.families import BUILT_IN
from hypir_cli.config.restore import RuntimeConfig
from hypir_cli.config.solve import Method, PriorConfig
from hypir_cli.errors import ConfigError
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.device import pick_device, pick_dtype
from hypir_cli.models.pixel_unet import load_pixel_unet
from hypir_cli.models.placement import place, place_text_encoders
from hypir_cli.models.prompt_cache import PromptCache
from hypir_cli.solvers.priors.base import Prior
from hypir_cli.solvers.priors.latent import LatentPrior
from hypir_cli.solvers.priors.pixel import pixel_prior
from hypir_cli.solvers.recipes import PriorKind

logger = logging.getLogger(__name__)

EMBEDDED_PRIOR = "tiny-prior"
"""Folder of the prior that comes with the package, below its weights."""


@dataclass(frozen=True, kw_only=True)
class LoadedPrior:
    """A prior and what planning needs to know of it."""

    prior: Prior
    """Ready to sample."""
    kind: PriorKind
    """Whether it works on pixels or latents."""
    name: str
    """For messages."""
    native_side: int
    """Tile side in pixels that it likes best."""
    device: torch.device
    """Where it computes."""
    dtype: torch.dtype
    """What it computes in."""


def prior_kind(config: PriorConfig) -> PriorKind:
    """What the settings' prior works on, before it is loaded."""
    return "latent" if config.pixel is None else "pixel"


def load_prior(config: PriorConfig, runtime: RuntimeConfig, *, method: Method) -> LoadedPrior:
    """The prior that the settings name.

    Raises:
        HypirError: It cannot be found or read, or the number format cannot carry gradients.
    """
    device = pick_device(runtime.device)
    dtype = _dtype(runtime, device, needs_gradients=method != "latino")
    if config.pixel is not None:
        unet = load_pixel_unet(config.pixel, device=device, dtype=dtype)
        return LoadedPrior(
            prior=pixel_prior(unet),
            kind="pixel",
            name=str(config.pixel),
            native_side=unet.native_size,
            device=device,
            dtype=dtype,
        )
    with _base(config) as base:
        backbone = load_backbone(
            config.backbone, base=base, revision=config.revision, device="cpu", dtype=dtype
        )
    place_text_encoders(backbone, device=device)
    with torch.no_grad():
        prompts = PromptCache(backbone)
        prompts.prefill([config.prompt])
    place(backbone, device=device, offload=runtime.offload)
    if method != "latino":
        backbone.enable_gradient_checkpointing()
    return LoadedPrior(
        prior=LatentPrior(backbone, prompts.get([config.prompt])),
        kind="latent",
        name=backbone.traits.name,
        native_side=backbone.traits.native_tile,
        device=device,
        dtype=dtype,
    )


@contextmanager
def _base(config: PriorConfig) -> Iterator[str | None]:
    """Where the weights are; the embedded backbone's own ones restore in one step and are no prior any more."""
    if config.backbone != BUILT_IN[0] or config.base is not None:
        yield config.base
        return
    with resources.as_file(resources.files("hypir_cli") / "weights" / EMBEDDED_PRIOR) as folder:
        yield str(folder)


def _dtype(runtime: RuntimeConfig, device: torch.device, *, needs_gradients: bool) -> torch.dtype:
    dtype = pick_dtype(runtime.dtype, device)
    if not needs_gradients or dtype != torch.float16:
        return dtype
    if runtime.dtype == "fp16":
        raise ConfigError(
            "the gradient through a decoder overflows in float16.",
            hint="use --dtype bf16 or fp32, or --method latino, which needs no gradient",
        )
    logger.warning("gradients overflow in float16; computing in float32")
    return torch.float32
