"""Checkpoints of a run: `checkpoints/step-N/`, whole or not there at all.

A checkpoint is written into a hidden folder, flushed to the disk and renamed. Older ones are removed only after that. Nothing
frozen is in it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from hypir_cli.config.run_dir import checkpoint_dir, step_dirs
from hypir_cli.errors import CheckpointError
from hypir_cli.models.checkpoint import grant_usual_mode, load_tensors, save_tensors
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Stage

STATE_FILE = "state.json"
FILES_FILE = "files.json"
"""What else lies in a checkpoint, each file with its size in bytes."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where a run stands, besides its weights."""

    step: int = 0
    """Updates done."""
    position: int = 0
    """Training samples taken, over all ranks."""
    ema_updates: int = 0
    """Updates of the averaged weights."""
    skipped: int = 0
    """Updates left out because a gradient was not finite."""
    skipped_in_row: int = 0
    """Of these, the last ones without a good update between."""
    loss_scale: float = 1.0
    """Factor on the losses in fp16."""
    good_since_scaled: int = 0
    """Good updates since the factor last changed."""
    best_score: float | None = None
    """Best validation score so far."""
    best_step: int | None = None
    """Update it belongs to."""
    backbone: str = ""
    """Backbone that is trained."""
    kind: str = ""
    """Training command, encoder or gan."""
    world_size: int = 1
    """Processes of the run."""


def checkpoint_steps(run_dir: Path) -> list[int]:
    """Updates of which there is a whole checkpoint, oldest first."""
    return [step for step, folder in step_dirs(run_dir).items() if (folder / STATE_FILE).is_file()]


def save_checkpoint(
    run_dir: Path,
    stage: Stage,
    optimizers: Sequence[Optimizer],
    state: RunState,
    *,
    runtime: Runtime,
) -> Path:
    """Write one checkpoint; every rank calls this.

    Returns:
        Its folder.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; older checkpoints stay as they are.
    """
    final = checkpoint_dir(run_dir, state.step)
    partial = final.with_name(f".{final.name}.partial")
    failure = ""
    try:
        if runtime.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
    except OSError as error:
        failure = str(error)
    _agree(failure, final, runtime=runtime)
    try:
        _write_parts(partial, stage, optimizers, state, runtime=runtime)
    except (OSError, SafetensorError, CheckpointError) as error:
        failure = str(error)
    try:
        _agree(failure, final, runtime=runtime)
    except CheckpointError:
        if runtime.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    with runtime.together():
        if runtime.is_main:
            try:
                _publish(partial, final)
            except OSError as error:
                raise _unwritable(final, str(error)) from error
    return final


def prune(run_dir: Path, *, keep_last: int, keep: int | None) -> None:
    """Remove all but the newest checkpoints and the one of step `keep`.

    Raises:
        CheckpointError: One cannot be removed.
    """
    for step in checkpoint_steps(run_dir)[:-keep_last]:
        if step == keep:
            continue
        folder = checkpoint_dir(run_dir, step)
        try:
            # The state goes first: a folder without it is no checkpoint, so a half-removed one is never resumed.
            (folder / STATE_FILE).unlink()
            shutil.rmtree(folder)
        except OSError as error:
            raise CheckpointError(
                f"cannot remove the old checkpoint {folder}: {error}.",
                hint="see who holds it, or raise checkpoint.keep_last; the newest is whole",
            ) from error


def load_checkpoint(
    folder: Path,
    stage: Stage,
    optimizers: Sequence[Optimizer],
    *,
    expect: RunState,
    runtime: Runtime,
) -> RunState:
    """Restore weights, optimisers and random numbers; every rank calls this.

    Args:
        folder: A `step-N` folder.
        stage: The stage, freshly built.
        optimizers: One for each of its groups.
        expect: `kind` and `backbone` that the run has.
        runtime: The processes.

    Raises:
        CheckpointError: Missing or damaged files, another backbone, another command.
    """
    state = read_state(folder)
    for name in ("kind", "backbone"):
        found, wanted = getattr(state, name), getattr(expect, name)
        if found != wanted:
            raise CheckpointError(
                f"{folder} is a checkpoint of {name} {found!r}, this run trains {name} {wanted!r}.",
                hint="give the same settings as before, or another output_dir",
            )
    stage.load(folder, ema_updates=state.ema_updates)
    for group, optimizer in zip(stage.groups, optimizers, strict=True):
        _load_optimizer(folder / _optimizer_file(group.name), optimizer)
    random_file = folder / _random_file(runtime.rank)
    if random_file.is_file():
        _set_random_state(load_tensors(random_file)[0])
    return state


def read_state(folder: Path) -> RunState:
    """The state in a checkpoint.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    try:
        values = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        return RunState(**{field.name: values[field.name] for field in fields(RunState)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} is not a whole checkpoint of a training run.",
            hint="give a checkpoints/step-N folder, or --resume auto",
        ) from error


def load_fitting(path: Path, *, backbone: str) -> dict[str, Tensor]:
    """Tensors of one of our files.

    Raises:
        CheckpointError: Missing, damaged, or of another backbone.
    """
    tensors, info = load_tensors(path)
    if info is not None and info.backbone != backbone:
        raise CheckpointError(
            f"{path} belongs to the backbone {info.backbone!r}, not {backbone!r}.",
            hint=f"set model.backbone: {info.backbone}, or start another run",
        )
    return tensors


def _write_parts(
    folder: Path,
    stage: Stage,
    optimizers: Sequence[Optimizer],
    state: RunState,
    *,
    runtime: Runtime,
) -> None:
    _save_plain(folder / _random_file(runtime.rank), _random_state())
    if not runtime.is_main:
        return
    for file in stage.files(step=state.step):
        save_tensors(folder / file.name, file.tensors, info=file.info)
    for group, optimizer in zip(stage.groups, optimizers, strict=True):
        _save_plain(folder / _optimizer_file(group.name), _optimizer_tensors(optimizer))
    text = json.dumps(asdict(state), indent=2) + "\n"
    (folder / STATE_FILE).write_text(text, encoding="utf-8")


def _save_plain(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path)
    grant_usual_mode(path)


def _agree(failure: str, final: Path, *, runtime: Runtime) -> None:
    """All ranks go on, or all raise."""
    with runtime.together():
        if failure:
            raise _unwritable(final, failure)


def _unwritable(final: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"cannot write the checkpoint {final}: {reason}.",
        hint="free some space; the older checkpoints are whole, so --resume auto goes on from the newest",
    )


def _publish(partial: Path, final: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(partial.iterdir())}
    (partial / FILES_FILE).write_text(json.dumps(sizes, indent=2) + "\n", encoding="utf-8")
    for path in [*partial.iterdir(), partial]:
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    """To the disk, and not just to the system; Windows knows that for files open for writing only."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _optimizer_file(group: str) -> str:
    return f"optimizer-{group}.safetensors"


def _random_file(rank: int) -> str:
    return f"random-{rank}.safetensors"


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, values in state.items()
        for name, value in values.items()
    }


def _load_optimizer(path: Path, optimizer: Optimizer) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}.", hint="resume from an older checkpoint"
        ) from error
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    count = sum(len(group["params"]) for group in groups)
    if state and set(state) != set(range(count)):
        raise CheckpointError(
            f"{path} has the state of {len(state)} weights, this run trains {count}.",
            hint="resume with the settings the run was started with",
        )
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
