"""`hypir train-encoder`: fine-tune the VAE encoder to see past degradations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypir_cli.cli import training
from hypir_cli.cli.options import Assignments
from hypir_cli.config.train import TrainEncoderConfig

if TYPE_CHECKING:
    from hypir_cli.train.report import Observer, RunOutcome


def train_encoder(
    config: training.ConfigArgument = None,
    set_: Assignments = None,
    resume: training.Resume = None,
    output_dir: training.OutputDir = None,
    print_config: training.PrintConfig = None,
) -> None:
    """Fine-tune the VAE encoder to see past degradations (the first stage).

    One process, or many: accelerate launch -m hypir_cli train-encoder CONFIG.yaml
    """
    if print_config is not None:
        training.show_config(TrainEncoderConfig, print_config, command="encoder")
        return
    settings = training.settings(
        TrainEncoderConfig, config, assignments=set_, output_dir=output_dir, command="encoder"
    )

    def start(observer: Observer) -> RunOutcome:
        from hypir_cli.train import runs

        return runs.train_encoder(settings, resume=resume, observer=observer)

    training.show_run(settings, start)
