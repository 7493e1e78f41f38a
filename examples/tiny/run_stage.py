"""Train one of the two stages before the method's own.

    python examples/tiny/run_stage.py vae CONFIG.yaml --base FOLDER --out RUN_DIR

The same command goes on where it was stopped, by a signal or by anything else.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from prior_stages import PriorConfig, PriorStage, VaeConfig, VaeStage

from hypir_cli.cli.training import TrainingProgress
from hypir_cli.config.schema import load_yaml, parse_assignments
from hypir_cli.config.train import train_config
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.train.loop import run_training
from hypir_cli.train.report import Observer, RunOutcome
from hypir_cli.train.runtime import open_runtime

INTERRUPTED = 130
CONFIGS = {"vae": VaeConfig, "prior": PriorConfig}


def main() -> None:
    """Parse and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=CONFIGS)
    parser.add_argument("config", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="backbone to start from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    arguments = parser.parse_args()
    layers = [
        (str(arguments.config), load_yaml(arguments.config)),
        ("--set", parse_assignments(arguments.assignments)),
        ("--out", {"output_dir": arguments.out}),
    ]
    with TrainingProgress() as progress:
        outcome = run(arguments.kind, layers, base=arguments.base, observer=progress.observer())
    print(f"{outcome.step} steps; {outcome.result}")
    if outcome.interrupted:
        raise SystemExit(INTERRUPTED)


def run(kind: str, layers: list, *, base: Path, observer: Observer | None = None) -> RunOutcome:
    """Train a stage to the end of its schedule, or to the next signal."""
    config = train_config(CONFIGS[kind], layers, command="encoder")
    with open_runtime(device=config.device, precision=config.optim.precision) as runtime:
        backbone = TinyBackbone.load(base, device=runtime.device, dtype=torch.float32)
        if kind == "vae":
            vae = backbone.components()["vae"]
            stage = VaeStage(vae, backbone, config=config, runtime=runtime)
        else:
            torch.manual_seed(config.seed)
            stage = PriorStage(backbone, config=config, runtime=runtime)
        return run_training(
            stage, config=config, kind=kind, runtime=runtime, resume="auto", observer=observer
        )


if __name__ == "__main__":
    main()
