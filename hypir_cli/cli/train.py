"""`hypir train-encoder` and `hypir train-gan`."""

from __future__ import annotations

from hypir_cli.cli.training import training_command
from hypir_cli.config.train import TrainEncoderConfig, TrainGanConfig

train_encoder = training_command(
    TrainEncoderConfig,
    "encoder",
    about="""Fine-tune the VAE encoder to see past degradations (the first stage).

    One process, or many: accelerate launch -m hypir_cli train-encoder CONFIG.yaml
    """,
)
train_gan = training_command(
    TrainGanConfig,
    "gan",
    about="""Train a restoration LoRA against a discriminator (the second stage).

    One process, or many: accelerate launch -m hypir_cli train-gan CONFIG.yaml
    """,
)
