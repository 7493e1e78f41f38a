"""The degradation of a training run: one preset, or several of which every sample draws one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypir_cli.config.degradation import degradation_config
from hypir_cli.config.train import RunConfig
from hypir_cli.errors import ConfigError
from hypir_cli.train.degradation import Degrader
from hypir_cli.train.keys import SampleKey


class RunDegrader:
    """Degraded partners of clean images, by the settings of a run.

    Raises on construction:
        ConfigError: A preset whose results have another size than the clean images.
    """

    def __init__(self, config: RunConfig) -> None:
        configs = [config.degradation, *map(degradation_config, config.degradation_mix)]
        if any(each.output != "full" for each in configs):
            raise ConfigError(
                "degradation.output is small, but training compares images of equal size.",
                hint="set degradation.output: full",
            )
        self._degraders = [Degrader(each) for each in configs]

    def degrade(self, images: Tensor, keys: Sequence[SampleKey]) -> Tensor:
        """Degraded images (B, 3, H, W), 0..1, of images of that shape."""
        if len(self._degraders) == 1:
            return self._degraders[0].degrade(images, keys)
        rows = [
            self._of(key).degrade(image[None], [key])
            for image, key in zip(images, keys, strict=True)
        ]
        return torch.cat(rows)

    def _of(self, key: SampleKey) -> Degrader:
        place = float(key.generator("degradation preset").random())
        return self._degraders[int(place * len(self._degraders))]
