"""Train denoisers of several sizes for equally many updates on one autoencoder, and print what each costs and reaches.

    python examples/tiny/compare_unets.py TRAINED_DIR OUT_DIR --validation PHOTOS_DIR [--steps 300]

TRAINED_DIR is where `train.py` has finished its stage `vae`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from new_backbone import new_backbone
from prior_stages import put_into
from run_stage import run
from torch.utils.flop_counter import FlopCounterMode
from train import RECIPE, RESULTS, merged, shards_of

from hypir_cli.config.run_dir import read_metrics
from hypir_cli.config.schema import load_yaml
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.unet import TinyUNetConfig
from hypir_cli.models.checkpoint import load_tensors

SIDE = 512
SIZES = {
    "64/128/192": TinyUNetConfig(channels=(64, 128, 192)),
    "96/160/256": TinyUNetConfig(channels=(96, 160, 256)),
    "128/192/256": TinyUNetConfig(channels=(128, 192, 256)),
    "64/160/320, blocks 1/3/4": TinyUNetConfig(
        channels=(64, 160, 320), down_blocks=(1, 3, 4), up_blocks=(1, 3, 4)
    ),
}


def main() -> None:
    """Train and measure each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    print("| channels | parameters, M | GFLOP for 512x512 | s | images/s | PSNR, dB | ST-LPIPS |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for number, (name, size) in enumerate(SIZES.items()):
        folder = arguments.out_dir / str(number)
        parameters, gflop, seconds = prepared(folder, size, trained_dir=arguments.trained_dir)
        score = trained(folder, arguments)
        print(
            f"| {name} | {parameters / 1e6:.1f} | {gflop:.0f} | {seconds:.2f} | {score['speed']:.0f} "
            f"| {score['val/psnr']:.2f} | {score['val/perceptual']:.3f} |",
            flush=True,
        )


def prepared(folder: Path, size: TinyUNetConfig, *, trained_dir: Path) -> tuple[int, float, float]:
    """Write an untrained denoiser with the trained autoencoder; gives parameters, GFLOP and seconds (bf16) of one call."""
    shards = shards_of(trained_dir)
    backbone = new_backbone(shards, captions=None, unet=size, seed=0)
    put_into(backbone, load_tensors(trained_dir / "vae" / RESULTS["vae"])[0], kind="vae")
    backbone.save(folder / "start", dtype=torch.float32)
    loaded = TinyBackbone.load(folder / "start", dtype=torch.bfloat16)
    pixels = torch.rand(1, 3, SIDE, SIDE, dtype=torch.bfloat16)
    prompt = loaded.encode_prompts([""])
    times = []
    with torch.inference_mode():
        latents = loaded.encode(pixels)
        timestep = torch.tensor(loaded.traits.timestep)
        with FlopCounterMode(display=False) as counter:
            loaded.denoise(latents, prompt=prompt, timestep=timestep)
        for _ in range(5):
            start = time.perf_counter()
            loaded.denoise(latents, prompt=prompt, timestep=timestep)
            times.append(time.perf_counter() - start)
    parameters = sum(weight.numel() for weight in loaded.denoiser.parameters())
    return parameters, counter.get_total_flops() / 1e9, min(times)


def trained(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Scores after the last update, and images per second."""
    values = merged(load_yaml(RECIPE / "shared.yaml"), load_yaml(RECIPE / "prior.yaml"))
    own = {
        "output_dir": str(folder / "run"),
        "data": {"sources": [str(path) for path in shards_of(arguments.trained_dir)]},
        "schedule": {"first": {"steps": arguments.steps, "warmup_steps": arguments.steps // 10}},
        "validation": {"sources": [str(arguments.validation)], "every": arguments.steps},
        "ema": {"decay": 0.99},
        "logging": {"samples_every": 0},
    }
    run("prior", [("compare", merged(values, own))], base=folder / "start")
    lines = list(read_metrics(folder / "run" / "metrics.jsonl"))
    scores = next(line for line in reversed(lines) if "val/psnr" in line)
    speed = next(line for line in reversed(lines) if "images_per_second" in line)
    return {**scores, "speed": speed["images_per_second"]}


if __name__ == "__main__":
    main()
