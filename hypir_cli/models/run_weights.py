"""Find the LoRA that a user means: a file, a checkpoint folder or a whole training run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from hypir_cli.errors import CheckpointError

WEIGHT_FILES = {"ema": "ema.safetensors", "raw": "lora.safetensors"}
"""File of each kind of weights in a training run's folders."""
_FOLDER_FILES = (
    "adapter_model.safetensors",
    "pytorch_lora_weights.safetensors",
    "adapter_model.bin",
)
"""Files of folders that PEFT and diffusers write."""
_STEP = re.compile(r"step-(\d+)")


def find_checkpoint(path: Path, *, weights: Literal["ema", "raw"] = "ema") -> Path:
    """The weights file behind a path.

    Args:
        path: A LoRA file; a folder `checkpoints/step-N`; a run folder (its newest checkpoint); a folder that PEFT or
            diffusers wrote.
        weights: Which of a run's weights.

    Raises:
        CheckpointError: There is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"there is no file or folder {path}.", hint="check the path")
    name = WEIGHT_FILES[weights]
    candidates = [path / name, *_newest_first(path / "checkpoints", name)]
    candidates += [path / file for file in _FOLDER_FILES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"{path} holds no LoRA: no {name}, neither itself nor in checkpoints/step-N, nor {_FOLDER_FILES[0]}.",
        hint="give a LoRA file, a checkpoint folder, the folder of a train-gan run, or one that export-lora wrote",
    )


def _newest_first(folder: Path, name: str) -> list[Path]:
    steps = [match for match in map(_STEP.fullmatch, _names(folder)) if match]
    steps.sort(key=lambda match: int(match[1]), reverse=True)
    return [folder / match[0] / name for match in steps]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
