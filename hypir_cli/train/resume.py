"""Which checkpoint a run goes on from: the newest one that is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hypir_cli.config.run_dir import checkpoint_dir
from hypir_cli.errors import CheckpointError, ConfigError
from hypir_cli.train.state import (
    FILES_FILE,
    STATE_FILE,
    checkpoint_steps,
    read_state,
)

AUTO = "auto"
"""Go on from the newest checkpoint of the run's own folder, or start anew where there is none."""


def find_checkpoint(
    run_dir: Path, resume: str | None, *, on_damaged: Callable[[str], None] | None = None
) -> Path | None:
    """The checkpoint to go on from; None to start anew.

    Args:
        run_dir: Folder of the run.
        resume: None, `auto`, a checkpoint, or the folder of a run. Of a folder it is the newest whole checkpoint.
        on_damaged: Called with what is wrong with each newer one that is passed over.

    Raises:
        ConfigError: The folder holds a run already and `resume` is None.
        CheckpointError: There is no checkpoint where `resume` says, or none of them is whole.
    """
    steps = checkpoint_steps(run_dir)
    if resume is None:
        if steps:
            raise ConfigError(
                f"{run_dir} already holds a run (at step {steps[-1]}).",
                hint="go on with --resume auto, or set another output_dir",
            )
        return None
    if resume == AUTO:
        return _newest_whole(run_dir, steps, on_damaged=on_damaged) if steps else None
    folder = Path(resume)
    if (folder / STATE_FILE).is_file():
        check_whole(folder)
        return folder
    steps = checkpoint_steps(folder)
    if not steps:
        raise CheckpointError(
            f"there is no checkpoint at {folder}.",
            hint="give a checkpoints/step-N folder, the folder of a run, or auto",
        )
    return _newest_whole(folder, steps, on_damaged=on_damaged)


def check_whole(folder: Path) -> None:
    """Look whether every file of a checkpoint is there, as long as it was written, and readable in its header.

    Raises:
        CheckpointError: One is not.
    """
    read_state(folder)
    for name, size in _listed(folder).items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            seen = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise _damaged(folder, f"{name} {seen}")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise _damaged(folder, f"{path.name}: {error}") from error


def _newest_whole(
    run_dir: Path, steps: list[int], *, on_damaged: Callable[[str], None] | None
) -> Path:
    damage = []
    for step in reversed(steps):
        folder = checkpoint_dir(run_dir, step)
        try:
            check_whole(folder)
        except CheckpointError as error:
            damage.append(error.message)
        else:
            if on_damaged is not None:
                for message in damage:
                    on_damaged(f"{message} Going on from the newest whole one.")
            return folder
    raise CheckpointError(
        f"none of the checkpoints in {run_dir} is whole; {damage[0]}",
        hint="bring one back from a backup, or start anew with another output_dir",
    )


def _listed(folder: Path) -> dict[str, int]:
    """Size in bytes of each file when the checkpoint was written; nothing for one of before such lists were kept."""
    try:
        listed = json.loads((folder / FILES_FILE).read_text(encoding="utf-8"))
        return {str(name): int(size) for name, size in listed.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(folder, f"{FILES_FILE}: {error}") from error


def _damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint {folder} is damaged: {what}.",
        hint="resume from an older checkpoint, or --resume auto",
    )
