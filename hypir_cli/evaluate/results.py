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
LEAST_RATIO = 1e-4
"""What smaller ratios count, so that a mean stays finite."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the metrics say of the inputs themselves: something to look at, in no ranking."""

    name: str
    """What tables call it."""
    figures: Mapping[str, Mapping[str, float]]
    """Metric -> image -> figure; metrics that compare with the inputs are absent."""
    summary: Mapping[str, Interval]
    """Metric -> mean over the images that the methods' means are over, where the inputs have a figure."""


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
    """Method -> metric -> mean over the images that every method has a figure for; of ratios, the mean of |log ratio|."""
    differences: Mapping[str, Mapping[str, Interval]]
    """Method -> metric -> mean paired difference to the first method."""
    ranks: Mapping[str, tuple[str, ...]]
    """Metric -> methods from best to worst."""
    baseline: Baseline | None = None
    """The inputs, where they were given."""
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

    def scored(self, metric: str) -> int:
        """Images that a metric's means are over."""
        row = self.summary[self.methods[0]]
        return row[metric].count if metric in row else 0


def comparable(figures: Figures, better: Mapping[str, Better]) -> Figures:
    """Figures that may be averaged: of a ratio |log ratio|, so that twice as much and half as much do not cancel.

    Args:
        figures: As measured.
        better: Metric -> which way is better.
    """
    return {
        method: {
            metric: {key: _averaged(value, better[metric]) for key, value in row.items()}
            for metric, row in columns.items()
        }
        for method, columns in figures.items()
    }


def _averaged(value: float, better: Better) -> float:
    return abs(math.log(max(value, LEAST_RATIO))) if better == "one" else value


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


def baseline_summary(
    baseline: Mapping[str, Mapping[str, float]],
    figures: Figures,
    order: Sequence[str],
    bootstrap: BootstrapConfig,
) -> dict[str, Interval]:
    """Mean and interval of the inputs, over those of the methods' images that have a figure.

    Args:
        baseline: Metric -> image -> figure of the inputs, comparable.
        figures: Of the methods.
        order: All images.
        bootstrap: How intervals are made.
    """
    found = {
        metric: [row[key] for key in shared_images(figures, metric, order) if key in row]
        for metric, row in baseline.items()
    }
    return {metric: _interval(values, bootstrap) for metric, values in found.items() if values}


def ranking(means: Mapping[str, float], better: Better) -> tuple[str, ...]:
    """Methods from best to worst; means of ratios are those of |log ratio|."""
    costs = {method: -mean if better == "higher" else mean for method, mean in means.items()}
    return tuple(sorted(costs, key=lambda method: costs[method]))


def _interval(values: Sequence[float], bootstrap: BootstrapConfig) -> Interval:
    return mean_interval(
        np.asarray(values, dtype=np.float64),
        resamples=bootstrap.resamples,
        confidence=bootstrap.confidence,
        seed=bootstrap.seed,
    )
