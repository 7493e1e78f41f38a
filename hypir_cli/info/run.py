"""What a training run's folder tells: a summary, and its curves as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypir_cli.config.run_dir import CONFIG_FILE, CURVES_FILE, METRICS_FILE, read_metrics, step_dirs
from hypir_cli.config.schema import load_yaml
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


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in a few facts."""

    run_dir: Path
    """Its folder."""
    backbone: str
    """Backbone that is trained."""
    step: int
    """Updates in its metrics."""
    total_steps: int
    """Updates of its schedule."""
    checkpoints: tuple[int, ...]
    """Updates of which there is a whole checkpoint."""
    skipped: int
    """Updates left out because a gradient was not finite."""
    first_scores: dict[str, float]
    """First validation: `val/...` of the model, `lq/...` of the degraded images."""
    last_scores: dict[str, float]
    """Last validation."""
    last: dict[str, float]
    """Last line of training metrics."""


def is_run_dir(path: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (path / METRICS_FILE).is_file() and (path / CONFIG_FILE).is_file()


def read_summary(run_dir: Path) -> RunSummary:
    """Facts about a run, from its files.

    Raises:
        InputError: The folder is not that of a training run.
        ConfigError: Its config.yaml is damaged.
    """
    config, lines = _read(run_dir)
    scored = [line for line in lines if any(name.startswith("val/") for name in line)]
    trained = [line for line in lines if "norm/generator" in line or "norm/encoder" in line]
    phases = config.get("schedule", {})
    return RunSummary(
        run_dir=run_dir,
        backbone=str(config.get("model", {}).get("backbone", "")),
        step=max((line["step"] for line in lines), default=0),
        total_steps=sum(int(phase.get("steps", 0)) for phase in phases.values()),
        checkpoints=tuple(step_dirs(run_dir)),
        skipped=int(trained[-1].get("skipped", 0)) if trained else 0,
        first_scores=_scores(scored[0]) if scored else {},
        last_scores=_scores(scored[-1]) if scored else {},
        last=trained[-1] if trained else {},
    )


def summarize_run(run_dir: Path) -> dict[str, str]:
    """Facts about a run as text by label, and its curves drawn into its folder.

    Raises:
        InputError: The folder is not that of a training run.
    """
    run = read_summary(run_dir)
    facts = {
        "run": str(run.run_dir),
        "backbone": run.backbone,
        "updates": f"{run.step} of {run.total_steps}, {run.skipped} skipped",
        "checkpoints": ", ".join(f"step-{step}" for step in run.checkpoints) or "none",
    }
    for name, value in run.last_scores.items():
        first = run.first_scores.get(name)
        input_score = run.first_scores.get(name.replace("val/", "lq/"))
        before = "" if first is None else f" (before training {first:.4g})"
        of_input = "" if input_score is None else f", degraded input {input_score:.4g}"
        facts[name.removeprefix("val/")] = f"{value:.4g}{before}{of_input}"
    facts |= {
        name: f"{value:.4g}"
        for name, value in run.last.items()
        if name.startswith(("loss/", "logits/")) or name in ("psnr/clean", "steps_per_second")
    }
    facts["curves"] = _curves(run_dir)
    return facts


def _curves(run_dir: Path) -> str:
    """Where the picture of the curves is, or why there is none: the facts matter more."""
    try:
        return str(plot_curves(run_dir))
    except InputError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return f"not drawn: {error.message.rstrip('.')}{hint}"


def plot_curves(run_dir: Path, path: Path | None = None) -> Path:
    """Draw a run's curves.

    Args:
        run_dir: Folder of the run.
        path: PNG to write; None writes `curves.png` into the folder.

    Returns:
        The PNG.

    Raises:
        InputError: Not a run's folder, matplotlib is missing, or the picture cannot be written.
    """
    _, lines = _read(run_dir)
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "drawing curves needs matplotlib, which is not installed.",
            hint="pip install 'hypir[train]'",
        ) from error
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


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name.startswith(("val/", "lq/"))}


def _read(run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if not is_run_dir(run_dir):
        raise InputError(
            f"{run_dir} is not the folder of a training run: it lacks {METRICS_FILE} or {CONFIG_FILE}.",
            hint="give the output_dir of train-encoder or train-gan",
        )
    return load_yaml(run_dir / CONFIG_FILE), read_metrics(run_dir / METRICS_FILE)
