"""Speed of restoring, by stage and against the reference's own arithmetic, and how close it comes to the machine's peak.

    python benchmarks/restore.py --backbone tiny --sizes 512 1024
    python benchmarks/restore.py --backbone sd2 --sizes 512 1024 --rounds 1 --json restore.json
    python benchmarks/restore.py --backbone sd2 --arms reference default small int8 small-int8

`sd2` is Stable Diffusion 2.1-base at its full size with random weights, those of a merged LoRA among them. Each arm runs in a process
of its own, the arms in turn:

- default: what `hypir restore` does: LoRA merged, balanced tiles, channels-last VAE, allocator setting;
- parity: what `hypir restore --parity` does: the reference's tiles, everything else as above;
- reference: parity with a LoRA of rank 256 unmerged and glibc's default allocator, which is the reference's own arithmetic;
- small: default with `--vae small`, diffusers' `AutoencoderTiny` at the size of taesd (sd2 alone);
- int8: default with `--quantize int8`, every layer that can in 8 bits, since random weights say nothing of quality; choosing the
  layers, which happens once per run, is not in the time;
- small-int8: both.

`--int8-by` compares with torchao's own ways of computing linear layers in 8 bits. CPU seconds are those of all threads: on a busy
machine they say more than the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full_models import build_full, random_prompt
from torch.utils.flop_counter import FlopCounterMode

from hypir_cli.models.allocator import keep_freed_memory, return_freed_memory
from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.device import peak_memory
from hypir_cli.models.lora import add_fresh_lora
from hypir_cli.models.placement import quantizable_layers
from hypir_cli.restore.calibration import calibrate_int8
from hypir_cli.restore.parity import restore_parity
from hypir_cli.restore.restorer import Restorer, native_limits
from hypir_cli.restore.streaming import InputWindows
from hypir_cli.restore.tile_pass import Request
from hypir_cli.restore.times import StageTimes

USUAL_ARMS = ("default", "parity", "reference")
ARMS = (*USUAL_ARMS, "small", "int8", "small-int8")
INT8_BY = {
    "layers": "",
    "torchao-dynamic": "Int8DynamicActivationInt8WeightConfig",
    "torchao-weights": "Int8WeightOnlyConfig",
}
"""Ways to compute in 8 bits: ours, and configurations of torchao."""
RANK = 256


def main() -> None:
    """Run the arms in turn, print the table, write the JSON."""
    options = parse()
    if options.arm:
        print(json.dumps(run_arm(options)))
        return
    results = []
    for size in options.sizes:
        for _ in range(options.rounds):
            for arm in options.arms:
                results.append(run_child(options, arm, size))
                print(describe(results[-1]), file=sys.stderr, flush=True)
    rows = summarize(results)
    print(table(rows))
    if options.json:
        content = {"machine": machine(), "rows": rows, "runs": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="tiny", choices=("tiny", "sd2"))
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[512, 1024], help="square sides, px"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each arm and size")
    parser.add_argument("--arms", nargs="+", default=list(USUAL_ARMS), choices=ARMS)
    parser.add_argument("--int8-by", default="layers", choices=tuple(INT8_BY))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--batch", type=int, default=1, help="tiles per call in the default arm")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_child(options: argparse.Namespace, arm: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--arm", arm, "--backbone", options.backbone]
    command += ["--sizes", str(size), "--device", options.device, "--dtype", options.dtype]
    command += ["--batch", str(options.batch), "--int8-by", options.int8_by]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} at {size} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_arm(options: argparse.Namespace) -> dict[str, Any]:
    """One measured restoration after one warm-up of a single small tile."""
    arm, size, device = options.arm, options.sizes[0], torch.device(options.device)
    if arm != "reference":
        keep_freed_memory()
    torch.manual_seed(0)
    backbone, prompt = build(
        options.backbone, merged=arm != "reference", small_vae=arm.startswith("small")
    )
    dtype = getattr(torch, options.dtype)
    for module in backbone.components().values():
        module.to(device, dtype)
        if device.type == "cuda" or module is backbone.components()["vae"]:
            module.to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    peak_before = peak_flops(device, dtype)
    times = StageTimes(device=device)
    chosen = to_int8(backbone, prompt, pixels, options) if arm.endswith("int8") else {}
    restore(backbone, prompt.to(device), pixels[:64, :64], StageTimes(), options)
    return_freed_memory()
    forget_peak()
    start, cpu_start, load = time.perf_counter(), time.process_time(), os.getloadavg()[0]
    with FlopCounterMode(display=False) as counter:
        restore(backbone, prompt.to(device), pixels, times, options)
        times.collect()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    resident = peak_resident()
    peak = max(peak_before, peak_flops(device, dtype))
    return {
        "backbone": options.backbone,
        "arm": arm,
        "size": size,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "load": load,
        "peak_memory": resident,
        "seconds_per_megapixel": seconds / (size * size / 1e6),
        "stages": {name: getattr(times, name) for name in ("encode", "denoise", "decode", "other")},
        "gflop": counter.get_total_flops() / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_peak": counter.get_total_flops() / seconds / peak,
        "device": options.device,
        "dtype": options.dtype,
        **chosen,
    }


def to_int8(
    backbone: Backbone, prompt: PromptEmbeds, pixels: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    """Bring the denoiser to 8 bits; what came of it."""
    name = INT8_BY[options.int8_by]
    if name:
        layers = set(quantizable_layers(backbone.denoiser).values())
        ao = importlib.import_module("torchao.quantization")
        ao.quantize_(backbone.denoiser, getattr(ao, name)(), lambda layer, _: layer in layers)
        return {"int8": {"layers": len(layers)}}
    source = InputWindows(pixels, out_size=pixels.shape[:2])
    plan = Restorer(backbone, limits=native_limits(backbone)).plan(*pixels.shape[:2])
    choice = calibrate_int8(backbone, source, plan, request=request_of(prompt), least_psnr=-np.inf)
    return {"int8": dict(choice.details())}


def forget_peak() -> None:
    """Let the kernel's mark of the most resident memory start again, where it does."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_resident() -> int:
    """Most bytes of this process that were resident since `forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return peak_memory(torch.device("cpu"))
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def build(name: str, *, merged: bool, small_vae: bool) -> tuple[Backbone, PromptEmbeds]:
    """The backbone, with a random LoRA where it is the large one and not merged, and a prompt."""
    if name == "tiny":
        backbone = load_backbone("tiny")
        with torch.inference_mode():
            return backbone, backbone.encode_prompts([""])
    # A merged LoRA leaves weights like others.
    backbone = build_full(name, small_vae=small_vae)
    backbone.release_text_encoders()
    if not merged:
        targets = backbone.traits.lora_targets
        add_fresh_lora(backbone.denoiser, rank=RANK, alpha=RANK, targets=targets, seed=0)
    return backbone, random_prompt(name)


def restore(
    backbone: Backbone,
    prompt: PromptEmbeds,
    pixels: np.ndarray,
    times: StageTimes,
    options: argparse.Namespace,
) -> None:
    """One restoration in the way of the arm."""
    if options.arm in ("parity", "reference"):
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
        with TimedStages(backbone, times):
            restore_parity(backbone, image, prompt=prompt, timestep=200, coeff_timestep=200)
    else:
        limits = native_limits(backbone, batch=options.batch)
        Restorer(backbone, limits=limits).restore(pixels, request=request_of(prompt), times=times)


def request_of(prompt: PromptEmbeds) -> Request:
    return Request(prompt=prompt, timestep=200, coeff_timestep=200)


class TimedStages:
    """Adds the time inside the backbone's three calls to the stages, whoever calls them."""

    def __init__(self, backbone: Backbone, times: StageTimes) -> None:
        self.backbone, self.times = backbone, times

    def __enter__(self) -> None:
        for stage in ("encode", "denoise", "decode"):
            setattr(self.backbone, stage, self.wrapped(stage, getattr(self.backbone, stage)))

    def wrapped(self, stage: str, call: Any) -> Any:
        """The call with its time added to the stage."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            with self.times.measure_on_device(stage):
                return call(*args, **kwargs)

        return measured

    def __exit__(self, *error: object) -> None:
        for stage in ("encode", "denoise", "decode"):
            delattr(self.backbone, stage)


@torch.inference_mode()
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Best FLOP/s of a large matrix product and of a 3x3 convolution in that number format."""
    side = 2048 if device.type == "cpu" else 8192
    made = {"device": device, "dtype": dtype}
    a, b = torch.randn(side, side, **made), torch.randn(side, side, **made)
    image = torch.randn(1, 256, 128, 128, **made).to(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, **made).to(memory_format=torch.channels_last)
    products = (
        (2.0 * side**3, lambda: a @ b),
        (2.0 * 256 * 256 * 9 * 128 * 128, lambda: torch.conv2d(image, kernel, padding=1)),
    )
    return max(flops / best_seconds(work, device) for flops, work in products)


def best_seconds(work: Any, device: torch.device) -> float:
    times = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def summarize(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median of each arm and size, and its speed against the reference arm round by round."""
    rows = []
    for size in dict.fromkeys(result["size"] for result in results):
        for arm in dict.fromkeys(result["arm"] for result in results):
            runs = [r for r in results if r["size"] == size and r["arm"] == arm]
            middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
            ratios = [
                {key: other[key] / run[key] for key in ("seconds", "cpu_seconds")}
                for run, other in zip(
                    runs,
                    [r for r in results if r["size"] == size and r["arm"] == "reference"],
                    strict=False,
                )
            ]
            speedups = {
                name: statistics.median(ratio[key] for ratio in ratios) if ratios else None
                for name, key in (("speedup", "seconds"), ("cpu_speedup", "cpu_seconds"))
            }
            rows.append({**middle, **speedups})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| backbone | size | arm | encode s | denoise s | decode s | other s | total s | s/MP "
        "| peak memory GB | share of peak | against reference | in CPU time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        stages = " | ".join(f"{row['stages'][name]:.2f}" for name in row["stages"])
        ratios = (row["speedup"], row["cpu_speedup"])
        speedups = " | ".join("" if ratio is None else f"{ratio:.2f} x" for ratio in ratios)
        # Products in 8 bits are not counted.
        share = "" if "int8" in row else f"{row['share_of_peak']:.0%}"
        lines.append(
            f"| {row['backbone']} | {row['size']} | {row['arm']} | {stages} | {row['seconds']:.2f} "
            f"| {row['seconds_per_megapixel']:.1f} | {row['peak_memory'] / 2**30:.1f} | {share} "
            f"| {speedups} |"
        )
    return "\n".join(lines)


def describe(result: dict[str, Any]) -> str:
    return (
        f"{result['arm']} {result['size']}: {result['seconds']:.2f} s, {result['cpu_seconds']:.2f} s of "
        f"processors, load {result['load']:.1f}"
    )


def machine() -> dict[str, Any]:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {
        "processor": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
