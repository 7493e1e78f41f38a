"""The backbone before training: principal components for an autoencoder, a denoiser that predicts nothing, untrained text parts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from text_parts import learn_tokenizer, new_text_encoder
from torch.nn import functional

from hypir_cli.config.data import DataConfig
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.unet import TinyUNet, TinyUNetConfig
from hypir_cli.models.backbones.tiny.vae import TinyVAE, TinyVAEConfig
from hypir_cli.train.data.samples import TrainingSet

VAE = TinyVAEConfig(encoder_hidden=128, encoder_blocks=6, balanced_encoder=True)
UNET = TinyUNetConfig(channels=(96, 160, 256))
CAPTIONS = ("a photograph", "a portrait", "a landscape", "a building", "an animal")
"""What the tokenizer is learned from without a table of captions."""
NUM_SQUARES = 400
"""Squares that the principal components are computed from."""


def new_backbone(
    shards: Sequence[Path],
    *,
    captions: Path | None,
    vae: TinyVAEConfig = VAE,
    unet: TinyUNetConfig = UNET,
    seed: int,
) -> TinyBackbone:
    """A backbone that already reproduces photographs roughly, and denoises nothing.

    Args:
        shards: Training data, for the principal components.
        captions: CSV with a column `label` or `caption`.
        vae: Sizes of the autoencoder.
        unet: Sizes of the denoiser.
        seed: Of the untrained weights.
    """
    torch.manual_seed(seed)
    autoencoder = TinyVAE(vae)
    autoencoder.start_from_patches(patches(shards, config=vae))
    denoiser = TinyUNet(unet)
    denoiser.latent_scale.copy_(autoencoder.latent_scale())
    tokenizer = learn_tokenizer(read_captions(captions), vocab_size=1024, length=77)
    return TinyBackbone(
        vae=autoencoder,
        unet=denoiser,
        text_encoder=new_text_encoder(tokenizer, seed=seed),
        tokenizer=tokenizer,
    )


def patches(shards: Sequence[Path], *, config: TinyVAEConfig) -> torch.Tensor:
    """Samples for the principal components, (N, 3 * patch^2) in -1..1."""
    data = DataConfig(sources=tuple(str(path) for path in shards), crop_size=96)
    squares = TrainingSet(data, seed=0)
    count = min(NUM_SQUARES, 4 * len(squares))
    images = torch.stack([squares.sample(index).image for index in range(count)])
    rows = functional.pixel_unshuffle(images.float() / 127.5 - 1.0, config.patch)
    return rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[1])


def read_captions(path: Path | None) -> list[str]:
    """Texts of the column `label` or `caption`."""
    if path is None:
        return list(CAPTIONS)
    with path.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return [row.get("label") or row.get("caption") or "" for row in rows]
