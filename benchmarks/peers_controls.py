"""Whether the controls of the embedded backbone do what they say, for `peers.py --controls`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from peers_arms import Report, restore_config
from peers_sets import PhotoSet, as_tensor, cut, read_pixels

from hypir_cli.config.restore import ControlConfig
from hypir_cli.images import ImageData
from hypir_cli.pixels.metrics.fidelity import psnr
from hypir_cli.pixels.texture import texture_richness
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.richness import predict_texture

TEXTURES = (150.0, 500.0, 1500.0, 3000.0)
"""Values of --texture that the result's texture has to follow."""
GENERATIVITIES = (0.0, 0.25, 0.5, 1.0)
FOLLOW_FACTOR = 1.6
"""A result asked for GT's own texture counts within this factor of it."""
PREDICT_FACTOR = 2.0
"""The predicted texture counts within this factor of GT's."""
Run = Callable[[ControlConfig], np.ndarray]
"""One photograph restored with these controls, 8-bit (H, W, 3)."""


def measure_controls(
    photos: PhotoSet, *, weights: Path | None, crop: int | None, report: Report
) -> dict[str, Any]:
    """Every control on every photograph, with a model that is loaded once.

    Args:
        photos: The set.
        weights: Folder of the embedded backbone's weights; None is the one in the package.
        crop: Side in pixels (of the result) of the centre that is used; None is all.
        report: Told of progress.
    """
    config = restore_config(scale=photos.scale, weights=weights)
    first = Engine.load(config)
    by_photo: dict[str, dict[str, Any]] = {}
    for name in photos.names:
        report(f"{photos.preset}: controls on {name}")
        gt, image = _windows(photos, name, crop)

        def run(control: ControlConfig, image: ImageData = image) -> np.ndarray:
            engine = Engine(first.model, config=dataclasses.replace(config, control=control))
            return np.asarray(engine.restore(image).samples[0])

        by_photo[name] = {
            **_texture(run, gt, can_follow=first.model.texture),
            **_generativity(run, gt),
            "predicted": _predicted(first, image, gt.shape[:2]),
        }
    return {
        "summary": _summary(list(by_photo.values())),
        "generativity_trained": first.model.generativity,
        "photos": by_photo,
    }


def _windows(photos: PhotoSet, name: str, crop: int | None) -> tuple[np.ndarray, ImageData]:
    gt = read_pixels(photos.path("gt", name))
    lq = read_pixels(photos.path("lq", name))
    small_crop = crop and crop // photos.scale
    return (
        cut(gt, side=crop, multiple=photos.scale),
        ImageData(pixels=cut(lq, side=small_crop, multiple=1)),
    )


def _texture(run: Run, gt: np.ndarray, *, can_follow: bool) -> dict[str, Any]:
    own = richness(gt)
    if not can_follow:
        return {"gt": own, "texture": None, "at_gt": None}
    values = [richness(run(ControlConfig(texture=value))) for value in TEXTURES]
    return {
        "gt": own,
        "texture": values,
        "at_gt": richness(run(ControlConfig(texture=max(own, 1e-3)))),
    }


def _generativity(run: Run, gt: np.ndarray) -> dict[str, Any]:
    reference = as_tensor(gt)
    results = {
        (share, seed): run(ControlConfig(generativity=share, seed=seed))
        for share, seed in [(share, 0) for share in GENERATIVITIES] + [(0.0, 1), (0.5, 1)]
    }
    plain = [results[share, 0] for share in GENERATIVITIES]
    noisy = [results[0.5, seed].astype(np.float64) for seed in (0, 1)]
    return {
        "psnr": [float(psnr(as_tensor(pixels), reference)) for pixels in plain],
        "generativity_texture": [richness(pixels) for pixels in plain],
        "seed_difference": float(np.abs(noisy[0] - noisy[1]).mean()),
        "same_at_zero": bool((results[0.0, 0] == results[0.0, 1]).all()),
    }


def _predicted(engine: Engine, image: ImageData, size: Sequence[int]) -> float | None:
    predictor = engine.model.predictor
    if predictor is None:
        return None
    return predict_texture(predictor, image, size=(size[0], size[1]))


def richness(pixels: np.ndarray) -> float:
    """Texture statistic of 8-bit (H, W, 3)."""
    return float(texture_richness(as_tensor(pixels)))


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    steps = range(len(GENERATIVITIES))
    mean_psnr = [fmean(row["psnr"][step] for row in rows) for step in steps]
    mean_texture = [fmean(row["generativity_texture"][step] for row in rows) for step in steps]
    follows = [row for row in rows if row["texture"] is not None]
    predicted = [row for row in rows if row["predicted"] is not None]
    return {
        "photos": len(rows),
        "texture_rises": sum(rises(row["texture"]) for row in follows),
        "texture_mean": [fmean(row["texture"][i] for row in follows) for i in range(len(TEXTURES))]
        if follows
        else None,
        "texture_at_gt": sum(_within(row["at_gt"], row["gt"], FOLLOW_FACTOR) for row in follows),
        "predicted_near_gt": sum(
            _within(row["predicted"], row["gt"], PREDICT_FACTOR) for row in predicted
        ),
        "generativity_psnr": mean_psnr,
        "generativity_psnr_falls": rises(mean_psnr[::-1]),
        "generativity_texture": mean_texture,
        "generativity_texture_rises": rises(mean_texture),
        "seed_difference": fmean(row["seed_difference"] for row in rows),
        "same_at_zero": sum(row["same_at_zero"] for row in rows),
    }


def rises(values: Sequence[float]) -> bool:
    """Whether each value is above the one before."""
    return all(low < high for low, high in pairwise(values))


def _within(value: float, wanted: float, factor: float) -> bool:
    return wanted / factor <= value <= wanted * factor
