"""What the arms make of photographs that none was trained on: degraded, restored and scored with `hypir` itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from hypir_cli.images import READABLE_SUFFIXES

SCALES = {"light": 1, "realesrgan": 4}
"""Degradation presets and how much each shrinks."""
METRICS = {metric: metric for metric in ("psnr", "ssim", "stlpips-vgg", "niqe")}
METRICS["grid-score"] = "|log grid-score|"
"""What each is called as a mean: of ratios `hypir eval` averages the absolute logarithm, 0 where they are 1."""
CROP = 320
"""Side in pixels of the centre crops, unless another is asked for."""


def prepare(photos: Path, folder: Path, *, crop: int) -> None:
    """Centre crops of the photographs in `folder`/gt, and what each preset makes of them in `folder`/PRESET."""
    clean = folder / "gt"
    clean.mkdir(parents=True, exist_ok=True)
    for file in sorted(photos.iterdir()):
        if file.suffix.lower() not in READABLE_SUFFIXES:
            continue
        with Image.open(file) as photo:
            if min(photo.size) < crop:
                continue
            left, top = (photo.width - crop) // 2, (photo.height - crop) // 2
            cut = photo.convert("RGB").crop((left, top, left + crop, top + crop))
        cut.save(clean / f"{file.stem}.png")
    for preset in SCALES:
        hypir("degrade", clean, folder / preset, "--preset", preset, "--keep-small")


def restored(arm: str, folder: Path, *, base: Path, weights: Path) -> None:
    """Restore what `prepare` degraded, into `folder`/PRESET-ARM, with an arm's adapters or whole weights on its base."""
    for preset, scale in SCALES.items():
        out = folder / f"{preset}-{arm}"
        # The model alone: no detail is scaled after it.
        plain = ("--texture-gain", 1, "--existing", "overwrite")
        model = ("--base", base, "--lora", weights)
        hypir("restore", folder / preset, out, *model, "--scale", scale, *plain)


def scores(arms: Sequence[str], folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Mean of each metric over the photographs, by preset and arm."""
    found = {}
    for preset in SCALES:
        first, *others = arms
        named = [part for arm in others for part in ("--compare", f"{arm}={preset}-{arm}")]
        report = folder / f"{preset}.json"
        hypir(
            *("eval", f"{preset}-{first}", "--gt", "gt", "--name", first, *named),
            *("--metrics", ",".join(METRICS), "--report", report.name),
            cwd=folder,
        )
        summary = json.loads(report.read_text(encoding="utf-8"))["summary"]
        found[preset] = {
            arm: {mean: summary[arm][metric]["mean"] for metric, mean in METRICS.items()}
            for arm in arms
        }
    return found


def hypir(*arguments: object, cwd: Path | None = None) -> None:
    """Run `hypir` with arguments; its failure ends the script."""
    command = [sys.executable, "-m", "hypir_cli", *map(str, arguments)]
    if code := subprocess.run(command, cwd=cwd, check=False).returncode:
        raise SystemExit(code)
