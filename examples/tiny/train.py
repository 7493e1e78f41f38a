"""Train the embedded backbone on a folder of photographs, from nothing, on one CPU core or more.

    python examples/tiny/train.py PHOTOS_DIR OUT_DIR --minutes 60

Stages: crops are cut and degraded once (OUT_DIR/crops), the autoencoder is trained (OUT_DIR/vae.pt), then the denoiser
(OUT_DIR/state.pt, written every three minutes; the same command goes on from there). The result, OUT_DIR/weights, is a folder
for `hypir restore --backbone tiny --base OUT_DIR/weights`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import prepare
import torch
from crops import Crops
from denoiser_stage import Recipe, Trainer, train_denoiser
from prepare import as_images
from text_parts import learn_tokenizer, new_text_encoder
from vae_stage import train_vae

from hypir_cli.backbones.tiny import TinyBackbone
from hypir_cli.backbones.tiny_unet import TinyUNet, TinyUNetConfig
from hypir_cli.texture import TexturePredictor

SAVE_EVERY = 180.0
"""Seconds between saved states of the denoiser stage."""
VAE_SHARE = 0.08
"""Share of the minutes that the autoencoder gets."""
CAPTIONS = ("a photograph", "a portrait", "a landscape", "a building", "an animal")
"""What the tokenizer is learned from without `--captions`."""


def main() -> None:
    """Parse, run the stages, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, all stages")
    parser.add_argument("--captions", type=Path, help="CSV with a column `label` or `caption`")
    parser.add_argument("--crops", type=int, default=4000, help="number of crops to prepare")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128, 192])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    crops_dir = arguments.out_dir / "crops"
    if not (crops_dir / "lq.npy").exists():
        prepare.prepare(arguments.photos_dir, crops_dir, count=arguments.crops, seed=arguments.seed)
    crops = Crops(crops_dir)
    backbone = new_backbone(arguments, crops)
    trainer = Trainer(
        backbone,
        Recipe(minutes=(1.0 - VAE_SHARE) * arguments.minutes, seed=arguments.seed),
    )
    state_path = arguments.out_dir / "state.pt"
    train_denoiser(trainer, crops, state_path=state_path, save_every=SAVE_EVERY)
    trainer.trained.load_state_dict(trainer.averaged.state_dict())
    backbone.texture_predictor = fit_texture_predictor(crops)
    backbone.save(arguments.out_dir / "weights")


def new_backbone(arguments: argparse.Namespace, crops: Crops) -> TinyBackbone:
    """A backbone whose autoencoder is trained and whose denoiser changes nothing yet."""
    vae = train_vae(
        crops.gt,
        minutes=VAE_SHARE * arguments.minutes,
        seed=arguments.seed,
        path=arguments.out_dir / "vae.pt",
    )
    tokenizer = learn_tokenizer(read_captions(arguments.captions), vocab_size=1024, length=77)
    text_encoder = new_text_encoder(tokenizer, seed=arguments.seed)
    torch.manual_seed(arguments.seed)
    unet = TinyUNet(TinyUNetConfig(channels=tuple(arguments.channels)))
    unet.latent_scale.copy_(vae.latent_scale())
    return TinyBackbone(
        vae=vae,
        unet=unet.to(memory_format=torch.channels_last),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
    )


def fit_texture_predictor(crops: Crops, *, batch: int = 48) -> TexturePredictor:
    """What `--texture auto` asks: a fit of the clean crops' texture on the degraded ones."""
    predictor = TexturePredictor()
    for version in crops.lq:
        for start in range(0, len(crops.gt), batch):
            chosen = slice(start, start + batch)
            lq, gt = as_images(version[chosen]), as_images(crops.gt[chosen])
            predictor.update(predictor.statistics(lq, gt))
    return predictor


def read_captions(path: Path | None) -> list[str]:
    """The captions in a CSV file, or a few general ones."""
    if path is None:
        return list(CAPTIONS)
    with path.open(encoding="utf-8", newline="") as file:
        return [row.get("label") or row.get("caption") or "" for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
