"""Training in fp16: the factor on the losses, and networks that cannot do with fp16's range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hypir_cli.config.train import TrainGanConfig
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.train import step as step_module
from hypir_cli.train.gan import GanStage
from hypir_cli.train.runs import build_gan_stage
from hypir_cli.train.runtime import Precision, Runtime
from hypir_cli.train.stage import Pairs
from hypir_cli.train.step import StepOutcome, initial_state, make_optimizers, update
from tests.tiny_families import save_sdxl
from tests.training import SamePairs, gan_config, load_configured, random_pairs


def _runtime(precision: Precision) -> Runtime:
    """Of one process on the CPU, where the command refuses fp16 for its slowness alone."""
    alone = SimpleNamespace(
        process_index=0, num_processes=1, device=torch.device("cpu"), distributed_type="NO"
    )
    return Runtime(alone, precision=precision)


def _config(root: Path, precision: Precision, **overrides: Any) -> TrainGanConfig:
    return gan_config(root, {"optim.precision": precision, "optim.grad_clip": 1e9, **overrides})


@contextmanager
def _stage(config: TrainGanConfig) -> Iterator[tuple[GanStage, Runtime]]:
    runtime = _runtime(config.optim.precision)
    yield build_gan_stage(load_configured(config), config=config, runtime=runtime), runtime


def _first_update(config: TrainGanConfig, *, scale: float | None = None) -> StepOutcome:
    with _stage(config) as (stage, runtime):
        state = initial_state(config, kind="gan", runtime=runtime)
        if scale is not None:
            state = replace(state, loss_scale=scale)
        optimizers = make_optimizers(stage, config.optim)
        return update(stage, optimizers, SamePairs(), state, config=config, runtime=runtime)


def test_scaled_losses_give_the_gradients_and_numbers_of_fp32(tmp_path: Path) -> None:
    wide = _first_update(_config(tmp_path, "fp32")).scalars
    narrow = _first_update(_config(tmp_path, "fp16")).scalars
    assert wide.keys() == narrow.keys()
    for name in ("norm/generator", "norm/discriminator", "grad/pixel", "grad/adversarial"):
        assert narrow[name] == pytest.approx(wide[name], rel=0.05), name


def test_gradients_too_small_for_fp16_survive_by_the_scale(tmp_path: Path) -> None:
    faint = {"loss.pixel": 1e-5, "loss.adversarial": 0.0}
    wide = _first_update(_config(tmp_path, "fp32", **faint)).scalars["norm/generator"]
    scaled = _first_update(_config(tmp_path, "fp16", **faint)).scalars["norm/generator"]
    plain = _first_update(_config(tmp_path, "fp16", **faint), scale=1.0).scalars["norm/generator"]
    assert scaled == pytest.approx(wide, rel=0.1)
    assert abs(plain - wide) > 0.5 * wide


def test_an_overflow_changes_no_weight_and_halves_the_scale(tmp_path: Path) -> None:
    config = _config(tmp_path, "fp16")
    with _stage(config) as (stage, runtime):
        before = [weight.detach().clone() for group in stage.groups for weight in group.parameters]
        state = replace(initial_state(config, kind="gan", runtime=runtime), loss_scale=2.0**60)
        optimizers = make_optimizers(stage, config.optim)
        done = update(stage, optimizers, SamePairs(), state, config=config, runtime=runtime)
        after = [weight for group in stage.groups for weight in group.parameters]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert not math.isfinite(done.scalars["norm/generator"])
        assert (done.state.loss_scale, done.state.skipped) == (2.0**59, 1)
        state = done.state
        while state.skipped_in_row:
            done = update(stage, optimizers, SamePairs(), state, config=config, runtime=runtime)
            state = done.state
        assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert stage.ema.num_updates == 1


def test_the_scale_grows_after_many_good_updates_and_never_falls_below_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "_GROWTH_EVERY", 2)
    config = _config(tmp_path, "fp16")
    with _stage(config) as (stage, runtime):
        state = replace(initial_state(config, kind="gan", runtime=runtime), loss_scale=8.0)
        optimizers = make_optimizers(stage, config.optim)
        scales = []
        for _ in range(4):
            state = update(
                stage, optimizers, SamePairs(), state, config=config, runtime=runtime
            ).state
            scales.append(state.loss_scale)
    assert scales == [8.0, 16.0, 16.0, 32.0]
    assert (
        step_module._after(replace(state, loss_scale=1.0), finite=False, fp16=True).loss_scale == 1
    )


@pytest.mark.parametrize("force_upcast", [True, False])
def test_a_vae_kept_in_float32_computes_in_it_under_float16_autocast(
    tmp_path: Path, force_upcast: bool
) -> None:
    save_sdxl(tmp_path / "sdxl", force_upcast=force_upcast)
    backbone = load_backbone("sdxl", base=str(tmp_path / "sdxl"), dtype=torch.float16)
    seen: set[torch.dtype] = set()

    def note(_module: Any, _inputs: Any, output: Any) -> None:
        seen.add(output.dtype)

    for module in backbone.components()["vae"].modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    images = random_pairs().lq
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        backbone.decode(backbone.encode(images))
    assert seen == {torch.float32 if force_upcast else torch.float16}


def test_a_teacher_computes_in_the_runs_precision_and_what_is_around_it_does_not(
    tmp_path: Path,
) -> None:
    from hypir_cli.train.data.prefetcher import Prefetcher
    from hypir_cli.train.degradation import pipeline

    class Teacher:
        scale = 4

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            asked.append(torch.is_autocast_enabled("cpu"))
            return torch.nn.functional.interpolate(images, scale_factor=4.0)

    asked: list[bool] = []
    around: list[bool] = []
    degrade = pipeline._degrade_one

    def noted(*args: Any, **kwargs: Any) -> torch.Tensor:
        around.append(torch.is_autocast_enabled("cpu"))
        return degrade(*args, **kwargs)

    config = gan_config(
        tmp_path, {"optim.precision": "bf16", "data.crop_size": 64, "degradation.scale": 4}
    )
    prefetcher = Prefetcher(config, runtime=_runtime("bf16"), position=0, teacher=Teacher())
    pipeline._degrade_one = noted
    try:
        pairs: Pairs = prefetcher.next()
    finally:
        pipeline._degrade_one = degrade
        prefetcher.close()
    assert pairs.target is not None
    assert asked == [True] * len(pairs)
    assert around == [False] * len(pairs)
