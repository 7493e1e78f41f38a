"""What an evaluation found: figures per image and per method, their spread, and how they came about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hypir_cli.config.evaluate import BootstrapConfig
from hypir_cli.evaluate.bootstrap import Interval, mean_interval
from hypir_cli.evaluate.pairing import Pairing, Problem
from hypir_cli.evaluate.registry import Better, MetricInfo
from hypir_cli.evaluate.speed import Speed

Figures = dict[str, dict[str, dict[str, float]]]
"""Method -> metric -> image -> figure; what could not be measured is absent."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything an evaluation found."""

    metrics: tuple[MetricInfo, ...]
    """Metrics that were measured."""
    pairing: Pairing
    """Files that were measured."""
    figures: Figures
    """Figures of the images."""
    summary: Mapping[str, Mapping[str, Interval]]
    """Method -> metric -> mean over the images that every method has a figure for."""
    differences: Mapping[str, Mapping[str, Interval]]
    """Method -> metric -> mean paired difference to the first method."""
    ranks: Mapping[str, tuple[str, ...]]
    """Metric -> methods from best to worst."""
    speed: Mapping[str, Speed] = field(default_factory=dict)
    """Method -> time and memory of its restoration."""
    problems: tuple[Problem, ...] = ()
    """What could not be measured."""
    provenance: Mapping[str, object] = field(default_factory=dict)
    """Settings, versions, commit, date."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, the first being what the others are compared with."""
        return tuple(self.pairing.restored)


def shared_images(figures: Figures, metric: str, order: Sequence[str]) -> list[str]:
    """Images for which every method has a figure, so that means are over the same pictures."""
    columns = [found.get(metric, {}) for found in figures.values()]
    return [key for key in order if all(key in column for column in columns)]


def summarise(
    figures: Figures, metrics: Sequence[str], order: Sequence[str], bootstrap: BootstrapConfig
) -> dict[str, dict[str, Interval]]:
    """Mean and interval of every method and metric; a metric without a shared image is absent."""
    shared = {metric: shared_images(figures, metric, order) for metric in metrics}
    return {
        method: {
            metric: _interval([found[metric][key] for key in keys], bootstrap)
            for metric, keys in shared.items()
            if keys
        }
        for method, found in figures.items()
    }


def differences(
    figures: Figures, metrics: Sequence[str], order: Sequence[str], bootstrap: BootstrapConfig
) -> dict[str, dict[str, Interval]]:
    """Mean difference of every other method to the first on the same images, with its paired interval."""
    first, *others = figures
    shared = {metric: shared_images(figures, metric, order) for metric in metrics}
    return {
        method: {
            metric: _interval(
                [figures[method][metric][key] - figures[first][metric][key] for key in keys],
                bootstrap,
            )
            for metric, keys in shared.items()
            if keys
        }
        for method in others
    }


def ranking(means: Mapping[str, float], better: Better) -> tuple[str, ...]:
    """Methods from best to worst."""
    costs = {
        method: {"higher": -mean, "lower": mean, "one": _distance_to_one(mean)}[better]
        for method, mean in means.items()
    }
    return tuple(sorted(costs, key=lambda method: costs[method]))


def _distance_to_one(ratio: float) -> float:
    """Twice as much counts like half as much."""
    return abs(math.log(ratio)) if ratio > 0 else math.inf


def _interval(values: Sequence[float], bootstrap: BootstrapConfig) -> Interval:
    return mean_interval(
        np.asarray(values, dtype=np.float64),
        resamples=bootstrap.resamples,
        confidence=bootstrap.confidence,
        seed=bootstrap.seed,
    )
