"""Seconds and memory for one 512x512 result, for `peers.py`.

Each restorer lives in a process of its own, on all cores, and waits while the other works: two OpenMP runtimes in one process
would spin against each other. This file is also that process (`--worker`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from memory import imports_only, peak_of, picture

SIDE = 512
"""Side of the result in pixels."""
PAUSE = 0.5
"""Seconds between measurements, for the threads of the other process to fall asleep."""


def measure_speed(weights: Path | None, *, rounds: int) -> dict[str, Any]:
    """Seconds of ours and of Real-ESRGAN, warm, in turn.

    Returns:
        `ours` and `realesrgan` (each with `seconds`, `min` and `median`; `realesrgan` is None where it is not installed), and
        `ratio`, ours over theirs, of the medians.
    """
    workers = {"ours": _start("ours", weights), "realesrgan": _start("realesrgan", None)}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds + 1):
        for name, worker in workers.items():
            time.sleep(PAUSE)
            taken = _ask(worker)
            if taken is not None:
                seconds[name].append(taken)
    for worker in workers.values():
        worker.communicate()
    # The first round is the warm-up.
    result: dict[str, Any] = {name: _summary(taken[1:]) for name, taken in seconds.items()}
    if result["ours"] is None:
        raise SystemExit("the speed of ours could not be measured")
    other = result["realesrgan"]
    result["ratio"] = other and result["ours"]["median"] / other["median"]
    return result


def measure_memory(weights: Path | None) -> dict[str, int]:
    """Peak bytes of `hypir restore` on a 512x512 picture, of an interpreter with torch loaded, and their difference."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.png"
        picture(SIDE, SIDE).save(path)
        command = [sys.executable, "-m", "hypir_cli", "restore", str(path), f"{folder}/out"]
        command += ["--base", str(weights)] if weights else []
        peak, idle = peak_of(command), imports_only()
    return {"peak": peak, "interpreter": idle, "above": peak - idle}


def _start(name: str, weights: Path | None) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", name]
    command += ["--weights", str(weights)] if weights else []
    # A limit on threads that the caller has set is not meant for this part.
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    }
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def _ask(worker: subprocess.Popen[str]) -> float | None:
    """Seconds of one restoration; None where the worker has gone."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    for line in worker.stdout:
        if line.startswith("seconds "):
            return float(line.split()[1])
    return None


def _summary(seconds: list[float]) -> dict[str, Any] | None:
    if not seconds:
        return None
    return {"seconds": seconds, "min": min(seconds), "median": statistics.median(seconds)}


def _work(name: str, weights: Path | None) -> None:
    """Restore once for every line that comes in, and say how long it took."""
    restore = _ours(weights) if name == "ours" else _realesrgan()
    for _ in sys.stdin:
        start = time.perf_counter()
        restore()
        print(f"seconds {time.perf_counter() - start}", flush=True)


def _ours(weights: Path | None) -> Callable[[], object]:
    from peers_arms import restore_config

    from hypir_cli.images import ImageData
    from hypir_cli.models.allocator import keep_freed_memory
    from hypir_cli.restore.engine import Engine

    keep_freed_memory()
    engine = Engine.load(restore_config(scale=1, weights=weights))
    image = ImageData(pixels=np.asarray(picture(SIDE, SIDE)))
    return lambda: engine.restore(image)


def _realesrgan() -> Callable[[], object]:
    from peers_arms import load_realesrgan

    restore = load_realesrgan()
    small = picture(SIDE // 4, SIDE // 4)
    return lambda: restore(small)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One restorer, timed on demand.")
    parser.add_argument("--worker", choices=("ours", "realesrgan"), required=True)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    _work(options.worker, options.weights)
