"""What the arms came to: means of the end of each run's log, a table, a sheet of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from PIL import Image

from hypir_cli.train.monitor import read_metrics

COLUMNS = {
    "logits/real": "logit of real",
    "logits/fake": "logit of fake",
    "norm/generator": "gradient norm, generator",
    "grad/adversarial": "adversarial gradient at the image",
    "val/psnr": "PSNR dB",
    "val/ssim": "SSIM",
    "val/perceptual": "ST-LPIPS",
}
LAST = 0.1
"""Share of the updates whose log lines are averaged."""


def summarised(run_dir: Path) -> dict[str, float | None]:
    """Mean of each column over the last updates, of a validation score its last value; None where nothing was logged."""
    lines = read_metrics(run_dir / "metrics.jsonl")
    end = max(line["step"] for line in lines)
    late = [line for line in lines if line["step"] > (1.0 - LAST) * end]
    found: dict[str, float | None] = {}
    for key in COLUMNS:
        values = [line[key] for line in late if key in line]
        last = values[-1:] if key.startswith("val/") else values
        found[key] = fmean(last) if last else None
    return found


def log_table(results: Mapping[str, Mapping[str, float | None]]) -> str:
    """Markdown, a row for each arm: what the log says of it."""
    rows = {name: [found[key] for key in COLUMNS] for name, found in results.items()}
    return _table("arm", list(COLUMNS.values()), rows)


def score_table(results: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Markdown, a row for each arm: its scores."""
    metrics = list(next(iter(results.values())))
    return _table(title, metrics, {name: list(found.values()) for name, found in results.items()})


def _table(title: str, columns: list[str], rows: Mapping[str, Sequence[float | None]]) -> str:
    heads = [head.replace("|", "\\|") for head in (title, *columns)]
    lines = [heads, ["---"] * (1 + len(columns))]
    for name, values in rows.items():
        lines.append([name, *("-" if value is None else f"{value:.4g}" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sheet(run_dirs: Sequence[Path], path: Path) -> None:
    """The last sample grid of each run, one below the other."""
    grids = []
    for run_dir in run_dirs:
        files = sorted(
            (run_dir / "samples").glob("*.png"), key=lambda file: int(file.stem.split("-")[1])
        )
        with Image.open(files[-1]) as picture:
            grids.append(picture.convert("RGB"))
    width, height = max(grid.width for grid in grids), sum(grid.height for grid in grids)
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for grid in grids:
        whole.paste(grid, (0, top))
        top += grid.height
    whole.save(path)
