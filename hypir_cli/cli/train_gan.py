"""`hypir train-gan`: train the adapters that make a diffusion model restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypir_cli.cli import training
from hypir_cli.cli.options import Assignments
from hypir_cli.config.train import TrainGanConfig

if TYPE_CHECKING:
    from hypir_cli.train.report import Observer, RunOutcome


def train_gan(
    config: training.ConfigArgument = None,
    set_: Assignments = None,
    resume: training.Resume = None,
    output_dir: training.OutputDir = None,
    print_config: training.PrintConfig = None,
) -> None:
    """Train a restoration LoRA against a discriminator (the second stage).

    One process, or many: accelerate launch -m hypir_cli train-gan CONFIG.yaml
    """
    if print_config is not None:
        training.show_config(TrainGanConfig, print_config, command="gan")
        return
    settings = training.settings(
        TrainGanConfig, config, assignments=set_, output_dir=output_dir, command="gan"
    )

    def start(observer: Observer) -> RunOutcome:
        from hypir_cli.train import runs

        return runs.train_gan(settings, resume=resume, observer=observer)

    training.show_run(settings, start)
