"""Many images by one process, two processes and Ray actors; and what a manifest costs: memory of the driver, a rerun.

    python benchmarks/scale.py throughput --json throughput.json
    python benchmarks/scale.py driver --json driver.json
    python benchmarks/scale.py rerun --json rerun.json

Run them on a machine that does nothing else: the load at the start is printed, and a warning where it is not near 0. Each takes a few
minutes on two cores.

`throughput`: every process has one thread and an equal share of the images. A rate counts the results between the moment when every
process has its first one (start, loading and the first, slower image are left out) and the moment when one of them has its last. Arms
take turns, round after round, after one run that does not count; the table has the medians. The wall time has everything.

`driver`: peak resident memory of the process that hands out a manifest, in a dry run and with a local Ray cluster that really takes
every shard. The results of all rows are there, so that an actor looks, finds nothing to do, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from hypir_cli.folder.manifest import Manifest, Plan, Row, write_manifest
from hypir_cli.folder.shard_state import ShardStates

QUIET_LOAD = 0.5
"""Processes that may be running at the start, on average over a minute."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to restore the images."""

    name: str
    processes: int = 1
    launcher: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def _ray(actors: int) -> tuple[str, ...]:
    return ("--engine", "ray", "--actors", str(actors), "--cpus-per-actor", "1")


LOCAL = Arm(name="local, 1 process")
ARMS = (
    LOCAL,
    Arm(
        name="torchrun, 2 processes",
        processes=2,
        launcher=("torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    ),
    Arm(name="Ray, 1 actor", options=_ray(1)),
    Arm(name="Ray, 2 actors", processes=2, options=_ray(2)),
)


def throughput(args: argparse.Namespace) -> list[dict[str, object]]:
    """Images per second of every arm."""
    rates, walls = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        source = _photos(Path(folder) / "in", args.images, args.side)
        _measured(LOCAL, source, Path(folder) / "warm-up")
        for number in range(args.rounds):
            for place, arm in enumerate(ARMS):
                rate, wall = _measured(arm, source, Path(folder) / f"{number}-{place}")
                rates[arm].append(rate)
                walls[arm].append(wall)
    first = statistics.median(rates[LOCAL])
    return [
        {
            "arm": arm.name,
            "images/s": round(statistics.median(rates[arm]), 2),
            "rounds": " ".join(f"{rate:.2f}" for rate in rates[arm]),
            "wall s": round(statistics.median(walls[arm]), 1),
            "against local": round(statistics.median(rates[arm]) / first, 2),
            "per process": round(statistics.median(rates[arm]) / first / arm.processes, 2),
        }
        for arm in ARMS
    ]


def _photos(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        small = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side)).save(folder / f"{index}.png")
    return folder


def _measured(arm: Arm, source: Path, output: Path) -> tuple[float, float]:
    """Images per second while all processes are at work, and the seconds of the whole command."""
    inputs = [str(source), str(output)]
    shares: list[set[str]] = [{path.name for path in source.iterdir()}]
    if arm is not LOCAL:
        manifest = output.with_suffix(".parquet")
        share = -(-len(shares[0]) // arm.processes)
        _hypir(["plan", *inputs, "--manifest", str(manifest), "--shards-of", str(share)])
        listed = Manifest(str(manifest))
        shares = [
            {row.relative for row in listed.shard(index)} for index in range(listed.num_shards)
        ]
        inputs = [str(manifest)]
    start = time.perf_counter()
    _hypir(["restore", *inputs, *arm.options], launcher=arm.launcher)
    wall = time.perf_counter() - start
    times = [sorted((output / name).stat().st_mtime for name in share) for share in shares]
    return steady_rate(times), wall


def steady_rate(times: Sequence[Sequence[float]]) -> float:
    """Results per second between the latest of the first ones and the earliest of the last ones.

    Args:
        times: When each process had its results, in order, one list for each.

    Raises:
        ValueError: The processes were not at work at the same time.
    """
    start = max(each[0] for each in times)
    end = min(each[-1] for each in times)
    if end <= start:
        raise ValueError("the processes did not work at the same time: use more --images")
    return sum(start < moment <= end for each in times for moment in each) / (end - start)


def driver(args: argparse.Namespace) -> list[dict[str, object]]:
    """Peak memory of the process that hands out the work."""
    rows = []
    for count in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            manifest = _made_up(Path(folder), count)
            dry = _peak_of(["restore", manifest.place, "--dry-run"])
            start = time.perf_counter()
            peak = _peak_of(["restore", manifest.place, *_ray(1)])
            seconds = time.perf_counter() - start
            finished = len(ShardStates(manifest).finished())
            assert finished == manifest.num_shards, f"{finished} shards of {manifest.num_shards}"
            rows.append(
                {
                    "rows": count,
                    "shards": manifest.num_shards,
                    "manifest MB": round(Path(manifest.place).stat().st_size / 1e6, 1),
                    "dry run MB": dry,
                    "Ray driver MB": peak,
                    "Ray s": round(seconds, 1),
                }
            )
    return rows


def rerun(args: argparse.Namespace) -> list[dict[str, object]]:
    """Seconds of a run that finds everything done."""
    rows = []
    for count in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            manifest = _made_up(Path(folder), count)
            states = ShardStates(manifest)
            for index in range(manifest.num_shards):
                states.save(index, [])
            start = time.perf_counter()
            _hypir(["restore", manifest.place])
            rows.append({"rows done": count, "seconds": round(time.perf_counter() - start, 1)})
    return rows


def _made_up(folder: Path, count: int) -> Manifest:
    """A manifest of images that nobody will open, because the result of each is there: the same file for all."""
    output = str(folder / "out")
    result = folder / "out" / "result.tif"
    result.parent.mkdir()
    result.touch()
    rows = (
        Row(
            url=f"s3://archive/scans/box-{n // 1000:05d}/scan-{n:08d}.tif",
            size=72_000_000,
            etag=f"{n:032x}",
            relative=f"box-{n // 1000:05d}/scan-{n:08d}.tif",
            output_urls=(str(result),),
        )
        for n in range(count)
    )
    plan = Plan(output=output, samples=1)
    return write_manifest(str(folder / "list.parquet"), rows, plan=plan, shards_of=1000)


def _peak_of(arguments: list[str]) -> int:
    """Peak resident memory of a command in MB."""
    code = (
        "import resource, sys\n"
        "from hypir_cli.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"hypir {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return int(done.stdout.split()[-1])


def _hypir(arguments: Sequence[str], launcher: Sequence[str] = ()) -> None:
    before = [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), "hypir_cli"]
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(
        [*before, *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(f"hypir {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def _machine() -> dict[str, object]:
    """Where, and how busy it is before the start."""
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        print(f"warning: load {load:.1f}; the rates are not those of a quiet machine")
    packages = {name: version(name) for name in ("torch", "ray")}
    return {
        "cpus": os.cpu_count(),
        "load": round(load, 2),
        "python": platform.python_version(),
        **packages,
    }


WHAT: dict[str, Callable[[argparse.Namespace], list[dict[str, object]]]] = {
    "throughput": throughput,
    "driver": driver,
    "rerun": rerun,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--images", type=int, default=40, help="of throughput")
    parser.add_argument("--side", type=int, default=256, help="of its images, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="of throughput")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path, help="file for the result")
    args = parser.parse_args()
    machine = _machine()
    start = time.perf_counter()
    rows = WHAT[args.what](args)
    seconds = round(time.perf_counter() - start, 1)
    print("| " + " | ".join(rows[0]) + " |")
    print("| " + " | ".join("---" for _ in rows[0]) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    print(f"{seconds} s in all, on {machine}")
    if args.json is not None:
        asked = {name: value for name, value in vars(args).items() if name != "json"}
        result = {"asked": asked, "machine": machine, "seconds": seconds, "rows": rows}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
