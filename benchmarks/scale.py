"""Many images by one process, two processes and Ray actors; and what a manifest costs: memory of the driver, a rerun.

    python benchmarks/scale.py throughput --images 40 --side 256
    python benchmarks/scale.py driver --rows 1000 100000 1000000
    python benchmarks/scale.py rerun --rows 100000

Rates are between the first and the last result (start of processes and loading of the model left out), on one thread for each
process; the wall time has everything. Arms run one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hypir_cli.folder.manifest import Manifest, Plan, Row, write_manifest
from hypir_cli.folder.shard_state import ShardStates

ARMS = {
    "local, 1 process": (),
    "torchrun, 2 processes": ("torchrun",),
    "Ray, 1 actor": ("--engine", "ray", "--actors", "1", "--cpus-per-actor", "1"),
    "Ray, 2 actors": ("--engine", "ray", "--actors", "2", "--cpus-per-actor", "1"),
}
SHARDS_OF = 10


def throughput(args: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        source.mkdir()
        generator = np.random.default_rng(0)
        for index in range(args.images):
            small = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(small).resize((args.side, args.side)).save(source / f"{index}.png")
        for name, options in ARMS.items():
            output = Path(folder) / name.replace(", ", "-").replace(" ", "-")
            manifest = Path(folder) / f"{output.name}.parquet"
            plan = ["plan", str(source), str(output), "--manifest", str(manifest)]
            _hypir([*plan, "--shards-of", str(SHARDS_OF)])
            command = ["restore", str(manifest)]
            start = time.perf_counter()
            if options == ("torchrun",):
                _hypir(
                    command,
                    launcher=["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
                )
            else:
                _hypir([*command, *options])
            wall = time.perf_counter() - start
            written = sorted(path.stat().st_mtime for path in output.glob("*.png"))
            rate = (len(written) - 1) / (written[-1] - written[0])
            rows.append({"arm": name, "images/s": round(rate, 2), "wall s": round(wall, 1)})
    first = float(str(rows[0]["images/s"]))
    for row in rows:
        row["against local"] = round(float(str(row["images/s"])) / first, 2)
    return rows


def driver(args: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    for count in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            manifest = _made_up(Path(folder), count)
            start = time.perf_counter()
            peak = _peak_of(["restore", manifest.place, "--dry-run"])
            rows.append(
                {
                    "rows": count,
                    "shards": manifest.num_shards,
                    "manifest MB": round(Path(manifest.place).stat().st_size / 1e6, 1),
                    "driver peak MB": peak,
                    "seconds": round(time.perf_counter() - start, 1),
                }
            )
    return rows


def rerun(args: argparse.Namespace) -> list[dict[str, object]]:
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
    """A manifest of images that nobody will open."""
    output = str(folder / "out")
    rows = (
        Row(
            url=f"s3://archive/scans/box-{n // 1000:05d}/scan-{n:08d}.tif",
            size=72_000_000,
            etag=f"{n:032x}",
            relative=f"box-{n // 1000:05d}/scan-{n:08d}.tif",
            output_urls=(f"{output}/box-{n // 1000:05d}/scan-{n:08d}.tif",),
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
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def _hypir(arguments: list[str], launcher: list[str] | None = None) -> None:
    before = [sys.executable, "-m", *(launcher or []), *(["-m"] if launcher else []), "hypir_cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*before, *arguments], check=True, capture_output=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["throughput", "driver", "rerun"])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {"throughput": throughput, "driver": driver, "rerun": rerun}[args.what](args)
    print("| " + " | ".join(rows[0]) + " |")
    print("| " + " | ".join("---" for _ in rows[0]) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
