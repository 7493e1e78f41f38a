"""Peak memory of restoring larger and larger images, each in a process of its own.

    python benchmarks/memory.py --megapixels 1 4 16 64 --json memory.json

The slope is what each further output pixel adds to the peak: files are read, restored and written as `hypir restore` does it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    """Measure every size, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--format", default="png", choices=("png", "jpg", "tiff", "webp"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for megapixels in options.megapixels:
        rows.append(measure(megapixels, options.format))
        print(rows[-1], file=sys.stderr, flush=True)
    idle = imports_only()
    print("| output | peak memory | above the interpreter with torch loaded |")
    print("| --- | --- | --- |")
    for row in rows:
        extra = (row["peak"] - idle) / 2**20
        print(f"| {row['pixels'] / 1e6:.0f} MP | {row['peak'] / 2**20:.0f} MB | {extra:.0f} MB |")
    slope = (rows[-1]["peak"] - rows[-2]["peak"]) / (rows[-1]["pixels"] - rows[-2]["pixels"])
    print(f"slope between the last two: {slope:.2f} bytes per output pixel")
    if options.json:
        content = {"rows": rows, "interpreter": idle, "bytes_per_pixel": slope}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure(megapixels: float, kind: str) -> dict[str, float]:
    """Peak resident bytes of one `hypir restore` of a photograph-like picture."""
    height = math.isqrt(int(megapixels * 1e6 * 3 / 4))
    width = height * 4 // 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"in.{kind}"
        picture(height, width).save(path)
        command = [sys.executable, "-m", "hypir_cli", "restore", str(path), f"{folder}/out"]
        return {"pixels": height * width, "peak": peak_of(command)}


def picture(height: int, width: int) -> Image.Image:
    """A small noisy picture, enlarged: it compresses and computes like a photograph."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (max(height // 16, 1), max(width // 16, 1), 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def imports_only() -> int:
    """Peak resident bytes of the interpreter with torch loaded."""
    return peak_of([sys.executable, "-c", "import torch; torch.zeros(1)"])


def peak_of(command: list[str]) -> int:
    """Peak resident bytes of a command, as the operating system accounts it."""
    runner = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", runner, *command], capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit


if __name__ == "__main__":
    main()
