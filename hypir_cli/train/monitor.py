"""What a run writes down about itself: `metrics.jsonl`, TensorBoard files, sample grids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hypir_cli.config.run_dir import LOG_DIR, METRICS_FILE, read_metrics
from hypir_cli.errors import InputError

_GAP = 4


class Monitor:
    """Writer of one run's numbers; only the main process has one.

    Args:
        run_dir: Folder of the run.
        tensorboard: Also write TensorBoard files.
        step: Updates already done; later lines of an interrupted run are dropped.
    """

    def __init__(self, run_dir: Path, *, tensorboard: bool, step: int) -> None:
        self._path = run_dir / METRICS_FILE
        kept = [line for line in read_metrics(self._path) if line["step"] <= step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._writer = _tensorboard_writer(run_dir / LOG_DIR, step=step) if tensorboard else None

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """One line of numbers of update number `step`.

        Raises:
            InputError: The disk is full, or the folder is gone.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **scalars}) + "\n")
            if self._writer is not None:
                for name, value in scalars.items():
                    self._writer.add_scalar(name, value, step)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def grid(self, step: int, path: Path, grid: Tensor) -> None:
        """A sample grid (3, H, W), 0..1, as PNG and for TensorBoard.

        Raises:
            InputError: The disk is full, or the folder is gone.
        """
        levels = (grid.clamp(0.0, 1.0) * 255.0).round().byte().cpu().numpy()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))).save(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        if self._writer is not None:
            self._writer.add_image("samples", levels, step)

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()


def sample_grid(columns: Sequence[Tensor]) -> Tensor:
    """Images (B, 3, H, W) of several kinds as one picture, (3, height, width): a row per image, a column per kind."""
    rows = torch.cat([_padded(column.detach().float().cpu()) for column in columns], dim=3)
    return torch.cat(list(rows), dim=1)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path}: {error}.",
        hint="free some space, then go on from the last checkpoint with --resume auto",
    )


def _padded(images: Tensor) -> Tensor:
    return torch.nn.functional.pad(images, (0, _GAP, 0, _GAP), value=1.0)


def _tensorboard_writer(folder: Path, *, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard files need the package tensorboard, which is not installed.",
            hint="pip install 'hypir[train]', or set logging.tensorboard: false",
        ) from error
    return SummaryWriter(folder, purge_step=step + 1 if step else None)
