"""Which method, how many steps and how long ones, by task and prior, where the user does not say.

Pixel priors have the papers' numbers. Those of latents were tuned on the embedded prior (see docs/samplers.md); other latent priors
start from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypir_cli.config.solve import DamageConfig, Method, SamplingConfig
from hypir_cli.solvers.samplers.spgd import PUBLISHED_SIGMA_MAX

PriorKind = Literal["pixel", "latent"]
Missing = Literal["detail", "sharpness", "pixels", "areas", "colour"]
"""What the damage took."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What depends on the damage."""

    scale: float
    """DPS, DPPS: step along the gradient of the error's norm, for a tile of `USUAL_SIDE`; it grows with a tile's side."""
    lr: float
    """SPGD: step along the gradient of the squared error."""
    start: float
    """latino: first noise level."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Numbers):
    """A method and its numbers."""

    method: Method
    """Method."""
    steps: int
    """Noise levels."""
    sigma_max: float
    """SPGD: first noise level."""


USUAL_SIDE = 256
"""Side in pixels of the images that the papers' steps are for."""
STEPS: dict[PriorKind, dict[Method, int]] = {
    "pixel": {"dps": 1000, "dpps": 1000, "spgd": 100, "latino": 30},
    "latent": {"dps": 100, "dpps": 100, "spgd": 20, "latino": 12},
}
"""Noise levels by method. Source of the pixel ones: arXiv:2402.16907, arXiv:2507.06656."""

NUMBERS: dict[PriorKind, dict[Missing, Numbers]] = {
    "pixel": {
        "detail": Numbers(scale=1.0, lr=7.0, start=10.0),
        "sharpness": Numbers(scale=0.4, lr=1.0, start=3.0),
        "pixels": Numbers(scale=1.0, lr=2.5, start=10.0),
        "areas": Numbers(scale=1.0, lr=2.5, start=20.0),
        "colour": Numbers(scale=1.0, lr=2.5, start=20.0),
    },
    "latent": {
        "detail": Numbers(scale=16.0, lr=1.0, start=1.0),
        "sharpness": Numbers(scale=6.0, lr=0.1, start=1.0),
        "pixels": Numbers(scale=16.0, lr=0.1, start=0.3),
        "areas": Numbers(scale=6.0, lr=0.05, start=0.3),
        "colour": Numbers(scale=6.0, lr=0.05, start=2.0),
    },
}
"""Steps that are too long diverge: the more pixels are measured whole, the shorter SPGD's have to be."""
SIGMA_MAX: dict[PriorKind, float] = {"pixel": PUBLISHED_SIGMA_MAX, "latent": 0.5}
"""SPGD's first noise level."""
METHODS: dict[PriorKind, Method] = {"pixel": "spgd", "latent": "latino"}
"""What `auto` takes."""


def missing_part(damage: DamageConfig) -> Missing:
    """What the damage took."""
    if damage.task == "inpaint":
        return "areas" if damage.drop is None else "pixels"
    parts: dict[str, Missing] = {
        "super-resolution": "detail",
        "colorize": "colour",
    }
    return parts.get(damage.task, "sharpness")


def recipe(sampling: SamplingConfig, damage: DamageConfig, *, prior: PriorKind) -> Recipe:
    """The user's numbers, and for the rest those of the task."""
    numbers = NUMBERS[prior][missing_part(damage)]
    method = sampling.method
    if method == "auto":
        # JPEG has no transpose, so only the methods that follow gradients can undo it.
        method = "spgd" if damage.task == "jpeg" else METHODS[prior]
    return Recipe(
        method=method,
        steps=sampling.steps or STEPS[prior][method],
        scale=_first(sampling.dps.scale, numbers.scale),
        lr=_first(sampling.spgd.lr, numbers.lr),
        sigma_max=_first(sampling.spgd.sigma_max, SIGMA_MAX[prior]),
        start=_first(sampling.latino.start, numbers.start),
    )


def _first(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given
