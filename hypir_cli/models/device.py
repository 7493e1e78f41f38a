"""Where to compute, in which number format, and how much memory there is for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import torch

from hypir_cli.config.launcher import number_on_machine
from hypir_cli.errors import DeviceError
from hypir_cli.models.processor import multiplies_bf16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats by the name that users give."""
_UNLIMITED = 2**60
"""Control groups write a number this large where there is no limit."""


def pick_device(name: str = "auto", *, environ: Mapping[str, str] | None = None) -> torch.device:
    """The device of a name; `auto` takes CUDA, then MPS, then the CPU.

    Of several GPUs each process of a launcher takes the one of its own number on the machine; where every process sees only
    its own GPU, that one.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        environ: Where a launcher leaves its numbers; None takes this process's environment.

    Raises:
        DeviceError: There is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return _own_gpu(environ)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise DeviceError(f"{name!r} is no device.", hint="use auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            f"there is no device {name}: {count} CUDA devices are usable here.",
            hint="use --device auto or cpu, or install a CUDA build of torch",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("there is no MPS device here.", hint="use --device auto or cpu")
    return _own_gpu(environ) if name == "cuda" else device


def _own_gpu(environ: Mapping[str, str] | None) -> torch.device:
    number = number_on_machine(os.environ if environ is None else environ)
    if number is None:
        return torch.device("cuda")
    return torch.device("cuda", number % max(torch.cuda.device_count(), 1))


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of a name.

    `auto` is bfloat16 on CPUs and CUDA devices that multiply in it, float16 on older CUDA devices, and float32 elsewhere: on
    other CPUs, and on MPS, where half-precision VAEs turn black. It is the same on one machine whatever its load.

    Args:
        name: `auto`, `fp32`, `bf16` or `fp16`.
        device: Where the networks run.

    Raises:
        DeviceError: No such format, or the device cannot compute in it.
    """
    if name == "auto":
        return _auto_dtype(device)
    if name not in DTYPES:
        raise DeviceError(f"{name!r} is no number format.", hint="use auto, fp32, bf16 or fp16")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError(
            "float16 is too slow and too narrow on a CPU.", hint="use --dtype auto, fp32 or bf16"
        )
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """The name that users give to a number format."""
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on a device; on the CPU within the limits of its control groups."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return min([int(psutil.virtual_memory().available), *cgroup_room()])


def total_memory(device: torch.device) -> int:
    """Bytes that a device has, whoever uses them: a property of the machine, not of the moment."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return int(psutil.virtual_memory().total)


def peak_memory(device: torch.device) -> int:
    """Bytes: on CUDA the most since the last reset on the device, elsewhere the most this process ever held."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from now on, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that some memory was too small; devices say so in different ways."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def release_cached_memory() -> None:
    """Give back what torch keeps of a GPU's memory without using it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def cgroup_room(
    *, root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Bytes left under each memory limit on this process, version 1 and 2; empty where there is none."""
    rooms = []
    for folder in _cgroup_folders(root, membership):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None and limit < _UNLIMITED:
            rooms.append(max(0, limit - used + _reclaimable(folder)))
    return rooms


def _auto_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        # Emulated bfloat16 would be slower than float16.
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native or torch.version.hip else torch.float16
    if device.type == "cpu" and multiplies_bf16():
        return torch.bfloat16
    return torch.float32


def _cgroup_folders(root: Path, membership: Path) -> Iterator[Path]:
    """Folders of this process's memory groups, from its own up to the root of each hierarchy."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        folder = top / path.strip("/")
        yield from (parent for parent in (folder, *folder.parents) if parent.is_relative_to(top))


def _number(*paths: Path) -> int | None:
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache in a group that the kernel gives up before it runs out."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))
