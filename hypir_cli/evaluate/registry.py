"""Every metric by its id: what it needs, which way is better, who computes it.

Own metrics need no download. Any other id is pyiqa's, spelt exactly as pyiqa spells it, since papers mix up ids that
differ in their weights (maniqa and maniqa-pipal, clipiqa and clipiqa+).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hypir_cli import __version__
from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.config.nearest import did_you_mean
from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.evaluate import bridge
from hypir_cli.models.perceptual.distances import build_perceptual
from hypir_cli.pixels.metrics.color_shift import color_shift
from hypir_cli.pixels.metrics.fidelity import MAX_DECIBEL, consistency, psnr, ssim
from hypir_cli.pixels.metrics.grid import grid_score
from hypir_cli.pixels.metrics.niqe import niqe
from hypir_cli.pixels.texture import texture_richness

Better = Literal["higher", "lower", "one"]
Needs = Literal["", "gt", "lq"]
Score = Callable[[Tensor, Tensor | None], float]
"""Restored image and partner, (1, 3, H, W), RGB 0..1 -> figure."""
SetScore = Callable[[Sequence[Path], Sequence[Path]], float]
"""Restored files and GT files -> one figure for the set."""


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric is, without its weights."""

    id: str
    """Exact name."""
    provider: str
    """Who computes it, with its version."""
    better: Better
    """Which way is better; `one`: the closer to 1."""
    needs: Needs
    """The partner it compares with; empty for none."""
    about: str
    """What the figure is, in one line."""
    per_image: bool = True
    """False for a figure of the whole set."""
    whole: bool = False
    """True where borders are not cut and images of other sizes are compared as they are."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric that is ready to score."""

    info: MetricInfo
    """What it is."""
    score: Score | None = None
    """Figure of one image; None for a set metric."""
    score_set: SetScore | None = None
    """Figure of a set; None for an image metric."""


def _own(name: str, better: Better, needs: Needs, about: str, *, whole: bool = False) -> MetricInfo:
    provider = f"hypir {__version__}"
    return MetricInfo(
        id=name, provider=provider, better=better, needs=needs, about=about, whole=whole
    )


_OWN = {
    info.id: info
    for info in (
        _own(
            "psnr", "higher", "gt", "peak signal-to-noise ratio to GT in dB; equal images count 100"
        ),
        _own(
            "ssim", "higher", "gt", "structural similarity to GT (11x11 gaussian window, sigma 1.5)"
        ),
        _own("niqe", "lower", "", "distance from the statistics of undistorted photographs"),
        _own(
            "stlpips-vgg",
            "lower",
            "gt",
            "shift-tolerant LPIPS to GT, VGG16, package stlpips-pytorch",
        ),
        _own(
            "color-shift",
            "lower",
            "gt",
            "mean CIEDE2000 to GT of averages over cells; 1 is just visible",
        ),
        _own(
            "color-shift-lq", "lower", "lq", "the same to the input, enlarged to the restored size"
        ),
        _own(
            "texture-ratio",
            "one",
            "gt",
            "variance of the Laplacian over GT's; below 1 is too smooth, means are of |log|",
        ),
        _own(
            "grid-score",
            "one",
            "",
            "power at periods of 2, 4 and 8 pixels over its surroundings; above 1 is a pattern, means are of |log|",
        ),
        _own(
            "consistency",
            "higher",
            "lq",
            "PSNR in dB to the input after the same shrinking",
            whole=True,
        ),
    )
}
OWN_METRICS = tuple(_OWN)
"""Ids of the metrics of this package."""
_OFFLINE = tuple(name for name in _OWN if name != "stlpips-vgg")

_ELSEWHERE = {
    "deqa": "DeQA-Score is not in pyiqa; its nearest maintained relative is qalign, the model it was built from "
    "(qrealign-mini is a smaller new one); their figures do not compare with DeQA's",
    "clip-iqa": "pyiqa calls it clipiqa (clipiqa+ is another model)",
    "clip-iqa+": "pyiqa calls it clipiqa+ (clipiqa is another model)",
    "topiq": "pyiqa has topiq_nr (without reference) and topiq_fr (with GT)",
    "q-align": "pyiqa calls it qalign",
    "lpips-alex": "pyiqa's lpips is the AlexNet one; lpips-vgg is the other",
}


def default_metrics(*, gt: bool, lq: bool) -> tuple[str, ...]:
    """Ids of the metrics that need no download and no extra, for the partners at hand."""
    given = {"", *(["gt"] if gt else []), *(["lq"] if lq else [])}
    return tuple(name for name in _OFFLINE if _OWN[name].needs in given)


def all_metrics() -> tuple[MetricInfo, ...]:
    """Own metrics, then pyiqa's by id where it is installed; weights are not looked for."""
    others = sorted(bridge.catalogue()) if bridge.is_installed() else []
    return (*_OWN.values(), *(_of_pyiqa(name) for name in others if name not in _OWN))


def find_metric(name: str) -> MetricInfo:
    """What a metric is, by its id; its weights are not looked for.

    Raises:
        ConfigError: No such metric; the hint has the nearest names and says what there is.
        HypirError: It is none of the own metrics, and pyiqa is not installed.
    """
    if name in _OWN:
        return _OWN[name]
    if name.lower() in _ELSEWHERE:
        raise ConfigError(f"there is no metric {name!r}.", hint=_ELSEWHERE[name.lower()])
    if not bridge.is_installed():
        near = did_you_mean(name.lower(), _OWN, most=3)
        raise HypirError(
            f"metric {name}: it needs the package pyiqa, which is not installed.",
            hint=f"pip install 'hypir[eval]' (pyiqa is for non-commercial use); {near}{' ' if near else ''}"
            f"without it there are {', '.join(_OFFLINE)}",
        )
    catalogue = bridge.catalogue()
    if name not in catalogue:
        near = did_you_mean(name.lower(), [*_OWN, *catalogue], most=3)
        raise ConfigError(
            f"there is no metric {name!r}.",
            hint=f"{near}{' ' if near else ''}known without download: {', '.join(_OFFLINE)}; "
            "hypir eval --list-metrics shows all",
        )
    return _of_pyiqa(name)


def _of_pyiqa(name: str) -> MetricInfo:
    entry = bridge.catalogue()[name]
    return MetricInfo(
        id=name,
        provider=f"pyiqa {bridge.version()}",
        better="lower" if entry.lower_better else "higher",
        needs="gt" if entry.needs_reference else "",
        about="see pyiqa's model card",
        per_image=name not in bridge.SET_METRICS,
    )


def load_metric(
    info: MetricInfo, measure: MeasureConfig, *, device: torch.device, timeout: float
) -> Metric:
    """A metric with its weights.

    Raises:
        HypirError: Weights or a package it needs cannot be had; the message names the metric.
    """
    if info.id in _OWN:
        return Metric(info=info, score=_own_score(info.id, measure, device=device))
    if not info.per_image:
        return Metric(
            info=info, score_set=bridge.load_set_metric(info.id, device=device, timeout=timeout)
        )
    return Metric(info=info, score=bridge.load_metric(info.id, device=device, timeout=timeout))


def _own_score(name: str, measure: MeasureConfig, *, device: torch.device) -> Score:
    if name == "stlpips-vgg":
        return _stlpips(device)

    def score(restored: Tensor, partner: Tensor | None) -> float:
        if name == "niqe":
            return float(niqe(restored))
        if name == "grid-score":
            return float(grid_score(restored))
        assert partner is not None
        if name == "psnr":
            decibel = psnr(restored, partner, color_space=measure.color_space)
            return min(float(decibel), MAX_DECIBEL)
        if name == "ssim":
            return float(ssim(restored, partner, color_space=measure.color_space))
        if name == "consistency":
            return min(float(consistency(restored, partner, shrink=measure.shrink)), MAX_DECIBEL)
        if name == "texture-ratio":
            return _texture_ratio(restored, partner)
        return float(color_shift(restored, partner, cell=measure.cell))

    return score


def _texture_ratio(restored: Tensor, gt: Tensor) -> float:
    reference = float(texture_richness(gt))
    if reference == 0.0:
        raise ValueError("the GT is flat, so no ratio to its texture exists")
    return float(texture_richness(restored)) / reference


def _stlpips(device: torch.device) -> Score:
    try:
        distance = build_perceptual("stlpips")
    except HypirError as error:
        raise HypirError(f"metric stlpips-vgg: {error.message}", hint=error.hint) from error
    assert distance is not None
    network = distance.to(device)

    def score(restored: Tensor, partner: Tensor | None) -> float:
        assert partner is not None
        with torch.inference_mode():
            return float(network(restored.to(device), partner.to(device)))

    return score
