"""Train all weights of the embedded backbone further: fidelity, then features, then after a teacher and against judges.

    python examples/tiny/refine.py SHARDS_DIR OUT_DIR --validation OTHER_PHOTOS_DIR [--stages fidelity] [--minutes 60]

The backbone (`--base`, the shipped one by default) gets an autoencoder without a grid if it has none (`overlap.py`). Each stage is
a run of `hypir train-gan` in OUT_DIR/STAGE with the settings of `recipe/whole-*.yaml`; the same command goes on where the
last one stopped, by a signal or by anything else. OUT_DIR/weights is the newest stage's result, for `hypir restore --base`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from overlap import is_overlapping, overlapping
from run_stage import INTERRUPTED
from train import RECIPE, launcher, merged, wait

from hypir_cli.config.schema import load_yaml
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.whole import apply_whole

STAGES = ("fidelity", "perceptual", "judge", "taught")
LAYERS = {"taught": ("judge", "taught")}
"""Recipes that a stage lays over one another, where that is not its own alone."""
RESULT = "ema.safetensors"


def main() -> None:
    """Parse, run the stages that are left, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards_dir", type=Path, help="what pack.py wrote")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--base", type=Path, help="folder of the backbone to start from")
    parser.add_argument("--validation", type=Path, help="photographs that are only looked at")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    end = time.monotonic() + 60.0 * arguments.minutes
    start = start_folder(arguments.base, arguments.out_dir)
    for stage in arguments.stages:
        done = run(stage, arguments, start=start, end=end)
        write_weights(start, arguments.out_dir, stage=stage)
        if not done:
            print(f"stopped in the stage {stage}; the same command goes on from here")
            raise SystemExit(INTERRUPTED)


def start_folder(base: Path | None, out_dir: Path) -> Path:
    """The backbone that all stages are relative to, in float32."""
    folder = out_dir / "start"
    if not (folder / "tokenizer" / "tokenizer.json").exists():
        torch.manual_seed(0)
        backbone = TinyBackbone.load(base)
        backbone = backbone if is_overlapping(backbone) else overlapping(backbone)
        backbone.save(folder, dtype=torch.float32)
    return folder


def run(stage: str, arguments: argparse.Namespace, *, start: Path, end: float) -> bool:
    """Train a stage to the end of its schedule; False when the time was over before."""
    settings = write_settings(stage, arguments, start=start)
    command = [sys.executable, *launcher(arguments.processes), "-m", "hypir_cli", "train-gan"]
    command += [str(settings), "--resume", "auto"]
    for assignment in arguments.assignments:
        command += ["--set", assignment]
    code = wait(subprocess.Popen(command), end=end)
    if code not in (0, INTERRUPTED):
        raise SystemExit(code)
    return code == 0


def write_settings(stage: str, arguments: argparse.Namespace, *, start: Path) -> Path:
    """The stage's settings file in OUT_DIR: what both share, the stage's recipe, and where things are."""
    out_dir: Path = arguments.out_dir
    values = load_yaml(RECIPE / "whole-shared.yaml")
    for layer in LAYERS.get(stage, (stage,)):
        values = merged(values, load_yaml(RECIPE / f"whole-{layer}.yaml"))
    places: dict = {
        "output_dir": str(out_dir / stage),
        "model": {"base": str(start)},
        "data": {"sources": [str(path) for path in sorted(arguments.shards_dir.glob("*.tar"))]},
    }
    if arguments.validation is not None:
        places["validation"] = {"sources": [str(arguments.validation)]}
    earlier = [out_dir / name / RESULT for name in STAGES[: STAGES.index(stage)]]
    done = [path for path in earlier if path.exists()]
    if done:
        places["lora"] = {"start": str(done[-1])}
    path = out_dir / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(merged(values, places)), encoding="utf-8")
    return path


def write_weights(start: Path, out_dir: Path, *, stage: str) -> None:
    """OUT_DIR/weights from a stage's averaged weights."""
    backbone = TinyBackbone.load(start)
    info = apply_whole(backbone, out_dir / stage / RESULT)
    backbone.save(out_dir / "weights")
    print(f"wrote {out_dir / 'weights'} from update {info.training_step} of {stage}")


if __name__ == "__main__":
    main()
