"""What the controls of the embedded model give and cost: PSNR and ST-LPIPS against texture, as tables for `docs/controls.md`.

    python benchmarks/controls.py PHOTOS --out-dir runs/controls

Each value of each control restores the same degraded photographs; `clean` restores the photographs themselves, which a control must
not make worse.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from peers_sets import CLEAN, PhotoSet, as_tensor, prepare, read_pixels

from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.config.restore import ControlConfig, RestoreConfig, SizeConfig
from hypir_cli.evaluate.registry import find_metric, load_metric
from hypir_cli.images import ImageData
from hypir_cli.pixels.detail import measure_detail
from hypir_cli.pixels.metrics.fidelity import psnr
from hypir_cli.pixels.texture import pixels_richness
from hypir_cli.restore.engine import Engine

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
ARMS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "texture": [
        ("off", {"texture_gain": 1.0}),
        ("auto", {}),
        *((f"{value:g}", {"texture": value}) for value in (150.0, 500.0, 1500.0, 3000.0)),
    ],
    "strength": [(f"{value:g}", {"strength": value}) for value in STEPS],
    "fidelity": [(f"{value:g}", {"fidelity": value}) for value in STEPS],
    "generativity": [
        (f"{value:g} {where}", {"generativity": value, "generativity_where": where})
        for value in (0.25, 0.5, 1.0)
        for where in ("everywhere", "detail")
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out-dir", type=Path, default=Path("runs/controls"))
    parser.add_argument("--presets", nargs="+", default=["light", CLEAN])
    parser.add_argument("--controls", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--crop", type=int, default=384)
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    model = Engine.load().model
    metric = load_metric(
        find_metric("stlpips-vgg"), MeasureConfig(), device=torch.device("cpu"), timeout=0.0
    )
    results = []
    for preset in options.presets:
        photos = prepare(
            options.photos, options.out_dir, preset=preset, count=options.count, crop=options.crop
        )
        for control in options.controls:
            rows = []
            for value, settings in ARMS[control]:
                config = RestoreConfig(
                    control=ControlConfig(**settings), size=SizeConfig(scale=photos.scale)
                )
                engine = Engine(model, config=config)
                row = measured(engine, photos, metric.score)
                rows.append({"preset": preset, "control": control, "value": value, **row})
            results += rows
            print(table(rows), flush=True)
    (options.out_dir / "controls.json").write_text(json.dumps(results, indent=1))


def measured(engine: Engine, photos: PhotoSet, stlpips: Any) -> dict[str, float]:
    """Means over the photographs; texture and noise are geometric means of ratios to the ground truth's."""
    found: list[dict[str, float]] = []
    for name in photos.names:
        gt = read_pixels(photos.path("gt", name))
        lq = read_pixels(photos.path("lq", name))
        result = engine.restore(ImageData(pixels=lq)).samples[0]
        pair = as_tensor(result), as_tensor(gt)
        found.append(
            {
                "psnr": float(psnr(*pair)),
                "stlpips": float(stlpips(*pair)),
                "texture": np.log(max(pixels_richness(result), 1e-3)),
                "texture_ratio": np.log(max(pixels_richness(result), 1e-3) / pixels_richness(gt)),
                "noise": measure_detail(result).noise ** 0.5,
            }
        )
    means = {key: fmean(row[key] for row in found) for key in found[0]}
    return {
        **means,
        "texture": float(np.exp(means["texture"])),
        "texture_ratio": float(np.exp(means["texture_ratio"])),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"| {rows[0]['preset']}: {rows[0]['control']} | PSNR dB | ST-LPIPS | texture | of the original's | noise |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['value']} | {row['psnr']:.2f} | {row['stlpips']:.4f} | {row['texture']:.0f} "
        f"| {row['texture_ratio']:.2f} | {row['noise']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
