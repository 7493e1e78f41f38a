"""Scores and sample grids on photographs the model never trains on, always the same and degraded the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from hypir_cli.config.data import DataConfig
from hypir_cli.config.train import RunConfig
from hypir_cli.models.perceptual.distances import PerceptualDistance, build_perceptual
from hypir_cli.pixels.metrics.fidelity import psnr, ssim
from hypir_cli.train.data.samples import TrainingSet
from hypir_cli.train.degradation.run import RunDegrader
from hypir_cli.train.monitor import sample_grid
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs, Stage

SEED_OFFSET = 1
"""Validation draws from another seed than training, so that no degradation is seen twice."""


class Validation:
    """A fixed set of pairs.

    Args:
        config: Settings; without `validation.sources` there are only samples, from the training data.
        runtime: The processes; images are dealt out to them.

    Raises:
        InputError: The sources cannot be read.
        BackboneError: The perceptual distance cannot be had.
    """

    def __init__(self, config: RunConfig, *, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._scores = bool(config.validation.sources)
        own = config.validation if self._scores else config.data
        crops = _fixed_crops(config.data, own.sources, degraded=own.degraded)
        self._data = TrainingSet(crops, seed=config.seed + SEED_OFFSET)
        self._degrader = RunDegrader(config)
        self._perceptual: PerceptualDistance | None = None
        if self._scores:
            distance = build_perceptual(config.validation.perceptual_kind)
            self._perceptual = distance.to(runtime.device) if distance is not None else None

    @property
    def has_scores(self) -> bool:
        """Whether there are photographs to score."""
        return self._scores

    def prompts(self) -> set[str]:
        """All prompts that are used here."""
        count = min(len(self._data), max(self._num_images, self._config.logging.num_samples))
        return {self._data.sample(index).prompt for index in range(count)}

    def scores(self, stage: Stage, *, ema: bool = True) -> dict[str, float]:
        """Mean scores of the restored images; every rank calls this.

        Returns:
            `psnr` in dB, `ssim`, and `perceptual` unless its kind is none.
        """
        with stage.averaged() if ema else nullcontext():
            return self._mean_scores(stage.restore)

    def baseline(self) -> dict[str, float]:
        """The scores of the degraded images themselves; every rank calls this."""
        return self._mean_scores(lambda pairs: pairs.lq)

    def grid(self, stage: Stage) -> Tensor:
        """LQ, restored, restored with averaged weights, GT, side by side; every rank calls this."""
        count = min(len(self._data), self._config.logging.num_samples)
        pairs = self._pairs(range(count))
        with torch.no_grad():
            live = stage.restore(pairs)
            with stage.averaged():
                averaged = stage.restore(pairs)
        return sample_grid([pairs.lq, live, averaged, pairs.gt])

    @property
    def _num_images(self) -> int:
        return min(len(self._data), self._config.validation.num_images)

    @torch.no_grad()
    def _mean_scores(self, restore: Callable[[Pairs], Tensor]) -> dict[str, float]:
        totals: dict[str, Tensor] = {}
        for pairs, share in self._dealt():
            restored = restore(pairs).float().clamp(0.0, 1.0)
            for name, values in self._score(restored, pairs.gt).items():
                totals[name] = totals.get(name, 0.0) + values.float().sum() * share
        return {name: float(self._runtime.sum(value)) for name, value in totals.items()}

    def _score(self, restored: Tensor, gt: Tensor) -> dict[str, Tensor]:
        scores = {"psnr": psnr(restored, gt).clamp(max=100.0), "ssim": ssim(restored, gt)}
        if self._perceptual is not None:
            scores["perceptual"] = self._perceptual(restored, gt)
        return scores

    def _dealt(self) -> Iterator[tuple[Pairs, float]]:
        """This rank's pairs, batch by batch, and the share of each image in the mean.

        All ranks get equally many batches, because a sharded network needs all of them at every call; an image that only
        fills up a batch has no share.
        """
        ranks, batch = self._runtime.world_size, self._config.optim.batch_size
        stride = ranks * batch
        for start in range(0, self._num_images, stride):
            first = start + self._runtime.rank * batch
            taken = range(first, min(first + batch, self._num_images))
            if taken:
                yield self._pairs(taken), 1.0 / self._num_images
            else:
                yield self._pairs(range(1)), 0.0

    def _pairs(self, numbers: range) -> Pairs:
        samples = [self._data.sample(number) for number in numbers]
        gt = torch.stack([sample.image for sample in samples]).float() / 255.0
        gt = gt.to(self._runtime.device)
        keys = tuple(sample.key for sample in samples)
        partners = [sample.degraded for sample in samples if sample.degraded is not None]
        lq = torch.stack(partners).float().to(gt.device) / 255.0 if partners else None
        return Pairs(
            lq=self._degrader.degrade(gt, keys) if lq is None else lq,
            gt=gt,
            prompts=tuple(sample.prompt for sample in samples),
            keys=keys,
        )


def _fixed_crops(
    config: DataConfig, sources: tuple[str, ...], *, degraded: tuple[str, ...]
) -> DataConfig:
    return replace(
        config,
        sources=sources,
        degraded=degraded,
        crop="center",
        flip_probability=0.0,
        prompt_dropout=0.0,
        shuffle=False,
        pool_size=0,
        workers=0,
    )
