"""The curves of a training run as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypir_cli.config.extras import needing
from hypir_cli.config.run_dir import CURVES_FILE
from hypir_cli.errors import InputError

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("losses", ("loss/pixel", "loss/perceptual", "loss/adversarial", "loss/encoder")),
    ("discriminator", ("loss/discriminator", "logits/real", "logits/fake")),
    ("gradient of each loss", ("grad/pixel", "grad/perceptual", "grad/adversarial")),
    ("gradient norms", ("norm/generator", "norm/discriminator", "norm/encoder")),
    ("PSNR (dB)", ("val/psnr", "lq/psnr", "psnr/clean")),
    ("perceptual distance", ("val/perceptual", "lq/perceptual")),
)
_LOG_SCALED = ("gradient of each loss", "gradient norms")
_SMOOTHING = 15


def plot_curves(
    run_dir: Path, lines: Sequence[dict[str, Any]], *, path: Path | None = None
) -> Path:
    """Draw a run's curves.

    Args:
        run_dir: Folder of the run.
        lines: Its metrics.
        path: PNG to write; None writes `curves.png` into the folder.

    Returns:
        The PNG.

    Raises:
        InputError: matplotlib is missing, or the picture cannot be written.
    """
    with needing("drawing curves needs", extra="train", error=InputError):
        from matplotlib.figure import Figure
    panels = [panel for panel in _PANELS if any(_series(lines, name)[0] for name in panel[1])]
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 3.2 * max(rows, 1)), layout="constrained")
    for index, (title, names) in enumerate(panels):
        axes = figure.add_subplot(rows, 2, index + 1)
        _draw(axes, lines, title=title, names=names)
    target = path or run_dir / CURVES_FILE
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=100)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error}.", hint="choose another file") from error
    return target


def _draw(axes: Any, lines: Sequence[dict[str, Any]], *, title: str, names: Sequence[str]) -> None:
    for name in names:
        steps, values = _series(lines, name)
        if not steps:
            continue
        if len(steps) == 1:
            axes.axhline(values[0], linestyle=":", label=name)
            continue
        (line,) = axes.plot(steps, values, alpha=0.3 if len(steps) > 2 * _SMOOTHING else 1.0)
        smooth = _smoothed(values) if len(steps) > 2 * _SMOOTHING else values
        axes.plot(steps, smooth, color=line.get_color(), label=name)
    axes.set_title(title)
    axes.set_xlabel("update")
    if title in _LOG_SCALED:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _smoothed(values: Sequence[float]) -> list[float]:
    """Mean of the last few values."""
    windows = (values[max(0, end - _SMOOTHING) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]


def _series(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [(line["step"], line[name]) for line in lines if name in line]
    return [step for step, _ in found], [value for _, value in found]
