"""Generator updates per second of our training step against the naive scheme, side by side in one process.

The naive scheme is that of the public release: the generator and the discriminator each take a batch of their own, degrade it,
encode it and run a full generator forward of their own; the trunk sees the fakes of each, and the perceptual loss has a network of
its own. Ours shares one batch, one forward and the trunk's features. Both are the same code on the same networks, timed in turn.

    python benchmarks/train.py DATA_DIR [--backbone tiny] [--base FOLDER] [--side 128] [--batch 4] [--rounds 12]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peak_memory import PeakMemory

from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.perceptual.distances import PerceptualDistance, build_perceptual
from hypir_cli.train.adversarial import discriminator_step, generator_step, real_images
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.gan import GanStage
from hypir_cli.train.generator import generate
from hypir_cli.train.runs import build_gan_stage
from hypir_cli.train.runtime import Runtime, open_runtime
from hypir_cli.train.step import initial_state, make_optimizers, update


def main() -> None:
    arguments = _arguments()
    config = _config(arguments)
    with open_runtime(device="auto", precision=arguments.precision) as runtime:
        backbone = load_backbone(
            arguments.backbone, base=arguments.base, device=runtime.device, dtype=runtime.dtype
        )
        stage = build_gan_stage(backbone, config=config, runtime=runtime)
        prefetcher = Prefetcher(config, runtime=runtime, position=0)
        try:
            figures = _measure(stage, prefetcher, config, runtime=runtime, rounds=arguments.rounds)
        finally:
            prefetcher.close()
    print(
        json.dumps(
            {"settings": vars(arguments) | {"data": str(arguments.data)}, **figures}, indent=2
        )
    )


def _measure(
    stage: GanStage,
    prefetcher: Prefetcher,
    config: TrainGanConfig,
    *,
    runtime: Runtime,
    rounds: int,
) -> dict[str, Any]:
    optimizers = make_optimizers(stage, config.optim)
    state = initial_state(config, kind="gan", runtime=runtime)
    unshared = build_perceptual(config.loss.perceptual_kind)
    unshared = unshared.to(runtime.device) if unshared is not None else None

    def ours() -> None:
        update(stage, optimizers, prefetcher, state, config=config, runtime=runtime)

    def naive() -> None:
        naive_update(stage, optimizers, prefetcher, config, runtime=runtime, unshared=unshared)

    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    cpu_seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    waited: dict[str, float] = {"ours": 0.0, "naive": 0.0}
    peaks: dict[str, int] = {}
    for number in range(rounds + 2):
        for name, step in (("ours", ours), ("naive", naive)):
            before = prefetcher.waited
            elapsed, busy, peak = _timed(step, runtime.device)
            if number < 2:
                continue
            seconds[name].append(elapsed)
            cpu_seconds[name].append(busy)
            waited[name] += prefetcher.waited - before
            peaks[name] = max(peaks.get(name, 0), peak)
    return {
        "device": str(runtime.device),
        "threads": torch.get_num_threads(),
        "updates_per_second": {n: round(1 / statistics.median(s), 4) for n, s in seconds.items()},
        "seconds_median": {n: round(statistics.median(s), 4) for n, s in seconds.items()},
        "seconds_spread": {n: [round(min(s), 4), round(max(s), 4)] for n, s in seconds.items()},
        "speedup": _ratio(seconds),
        "processor_seconds_median": {
            n: round(statistics.median(s), 4) for n, s in cpu_seconds.items()
        },
        "processor_speedup": _ratio(cpu_seconds),
        "data_wait_share": {n: round(waited[n] / sum(s), 5) for n, s in seconds.items()},
        "peak_cuda_gib": {n: round(p / 2**30, 3) for n, p in peaks.items()},
        "peak_tensor_mib": {n: _peak_mib(step) for n, step in (("ours", ours), ("naive", naive))},
    }


def _peak_mib(step: Callable[[], None]) -> float:
    """Tensors made by one step that are alive at once, in MiB, counted; the same on any machine."""
    with PeakMemory() as memory:
        step()
    return round(memory.peak / 2**20, 1)


def _ratio(seconds: dict[str, list[float]]) -> float:
    """Median over rounds of naive / ours; the two stand next to each other in time."""
    pairs = zip(seconds["ours"], seconds["naive"], strict=True)
    return round(statistics.median(naive / ours for ours, naive in pairs), 3)


def naive_update(
    stage: GanStage,
    optimizers: list[torch.optim.AdamW],
    prefetcher: Prefetcher,
    config: TrainGanConfig,
    *,
    runtime: Runtime,
    unshared: PerceptualDistance | None,
) -> None:
    """One generator and one discriminator update on separate batches with separate forwards."""
    models = stage.models
    assert models.discriminator is not None
    for group in stage.groups:
        for parameter in group.parameters:
            parameter.grad = None
    models = replace(models, perceptual=unshared)
    pairs = prefetcher.next()
    with runtime.autocast():
        restored, _ = generate(models, pairs, config=config)
    generator_step(models, restored, pairs, config=config, runtime=runtime, scale=1.0)
    _move(stage, optimizers, 0, config)
    stage.updated()
    pairs = prefetcher.next()
    with torch.no_grad(), runtime.autocast():
        fake = models.discriminator.features(generate(models, pairs, config=config)[0])
        real = models.discriminator.features(real_images(models.backbone, pairs.gt, config=config))
    target = config.discriminator.real_target
    discriminator_step(
        models.discriminator, real, fake, real_target=target, runtime=runtime, scale=1.0
    )
    _move(stage, optimizers, 1, config)


def _move(
    stage: GanStage, optimizers: list[torch.optim.AdamW], index: int, config: TrainGanConfig
) -> None:
    torch.nn.utils.clip_grad_norm_(stage.groups[index].parameters, config.optim.grad_clip)
    optimizers[index].step()


def _timed(step: Callable[[], None], device: torch.device) -> tuple[float, float, int]:
    """Seconds, processor seconds (which other programs disturb less), peak bytes on a CUDA device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    start, busy = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return time.perf_counter() - start, time.process_time() - busy, peak


def _config(arguments: argparse.Namespace) -> TrainGanConfig:
    values = {
        "preset": "tiny",
        "output_dir": tempfile.gettempdir(),
        "model": {"backbone": arguments.backbone, "base": arguments.base},
        "data": {"sources": [str(arguments.data)], "crop_size": arguments.side},
        "optim": {"batch_size": arguments.batch, "precision": arguments.precision},
        "loss": {"perceptual_kind": arguments.perceptual},
        "discriminator": {"trunk": arguments.trunk},
        "schedule": {"first": {"lr": 0.0, "warmup_steps": 0}},
    }
    return train_config(TrainGanConfig, [("benchmark", values)], command="gan")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--base")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--perceptual", default="efficientnet-lite0")
    parser.add_argument("--trunk", default="efficientnet-lite0")
    return parser.parse_args()


if __name__ == "__main__":
    main()
