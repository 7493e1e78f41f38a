"""What restoring one image gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hypir_cli.images.data import Pixels
from hypir_cli.restore.blend import Rows, mixed
from hypir_cli.restore.times import StageTimes


@dataclass
class Outcome:
    """One image, restored."""

    samples: list[Pixels]
    """One result per seed at the asked strength, (H, W, C) in the input's depth."""
    seeds: list[int]
    """Seed of each sample."""
    texture: float | None
    """Texture richness asked for, by the user or by prediction; None when it was left to the model."""
    enlarged: Rows = field(repr=False)
    """Makes rows of the input at the result's size."""
    full: list[Pixels] = field(default_factory=list, repr=False)
    """Each sample at full strength; at strength 1 these are the samples."""
    detail_gains: list[float] = field(default_factory=list)
    """Factor on each sample's fine detail after the model, 1 where nothing was asked."""
    textures_reached: list[float] = field(default_factory=list)
    """Texture richness of each sample at full strength; empty where none was asked."""
    notes: list[str] = field(default_factory=list)
    """What was asked and not reached, one sentence each."""
    times: StageTimes = field(default_factory=StageTimes)
    """Seconds by stage."""

    def blend(self, strength: float, *, sample: int = 0) -> Pixels:
        """A sample at another strength, without restoring again.

        Args:
            strength: 0 (the enlarged input) to 1 (the result as it was made).
            sample: Index into `samples`.

        Returns:
            (H, W, C), same depth.
        """
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength must be in 0..1, got {strength}")
        if strength == 1.0:
            return self.full[sample]
        full = self.full[sample]
        return mixed(self.enlarged, full, strength, out=np.empty_like(full))
