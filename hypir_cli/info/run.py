"""What a training run's folder tells: a summary, and its curves as one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypir_cli.config.run_dir import CONFIG_FILE, METRICS_FILE, read_metrics, step_dirs
from hypir_cli.config.schema import load_yaml
from hypir_cli.errors import InputError
from hypir_cli.info.curves import plot_curves


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
    config, lines = read_run(run_dir)
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
    _, lines = read_run(run_dir)
    try:
        return str(plot_curves(run_dir, lines))
    except InputError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return f"not drawn: {error.message.rstrip('.')}{hint}"


def _scores(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name.startswith(("val/", "lq/"))}


def read_run(run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and metrics of a run.

    Raises:
        InputError: The folder is not that of a training run.
        ConfigError: Its config.yaml is damaged.
    """
    if not is_run_dir(run_dir):
        raise InputError(
            f"{run_dir} is not the folder of a training run: it lacks {METRICS_FILE} or {CONFIG_FILE}.",
            hint="give the output_dir of train-encoder or train-gan",
        )
    return load_yaml(run_dir / CONFIG_FILE), read_metrics(run_dir / METRICS_FILE)
