"""What each backbone is made of and takes: parameters, LoRA sizes, memory, and on a GPU measured time and memory.

    python benchmarks/backbones.py --json backbones.json
    python benchmarks/backbones.py --activations                  # also count peak activations, minutes of CPU
    python benchmarks/backbones.py --measure cuda --backbones flux flux2 --quantize none int8 nf4

The first two need no GPU and no weights: networks of the published sizes are built on the `meta` device or with fake tensors.
`--measure` builds them with random weights on a device, restores one 1024x1024 image and takes one generator step (rank-64 LoRA,
gradient checkpointing, mean squared error on the decoded 512x512 crop).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_models import BUILDERS, build_full, random_prompt
from peak_memory import PeakMemory
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.lora import add_fresh_lora, target_modules, trainable_parameters
from hypir_cli.models.memory import memory_table
from hypir_cli.models.placement import quantizable_layers, quantize_weights
from hypir_cli.restore.restorer import Restorer, native_limits
from hypir_cli.restore.tile_pass import Request

RANKS = (16, 64, 256)
GIB = 2**30


def main() -> None:
    """Print the tables and write the JSON."""
    options = parse()
    content: dict[str, Any] = {"machine": machine(), "models": {}, "measured": []}
    for name in options.backbones:
        content["models"][name] = facts(name)
        if options.activations:
            content["models"][name]["activations"] = activations(name)
        print(f"{name}: done", file=sys.stderr, flush=True)
    for name in options.backbones if options.measure else []:
        for kind in options.quantize:
            content["measured"].append(measured(name, device=options.measure, kind=kind))
            print(content["measured"][-1], file=sys.stderr, flush=True)
    print(report(content))
    if options.json:
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BUILDERS), choices=list(BUILDERS))
    parser.add_argument("--activations", action="store_true", help="count peak activations")
    parser.add_argument("--measure", metavar="DEVICE", help="run with random weights on a device")
    parser.add_argument("--quantize", nargs="+", default=["none"], help="formats to measure")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser.parse_args()


def facts(name: str) -> dict[str, Any]:
    """Parameter counts, LoRA sizes and the memory table of a full-size backbone."""
    with torch.device("meta"):
        backbone = build_full(name)
    layers = [
        backbone.denoiser.get_submodule(path)
        for path in target_modules(backbone.denoiser, backbone.traits.lora_targets)
    ]
    return {
        "parameters": {
            part: sum(value.numel() for value in module.parameters())
            for part, module in backbone.components().items()
        },
        "quantizable": sum(
            layer.weight.numel() for layer in quantizable_layers(backbone.denoiser).values()
        ),
        "lora_layers": len(layers),
        "lora_parameters": {
            rank: sum(adapter_size(layer, rank) for layer in layers) for rank in RANKS
        },
        "memory": [
            {
                "dtype": row.dtype,
                "quantize": row.quantize,
                "denoiser": row.denoiser,
                "text_encoders": row.text_encoders,
                "vae": row.vae,
                "tile": row.tile,
                "tile_side": row.tile_side,
                "restoring": row.restoring,
                "total": row.total,
            }
            for row in memory_table(name)
        ],
    }


def adapter_size(layer: nn.Module, rank: int) -> int:
    """Parameters of an adapter of that rank on a linear or convolution layer."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    outputs, *inputs = layer.weight.shape
    return rank * (outputs + int(np.prod(inputs)))


@torch.no_grad()
def activations(name: str, *, sides: tuple[int, ...] = (512, 1024)) -> dict[int, dict[str, int]]:
    """Peak bytes of activations in bf16 by tile side and stage, counted with fake tensors."""
    counted: dict[int, dict[str, int]] = {}
    with FakeTensorMode():
        backbone = with_dtype(torch.bfloat16, lambda: build_full(name))
        backbone.release_text_encoders()
        prompt, timestep = random_prompt(name), torch.tensor(200)
        for side in sides:
            image = torch.rand(1, 3, side, side)
            with PeakMemory() as encode:
                latents = backbone.encode(image)
            with PeakMemory() as denoise:
                backbone.denoise(latents, prompt=prompt, timestep=timestep)
            with PeakMemory() as decode:
                backbone.decode(latents)
            counted[side] = {
                "encode": encode.peak,
                "denoise": denoise.peak,
                "decode": decode.peak,
            }
    return counted


def with_dtype(dtype: torch.dtype, build: Callable[[], Backbone]) -> Backbone:
    """What `build` makes while `dtype` is the default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return build()
    finally:
        torch.set_default_dtype(before)


def measured(name: str, *, device: str, kind: Any) -> dict[str, Any]:
    """Seconds and peak bytes of one restoration and one generator step with random weights."""
    with torch.device(device):
        backbone = with_dtype(torch.bfloat16, lambda: build_full(name))
    backbone.release_text_encoders()
    quantize_weights(backbone.denoiser, kind, device=device)
    restoring = restore_once(backbone, name=name)
    training = train_once(backbone, name=name)
    return {"backbone": name, "quantize": kind, "restore": restoring, "train": training}


def restore_once(backbone: Backbone, *, name: str, side: int = 1024) -> dict[str, float]:
    """A second restoration of one image, after one to warm up."""
    traits = backbone.traits
    request = Request(
        prompt=random_prompt(name), timestep=traits.timestep, coeff_timestep=traits.coeff_timestep
    )
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    restorer = Restorer(backbone, limits=native_limits(backbone))
    restorer.restore(pixels, request=request)
    return timed(backbone.device, lambda: restorer.restore(pixels, request=request))


def train_once(backbone: Backbone, *, name: str, side: int = 512) -> dict[str, float]:
    """A second generator step, after one to warm up."""
    targets = backbone.traits.lora_targets
    add_fresh_lora(backbone.denoiser, rank=64, alpha=64, targets=targets, seed=0)
    backbone.enable_gradient_checkpointing()
    backbone.denoiser.train()
    optimizer = torch.optim.AdamW(trainable_parameters(backbone.denoiser), lr=1e-5)
    prompt, timestep = random_prompt(name), torch.tensor(200)
    images = torch.rand(1, 3, side, side, device=backbone.device)

    def step() -> None:
        with torch.no_grad():
            latents = backbone.encode(images)
        output = backbone.denoise(latents, prompt=prompt, timestep=timestep)
        restored = backbone.decode(backbone.predict_clean(latents, output, timestep=timestep))
        (restored - images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return timed(backbone.device, step)


def timed(device: torch.device, work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a call, and peak bytes where the device counts them."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - start}
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_bytes": float(torch.cuda.max_memory_allocated(device))}


def report(content: dict[str, Any]) -> str:
    """Markdown tables of all numbers."""
    lines = ["| backbone | denoiser | text | VAE | LoRA layers | rank 16 | rank 64 | rank 256 |"]
    lines.append("| --- " * 8 + "|")
    for name, model in content["models"].items():
        sizes = dict(model["parameters"])
        denoiser, vae = sizes.pop("denoiser"), sizes.pop("vae")
        loras = [f"{count / 1e6:.0f} M" for count in model["lora_parameters"].values()]
        cells = [f"{denoiser / 1e9:.2f} B", f"{sum(sizes.values()) / 1e9:.2f} B"]
        cells += [f"{vae / 1e6:.0f} M", str(model["lora_layers"]), *loras]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| backbone | dtype | quantised | denoiser | text | VAE | tile | restoring | total |",
    ]
    lines.append("| --- " * 9 + "|")
    for name, model in content["models"].items():
        for row in model["memory"]:
            parts = ("denoiser", "text_encoders", "vae", "tile", "restoring", "total")
            cells = [row["dtype"], row["quantize"], *(f"{row[p] / GIB:.1f}" for p in parts)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    for row in content["measured"]:
        lines.append(f"measured: {json.dumps(row)}")
    for name, model in content["models"].items():
        for side, stages in model.get("activations", {}).items():
            text = ", ".join(f"{stage} {size / 2**20:.0f}" for stage, size in stages.items())
            lines.append(f"activations of {name}, {side} px, bf16, MiB: {text}")
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """What the numbers were taken on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {"torch": torch.__version__, "device": device, "python": platform.python_version()}


if __name__ == "__main__":
    main()
