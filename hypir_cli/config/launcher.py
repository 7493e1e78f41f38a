"""Which of several processes this one is, as launchers and schedulers say in the environment.

torchrun and `accelerate launch` number the processes they start, srun those of a step. Slurm arrays, AWS Batch arrays and
Kubernetes indexed jobs number whole jobs; a job of theirs may start processes of its own, and the parts then multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypir_cli.errors import ConfigError

COMPLETIONS = "JOB_COMPLETIONS"
"""Number of pods of a Kubernetes indexed job. Kubernetes tells a pod only its index, so the manifest sets this one."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process among those that share a piece of work."""

    name: str = ""
    """What started them, for people; empty for a process on its own."""
    index: int = 0
    """0 to count - 1."""
    count: int = 1
    """Processes that share the work."""
    local_index: int = 0
    """Number of this process among those that its launcher started on the same machine."""
    warning: str = ""
    """What was found in the environment and left out of account; empty when nothing was."""


def detect_launch(environ: Mapping[str, str]) -> Launch:
    """This process's place among those that a launcher or scheduler started; a process on its own without one.

    `RANK` and `WORLD_SIZE` count only beside the address at which torchrun's processes meet: left over in a shell they
    would make a part of the work vanish. Inside a Slurm batch script that starts no step there is one process, whatever
    the number of tasks asked for.

    Raises:
        ConfigError: The variables do not fit together, or do not say how many parts there are.
    """
    inner = _torchrun(environ) or _srun(environ)
    outer = _slurm_array(environ) or _aws_batch(environ) or _kubernetes(environ, inner)
    if inner is None:
        return replace(outer or Launch(), warning=_leftover(environ))
    if outer is None or _spans_jobs(environ, inner, outer):
        return inner
    return Launch(
        name=f"{inner.name} in {outer.name}",
        index=outer.index * inner.count + inner.index,
        count=outer.count * inner.count,
        local_index=inner.local_index,
    )


def process_number(environ: Mapping[str, str]) -> int:
    """Number of this process among those that torchrun, accelerate or srun started together; 0 on its own."""
    inner = _torchrun(environ) or _srun(environ)
    return 0 if inner is None else inner.index


def number_on_machine(environ: Mapping[str, str]) -> int | None:
    """Which of a machine's GPUs this process takes; None for a process that no launcher started beside others."""
    inner = _torchrun(environ) or _srun(environ)
    return None if inner is None or inner.count == 1 else inner.local_index


def meeting_size(environ: Mapping[str, str]) -> int:
    """Processes that torchrun or accelerate started and that can speak to each other; 1 for a process on its own."""
    launch = _torchrun(environ)
    return 1 if launch is None else launch.count


def _torchrun(environ: Mapping[str, str]) -> Launch | None:
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in environ for name in needed):
        return None
    accelerate = any(name.startswith("ACCELERATE_") for name in environ)
    return _launch(
        "accelerate launch" if accelerate else "torchrun",
        environ,
        index="RANK",
        count="WORLD_SIZE",
        local_index="LOCAL_RANK",
    )


def _srun(environ: Mapping[str, str]) -> Launch | None:
    if not {"SLURM_PROCID", "SLURM_STEP_ID"} <= environ.keys():
        return None
    counts = [name for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if name in environ]
    if not counts:
        return None
    return _launch(
        "srun", environ, index="SLURM_PROCID", count=counts[0], local_index="SLURM_LOCALID"
    )


def _slurm_array(environ: Mapping[str, str]) -> Launch | None:
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    name, prefix = "Slurm array", "SLURM_ARRAY_TASK_"
    task = _number(environ, f"{prefix}ID")
    first = _number(environ, f"{prefix}MIN", default=0)
    step = _number(environ, f"{prefix}STEP", default=1)
    count = _number(environ, f"{prefix}COUNT")
    index, rest = divmod(task - first, max(step, 1))
    if rest or not 0 <= index < count:
        raise ConfigError(
            f"task {task} of this Slurm array does not say which of its {count} parts it is: "
            "the tasks are not numbered evenly.",
            hint="submit with --array=0-N or --array=0-N:STEP, or give --shard I/N",
        )
    return Launch(name=name, index=index, count=count)


def _aws_batch(environ: Mapping[str, str]) -> Launch | None:
    if "AWS_BATCH_JOB_ARRAY_INDEX" not in environ:
        return None
    return _launch(
        "AWS Batch array",
        environ,
        index="AWS_BATCH_JOB_ARRAY_INDEX",
        count="AWS_BATCH_JOB_ARRAY_SIZE",
    )


def _kubernetes(environ: Mapping[str, str], inner: Launch | None) -> Launch | None:
    if "JOB_COMPLETION_INDEX" not in environ:
        return None
    if COMPLETIONS not in environ and inner is not None and not _is_local(environ, inner):
        return None
    return _launch(
        "Kubernetes indexed job", environ, index="JOB_COMPLETION_INDEX", count=COMPLETIONS
    )


def _spans_jobs(environ: Mapping[str, str], inner: Launch, outer: Launch) -> bool:
    """Whether the inner launcher numbers the processes of all jobs together; a Slurm array's tasks never meet."""
    return outer.name != "Slurm array" and not _is_local(environ, inner)


def _is_local(environ: Mapping[str, str], inner: Launch) -> bool:
    """Whether a launcher's processes are all on this machine."""
    return environ.get("LOCAL_WORLD_SIZE") == str(inner.count)


def _launch(
    name: str, environ: Mapping[str, str], *, index: str, count: str, local_index: str = ""
) -> Launch:
    place, total = _number(environ, index), _number(environ, count)
    if not 0 <= place < total:
        raise ConfigError(
            f"{index}={place} and {count}={total} do not name a process.",
            hint="unset them, or start hypir through its launcher; --shard I/N beats both",
        )
    local = _number(environ, local_index, default=0) if local_index else 0
    return Launch(name=name, index=place, count=total, local_index=local)


def _number(environ: Mapping[str, str], name: str, *, default: int | None = None) -> int:
    if name not in environ and default is not None:
        return default
    text = environ.get(name)
    if text is None:
        raise ConfigError(
            f"this job has a number, but {name} does not say how many there are.",
            hint=f"set {name} to the number of jobs, or give --shard I/N",
        )
    if not text.strip().isdecimal():
        raise ConfigError(
            f"{name}={text} is no number of processes.", hint="unset it, or give --shard I/N"
        )
    return int(text)


def _leftover(environ: Mapping[str, str]) -> str:
    found = {name: environ[name] for name in ("RANK", "WORLD_SIZE") if name in environ}
    if not found or found.get("WORLD_SIZE") == "1":
        return ""
    shown = " and ".join(f"{name}={value}" for name, value in found.items())
    return (
        f"{shown} in the environment, but nothing else of a launcher (MASTER_ADDR, MASTER_PORT): "
        "left out of account, this process takes everything. Use --shard I/N for a part."
    )
