"""Table, bars and sheet of pictures for `solve.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hypir_cli.evaluate.bootstrap import Interval, mean_interval

Row = dict[str, Any]
CELL, GAP, LABEL = 192, 4, 18
SHOWN = ("measured", "A_dagger", "hypir restore", "dps", "dpps", "spgd", "latino", "clean")
HEADS = {"psnr": "PSNR dB", "ssim": "SSIM", "stlpips-vgg": "ST-LPIPS"}
DIGITS = {"psnr": 2, "ssim": 3, "stlpips-vgg": 3}


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval over photographs."""
    return mean_interval(np.array(values), resamples=5000, confidence=0.95, seed=0)


def complete(rows: Sequence[Row]) -> list[Row]:
    """Rows of the photographs for which every task and arm is done."""
    cells = {(row["task"], row["arm"]) for row in rows}
    counts = {row["photo"]: 0 for row in rows}
    for row in rows:
        counts[row["photo"]] += 1
    return [row for row in rows if counts[row["photo"]] == len(cells)]


def table(rows: Sequence[Row], *, metrics: Sequence[str]) -> str:
    """Markdown: each task and all together, one line per arm."""
    whole = complete(rows)
    photos = len({row["photo"] for row in whole})
    heads = " | ".join(HEADS[name] for name in metrics)
    lines = [
        f"{photos} photographs; in brackets 95% intervals of the mean over photographs",
        "",
        f"| task | method | {heads} | residual | seconds | calls |",
        "| --- | --- |" + " --- |" * (len(metrics) + 3),
    ]
    for task in [*dict.fromkeys(row["task"] for row in whole), "all"]:
        for arm in dict.fromkeys(row["arm"] for row in whole):
            lines.append(_line(whole, task, arm, metrics))
    return "\n".join(lines)


def _line(rows: Sequence[Row], task: str, arm: str, metrics: Sequence[str]) -> str:
    cells = []
    for name in metrics:
        found, digits = interval(list(by_photo(rows, task, arm, name).values())), DIGITS[name]
        cells.append(f"{found.mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})")
    for name, digits in (("residual", 2), ("seconds", 1), ("calls", 0)):
        cells.append(f"{fmean(by_photo(rows, task, arm, name).values()):.{digits}f}")
    return f"| {task} | {arm} | {' | '.join(cells)} |"


def by_photo(rows: Sequence[Row], task: str, arm: str, name: str) -> dict[str, float]:
    """A figure of each photograph; `all` is its mean over the tasks."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["arm"] == arm and task in (row["task"], "all"):
            found.setdefault(row["photo"], []).append(row[name])
    return {photo: fmean(values) for photo, values in found.items()}


def bars(rows: Sequence[Row]) -> str:
    """What is asked of the methods, and what was found: differences in PSNR on the same photographs."""
    whole = complete(rows)
    asked = [
        ("spgd over dps", "all", "spgd", "dps", 0.3),
        ("dpps over dps", "all", "dpps", "dps", 0.1),
        ("momentum", "all", "spgd", "spgd, no momentum", 0.0),
        ("warm-up", "all", "spgd", "spgd, no warm-up", 0.0),
    ]
    for arm in ("dps", "dpps", "spgd", "latino"):
        asked += [(f"{arm} over A_dagger, {t}", t, arm, "A_dagger", 5.0) for t in ("random", "box")]
    lines = ["| what | asked, dB | found, dB |", "| --- | --- | --- |"]
    for what, task, left, right, least in asked:
        one, other = (by_photo(whole, task, arm, "psnr") for arm in (left, right))
        found = interval([one[photo] - other[photo] for photo in one])
        lines.append(
            f"| {what} | {least:g} | {found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f}) |"
        )
    return "\n".join(lines)


def write_sheet(folder: Path, rows: Sequence[Row], *, photos: int = 2) -> Path:
    """One picture: a row for each of the first photographs and tasks, a column for each method; centres at full size."""
    names = list(dict.fromkeys(row["photo"] for row in complete(rows)))[:photos]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    size = (len(SHOWN) * (CELL + GAP), LABEL + len(names) * len(tasks) * (CELL + GAP))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, arm in enumerate(SHOWN):
        draw.text((column * (CELL + GAP), 1), arm, fill=(0, 0, 0), font=font)
        for line, (name, task) in enumerate((name, task) for name in names for task in tasks):
            place = (column * (CELL + GAP), LABEL + line * (CELL + GAP))
            sheet.paste(_cell(folder / "pictures" / f"{name} {task} {arm}.png"), place)
    path = folder / "sheet.png"
    sheet.save(path)
    return path


def _cell(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    if min(whole.size) < CELL:
        return whole.resize((CELL, CELL), Image.Resampling.NEAREST)
    left, top = ((side - CELL) // 2 for side in whole.size)
    return whole.crop((left, top, left + CELL, top + CELL))
