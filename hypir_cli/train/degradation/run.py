"""The degradation of a training run: one preset, or several of which every sample draws one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hypir_cli.config.degradation import degradation_config
from hypir_cli.config.train import RunConfig
from hypir_cli.errors import ConfigError
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.degradation import Degrader
from hypir_cli.train.degradation.filtering import resize_to
from hypir_cli.train.stage import Teacher


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
        self._small = {
            degrader: Degrader(replace(degrader.config, output="small"))
            for degrader in self._degraders
        }

    def degrade(self, images: Tensor, keys: Sequence[SampleKey]) -> Tensor:
        """Degraded images (B, 3, H, W), 0..1, of images of that shape."""
        if len(self._degraders) == 1:
            return self._degraders[0].degrade(images, keys)
        rows = [
            self._of(key).degrade(image[None], [key])
            for image, key in zip(images, keys, strict=True)
        ]
        return torch.cat(rows)

    @torch.no_grad()
    def with_targets(
        self, images: Tensor, keys: Sequence[SampleKey], *, teacher: Teacher
    ) -> tuple[Tensor, Tensor]:
        """Degraded images, and what shall become of them: the teacher's result where the degradation has its scale, and
        elsewhere the clean image.

        The teacher sees the small degraded image in 8-bit levels, from which the degraded one is enlarged. The sides are
        multiples of its scale.
        """
        rows = [
            self._taught(image[None], key, teacher=teacher)
            for image, key in zip(images, keys, strict=True)
        ]
        degraded, targets = zip(*rows, strict=True)
        return torch.cat(degraded), torch.cat(targets)

    def _taught(self, image: Tensor, key: SampleKey, *, teacher: Teacher) -> tuple[Tensor, Tensor]:
        degrader = self._of(key)
        if degrader.config.scale != teacher.scale:
            return degrader.degrade(image, [key]), image
        height, width = image.shape[-2:]
        small = self._small[degrader].degrade(image, [key])
        large = resize_to(small, height=height, width=width, mode="bicubic").clamp(0.0, 1.0)
        return (large * 255.0).round() / 255.0, teacher(small).float().clamp(0.0, 1.0)

    def _of(self, key: SampleKey) -> Degrader:
        place = float(key.generator("degradation preset").random())
        return self._degraders[int(place * len(self._degraders))]
