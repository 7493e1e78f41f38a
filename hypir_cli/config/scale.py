"""Settings for many machines: how a list becomes a manifest, and which engine works through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hypir_cli.config.checks import check_suffix, check_within
from hypir_cli.config.flags import flag


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Who restores the shards of a manifest."""

    engine: Literal["local", "ray"] = flag("local", "--engine")
    """This process (local), or actors of a Ray cluster (ray)."""
    ray_address: str | None = flag(None, "--ray-address", metavar="ADDRESS")
    """Address of the Ray cluster, e.g. auto or ray://head:10001; unset starts one on this machine."""
    actors: int = flag(1, "--actors")
    """Actors that each hold one loaded model."""
    gpus_per_actor: float = flag(0.0, "--gpus-per-actor")
    """GPUs of each actor; 0 computes on CPUs."""
    cpus_per_actor: float | None = flag(None, "--cpus-per-actor")
    """CPUs of each actor; unset is 1 beside a GPU, else this machine's share, or 1 on a cluster of others."""

    def __post_init__(self) -> None:
        check_within(self, "cluster", ("actors",), least=1)
        if not 0 <= self.gpus_per_actor < math.inf:
            raise ValueError(
                f"cluster.gpus_per_actor must not be negative, got {self.gpus_per_actor}"
            )
        if self.cpus_per_actor is not None and not 0 < self.cpus_per_actor < math.inf:
            raise ValueError(f"cluster.cpus_per_actor must be above 0, got {self.cpus_per_actor}")


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How `hypir plan` names results and cuts the list."""

    shards_of: int = flag(1000, "--shards-of")
    """Images per shard: what one worker takes at a time, and what is redone at most after a kill."""
    format: Literal["same", "png", "jpg", "webp", "tiff", "avif"] = flag("same", "--format")
    """File format of the results."""
    suffix: str = flag("", "--suffix")
    """Text added to each result's name before its extension."""
    samples: int = flag(1, "--samples")
    """Restorations per image, saved as NAME-1, NAME-2..."""
    lossless: bool = flag(False, "--lossless")
    """Name PNGs where `--format same` would lose something, as `hypir solve` wants where it keeps pixels as they are."""

    def __post_init__(self) -> None:
        check_within(self, "", ("shards_of", "samples"), least=1)
        check_suffix("suffix", self.suffix)
