"""Find the LoRA that a user means: a file, a checkpoint folder or a whole training run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hypir_cli.config.run_dir import EMA_FILE, LORA_FILE, step_dirs
from hypir_cli.errors import CheckpointError

WEIGHT_FILES = {"ema": EMA_FILE, "raw": LORA_FILE}
"""File of each kind of weights in a training run's folders."""
_FOLDER_FILES = (
    "adapter_model.safetensors",
    "pytorch_lora_weights.safetensors",
    "adapter_model.bin",
)
"""Files of folders that PEFT and diffusers write."""


def find_trained_weights(path: Path, *, weights: Literal["ema", "raw"] = "ema") -> Path:
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
    newest = [folder / name for folder in reversed(step_dirs(path).values())]
    candidates = [path / name, *newest, *(path / file for file in _FOLDER_FILES)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"{path} holds no LoRA: no {name}, neither itself nor in checkpoints/step-N, nor {_FOLDER_FILES[0]}.",
        hint="give a LoRA file, a checkpoint folder, the folder of a train-gan run, or one that export-lora wrote",
    )
