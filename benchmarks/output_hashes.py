"""Whether a change alters results: hashes of a seeded set of everything this program writes.

    python benchmarks/output_hashes.py --out before.json          # in one checkout
    python benchmarks/output_hashes.py --out after.json --against before.json   # in another

Runs the command line alone, on the CPU in float32 with one thread, so that it works in any checkout: restorations (sizes, depths,
grey, alpha, controls, tiles, two backbones), 20 updates of both training stages, one evaluation, every export format. What names
versions, times or places is left out of the hashes. Exit status 1 where a hash differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "data" / "golden"
FIXED = ("--device", "cpu", "--dtype", "fp32")
RESTORATIONS: dict[str, tuple[str, ...]] = {
    "default": (),
    "tiles": ("--tile", "128", "--overlap", "32", "--scale", "2"),
    "controls": ("--texture", "3000", "--generativity", "0.5", "--samples", "2", "--seed", "7"),
    "fidelity": ("--coeff-timestep", "100", "--color-fix", "adain", "--long-side", "300"),
    "formats": ("--format", "tiff", "--metadata", "strip", "--texture-gain", "1"),
    "jpeg": ("--format", "jpg", "--quality", "90", "--compare", "side"),
}
SD2 = ("--backbone", "sd2", "--base", str(GOLDEN / "model"), "--lora", str(GOLDEN / "lora.pth"))
SD2_RESTORATIONS: dict[str, tuple[str, ...]] = {
    "default": (*SD2, "--prompt", "a cat"),
    "parity": (*SD2, "--parity", "--tile", "64"),
    "tiles": (*SD2, "--tile", "64", "--scale", "1.5", "--lora-scale", "0.5"),
}
TRAINING = (
    "--set", "device=cpu", "--set", "optim.precision=fp32", "--set", "data.crop_size=32",
    "--set", "data.cache_megabytes=0", "--set", "schedule.first.steps=20",
    "--set", "optim.batch_size=2", "--set", "logging.tensorboard=false",
    "--set", "logging.samples_every=0", "--set", "validation.every=20",
    "--set", "checkpoint.every=20",
)  # fmt: skip
GAN = (
    "--set", "lora.rank=2", "--set", "loss.perceptual_kind=none", "--set", "loss.perceptual=0",
    "--set", "discriminator.trunk=random-small", "--set", "discriminator.hidden=8",
)  # fmt: skip
EXPORTS = ("peft", "diffusers", "kohya", "reference", "merged")
UNSTABLE = re.compile(r"version|commit|time|second|date|path|created|elapsed|machine|python|torch")


def main() -> int:
    """Run everything and print or compare the hashes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file of the other checkout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hashes = dict(collect(Path(folder)))
    options.out.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(hashes)} hashes in {options.out}")
    if options.against is None:
        return 0
    before = json.loads(options.against.read_text(encoding="utf-8"))
    changed = sorted(name for name in {*hashes, *before} if hashes.get(name) != before.get(name))
    print("\n".join(f"differs: {name}" for name in changed) or "all equal")
    return 1 if changed else 0


def collect(work: Path) -> Iterator[tuple[str, str]]:
    """Every output's name and hash."""
    inputs = make_inputs(work / "in")
    for name, options in RESTORATIONS.items():
        yield from _restored(f"tiny {name}", inputs, work, options)
    for name, options in SD2_RESTORATIONS.items():
        yield from _restored(f"sd2 {name}", GOLDEN / "inputs", work, options)
    yield from _trained(work)
    yield from _evaluated(work)
    yield from _exported(work)


def make_inputs(folder: Path) -> Path:
    """Small pictures of every depth and mode."""
    folder.mkdir()
    for path in sorted((ROOT / "examples" / "photos").iterdir()):
        with Image.open(path) as photo:
            photo.resize((photo.width // 3, photo.height // 3)).save(folder / f"{path.stem}.png")
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 255, (9, 13, 4), dtype=np.uint8)
    small = Image.fromarray(smooth, "RGBA").resize((104, 72), Image.Resampling.BICUBIC)
    small.save(folder / "alpha.png")
    small.convert("L").save(folder / "grey.png")
    small.convert("RGB").save(folder / "odd.jpg", quality=70)
    deep = np.asarray(small.convert("RGB")).astype(np.uint16) * 257
    tifffile.imwrite(folder / "deep.tif", deep, photometric="rgb")
    return folder


def run(*arguments: str) -> None:
    """One command of this checkout, one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hypir_cli", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _restored(
    name: str, inputs: Path, work: Path, options: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    run("restore", str(inputs), str(out), *FIXED, *options)
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield f"restore {name}: {path.relative_to(out)}", _digest(path.read_bytes())


def _trained(work: Path) -> Iterator[tuple[str, str]]:
    sources = json.dumps([str(ROOT / "examples" / "originals")])
    for stage, extra in (("train-encoder", ()), ("train-gan", GAN)):
        config = work / f"{stage}.yaml"
        kind = stage.removeprefix("train-")
        config.write_text(f"preset: tiny\ndata: {{sources: {sources}}}\n", encoding="utf-8")
        run(stage, str(config), "--out", str(work / kind), *TRAINING, *extra)
        for path in sorted((work / kind).rglob("*.safetensors")):
            yield f"{stage}: {path.relative_to(work / kind)}", _tensors(path)


def _evaluated(work: Path) -> Iterator[tuple[str, str]]:
    report = work / "eval.json"
    photos, originals = ROOT / "examples" / "photos", ROOT / "examples" / "originals"
    run("eval", str(photos), "--gt", str(originals), "--report", str(report))
    text = report.read_text(encoding="utf-8").replace(str(ROOT), "")
    values = _stable(json.loads(text))
    yield "eval", _digest(json.dumps(values, sort_keys=True).encode())


def _exported(work: Path) -> Iterator[tuple[str, str]]:
    for format in EXPORTS:
        out = work / f"export-{format}"
        target = out if format in ("diffusers", "merged", "peft") else out.with_suffix(".pth")
        extra = ("--base", str(GOLDEN / "model")) if format == "merged" else ()
        lora = str(GOLDEN / "lora.pth")
        run("export-lora", lora, str(target), "--format", format, "--backbone", "sd2", *extra)
        files = sorted(target.rglob("*")) if target.is_dir() else [target]
        for path in files:
            if path.is_file():
                digest = _tensors(path) if path.suffix == ".safetensors" else ""
                name = path.relative_to(work)
                yield f"export {format}: {name}", digest or _digest(path.read_bytes())


def _stable(value: object) -> object:
    """A report without what names versions, times or places."""
    if isinstance(value, dict):
        return {k: _stable(v) for k, v in value.items() if not UNSTABLE.search(str(k).lower())}
    if isinstance(value, list):
        return [_stable(item) for item in value]
    return value


def _tensors(path: Path) -> str:
    """Hash of the tensors of a safetensors file; its header names versions."""
    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        for key in sorted(file.keys()):
            tensor = file.get_tensor(key)
            digest.update(f"{key} {tensor.shape} {tensor.dtype}".encode() + tensor.tobytes())
    return digest.hexdigest()[:16]


def _digest(content: bytes) -> str:
    content = content.replace(str(ROOT).encode(), b"")  # some files name their base folder
    return hashlib.sha256(content).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
