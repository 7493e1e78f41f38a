"""Pack the sharp parts of a folder of photographs into a few small shards that training reads and machines can exchange.

    python examples/tiny/pack.py PHOTOS_DIR SHARDS_DIR

Every photograph is scaled to several sizes; of each, squares are cut, most of them the sharpest of three draws. They are stored
as JPEG with full colour resolution in .tar shards of at most 15 MB, at most 50 MB together.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from hypir_cli.pixels.texture import pixels_richness

SIDE = 192
"""Side of a square in pixels."""
VIEWS = 4
"""Sizes of each photograph; a smaller view is sharper."""
SMALLEST_VIEW = 0.35
"""Side of the smallest view relative to the photograph."""
KEEP_SHARPEST = 0.7
"""Chance that a square is the sharpest of three draws instead of the first."""
QUALITY = 93
"""Of JPEG: errors lie near 45 dB, below what training has to undo."""
SHARD_BYTES, TOTAL_BYTES = 15_000_000, 50_000_000


def main() -> None:
    """Parse and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("shards_dir", type=Path)
    parser.add_argument("--squares", type=int, default=2400, help="squares to cut, about")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pack(arguments.photos_dir, arguments.shards_dir, count=arguments.squares, seed=arguments.seed)


def pack(photos_dir: Path, shards_dir: Path, *, count: int, seed: int) -> list[Path]:
    """Write the shards, in an order that mixes the photographs; gives their paths."""
    squares = [encoded(square) for square in cut_squares(photos_dir, count=count, seed=seed)]
    order = np.random.default_rng(seed).permutation(len(squares))
    shards_dir.mkdir(parents=True, exist_ok=True)
    shards: list[list[bytes]] = [[]]
    total = 0
    for index in order:
        content = squares[index]
        # Each member of a tar takes up to a kilobyte more than its content.
        if sum(map(len, shards[-1])) + len(content) + 1024 * len(shards[-1]) > SHARD_BYTES - 20_000:
            shards.append([])
        total += len(content) + 1024
        if total > TOTAL_BYTES:
            break
        shards[-1].append(content)
    paths = [shards_dir / f"squares-{number}.tar" for number in range(len(shards))]
    for number, (path, contents) in enumerate(zip(paths, shards, strict=True)):
        write_shard(path, contents, number=number)
    print(f"{sum(map(len, shards))} squares in {len(paths)} shards, {total / 1e6:.1f} MB")
    return paths


def cut_squares(photos_dir: Path, *, count: int, seed: int) -> Iterator[np.ndarray]:
    """Squares (SIDE, SIDE, 3) uint8."""
    random = np.random.default_rng(seed)
    paths = sorted(p for p in photos_dir.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    per_view = max(1, round(count / (len(paths) * VIEWS)))
    for path in paths:
        photo = Image.open(path).convert("RGB")
        lowest = max(SMALLEST_VIEW, min(1.0, 1.5 * SIDE / min(photo.size)))
        for _ in range(VIEWS):
            factor = float(np.exp(random.uniform(np.log(lowest), 0.0)))
            size = tuple(max(SIDE, round(side * factor)) for side in photo.size)
            view = np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
            for _ in range(per_view):
                yield sharp_square(view, random=random)


def sharp_square(view: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """A square at a random place, mostly one of the sharper places."""
    height, width = view.shape[:2]
    draws = []
    for _ in range(3):
        top, left = random.integers(height - SIDE + 1), random.integers(width - SIDE + 1)
        draws.append(view[top : top + SIDE, left : left + SIDE])
    return max(draws, key=pixels_richness) if random.random() < KEEP_SHARPEST else draws[0]


def encoded(square: np.ndarray) -> bytes:
    """JPEG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def write_shard(path: Path, contents: list[bytes], *, number: int) -> None:
    """A .tar with the same bytes for the same contents."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
        for place, content in enumerate(contents):
            member = tarfile.TarInfo(f"{number}-{place:04d}.jpg")
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
