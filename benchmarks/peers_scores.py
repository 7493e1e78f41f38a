"""Scores of the arms of `peers.py` with the project's own metrics.

ST-LPIPS sees each picture whole, without tiles: the largest photograph of the test set (2 megapixels) takes about 4 GB.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from statistics import fmean

import torch
from peers_sets import PhotoSet, as_tensor, read_pixels

from hypir_cli import __version__
from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.evaluate.registry import Metric, find_metric, load_metric

METRICS = ("psnr", "ssim", "stlpips-vgg", "niqe", "texture-ratio", "grid-score")
Scores = dict[str, float | None]
"""Figure by metric; None where the picture is too small or too flat for one."""


class Scorer:
    """Scores pictures, and remembers what it has scored in a file.

    Args:
        memory: JSON file; the same pictures are not scored twice by the same version of the project.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._metrics: dict[str, Metric] = {}
        self._known: dict[str, Scores] = {}
        if memory.exists():
            self._known = json.loads(memory.read_text(encoding="utf-8"))

    def scores(self, result: Path, gt: Path) -> Scores:
        """Figures of one picture by metric."""
        digest = hashlib.sha256(f"{__version__} {METRICS}".encode())
        for path in (result, gt):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        key = digest.hexdigest()
        if key not in self._known:
            self._known[key] = self._measure(result, gt)
            self._memory.write_text(json.dumps(self._known), encoding="utf-8")
        return self._known[key]

    def _measure(self, result: Path, gt: Path) -> Scores:
        pictures = as_tensor(read_pixels(result)), as_tensor(read_pixels(gt))
        return {name: self._score(name, *pictures) for name in METRICS}

    def _score(self, name: str, result: torch.Tensor, gt: torch.Tensor) -> float | None:
        if name not in self._metrics:
            device = torch.device("cpu")
            self._metrics[name] = load_metric(
                find_metric(name), MeasureConfig(), device=device, timeout=0.0
            )
        score = self._metrics[name].score
        assert score is not None
        try:
            figure = score(result, gt)
        except ValueError:
            return None
        return figure if math.isfinite(figure) else None


def score_arm(photos: PhotoSet, arm: str, scorer: Scorer) -> dict[str, Scores]:
    """Figures by photograph."""
    return {
        name: scorer.scores(photos.path(arm, name), photos.path("gt", name))
        for name in photos.names
    }


def mean_scores(by_photo: dict[str, Scores]) -> Scores:
    """Means over the photographs that have a figure: geometric for ratios, arithmetic for the rest."""
    means: Scores = {}
    for metric in METRICS:
        figures = [f for scores in by_photo.values() if (f := scores[metric]) is not None]
        if not figures:
            means[metric] = None
        elif metric in ("texture-ratio", "grid-score"):
            means[metric] = math.exp(fmean(math.log(max(figure, 1e-6)) for figure in figures))
        else:
            means[metric] = fmean(figures)
    return means
