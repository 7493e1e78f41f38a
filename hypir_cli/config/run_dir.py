"""What lies in the folder of a training run: names of its files, and its numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypir_cli.errors import InputError

CONFIG_FILE = "config.yaml"
"""Settings of the run."""
METRICS_FILE = "metrics.jsonl"
"""One JSON line of numbers per logged update or validation."""
CURVES_FILE = "curves.png"
"""The numbers drawn."""
LOG_DIR = "logs"
"""TensorBoard files."""
SAMPLE_DIR = "samples"
"""Grids of sample images, one per drawing."""
LORA_FILE, EMA_FILE, ENCODER_FILE = "lora.safetensors", "ema.safetensors", "encoder.safetensors"
"""Weights in a checkpoint and, at the end, in the run's own folder: as trained, averaged, and a fine-tuned encoder's."""
_STEP = re.compile(r"step-(\d+)")


def checkpoint_dir(run_dir: Path, step: int) -> Path:
    """Folder of the checkpoint of an update."""
    return run_dir / "checkpoints" / f"step-{step}"


def step_dirs(run_dir: Path) -> dict[int, Path]:
    """Update -> folder of its checkpoint, whole or not, oldest first."""
    folder = run_dir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    steps = [int(match[1]) for name in names if (match := _STEP.fullmatch(name))]
    return {step: checkpoint_dir(run_dir, step) for step in sorted(steps)}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, oldest first; a last line that was cut off is left out.

    Raises:
        InputError: A line before the last is not JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(
                f"line {number} of {path} is not JSON.", hint="remove that line"
            ) from error
    return found
