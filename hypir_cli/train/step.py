"""One update: batches in, gradients averaged, checked and clipped, weights moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.optim import AdamW, Optimizer

from hypir_cli.config.schedule import OptimConfig
from hypir_cli.config.train import RunConfig
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Stage
from hypir_cli.train.state import RunState

_FIRST_SCALE = 2.0**14
_GROWTH_EVERY = 1000


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one update did."""

    state: RunState
    """Where the run stands after it."""
    scalars: dict[str, float]
    """Numbers to log, of this rank."""


def make_optimizers(stage: Stage, config: OptimConfig) -> list[AdamW]:
    """One AdamW for each group of weights."""
    return [
        AdamW(
            group.parameters,
            lr=0.0,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            foreach=None if group.parameters[0].device.type == "mps" else True,
        )
        for group in stage.groups
    ]


def initial_state(config: RunConfig, *, kind: str, runtime: Runtime) -> RunState:
    """State of a run that has not begun."""
    return RunState(
        kind=kind,
        backbone=config.model.backbone,
        world_size=runtime.world_size,
        loss_scale=_FIRST_SCALE if config.optim.precision == "fp16" else 1.0,
    )


def update(
    stage: Stage,
    optimizers: Sequence[Optimizer],
    prefetcher: Prefetcher,
    state: RunState,
    *,
    config: RunConfig,
    runtime: Runtime,
) -> StepOutcome:
    """One update of all groups, or none of them when a gradient is not finite."""
    accumulation = config.schedule.at(state.step).accumulation
    for group in stage.groups:
        for parameter in group.parameters:
            parameter.grad = None
    sums: dict[str, torch.Tensor] = {}
    for _ in range(accumulation):
        scalars = stage.accumulate(prefetcher.next(), scale=state.loss_scale / accumulation)
        for name, value in scalars.items():
            sums[name] = sums.get(name, 0.0) + value.float() / accumulation
    norms = _shared_gradients(stage, state, runtime=runtime)
    finite = all(math.isfinite(norm) for norm in norms.values())
    if finite:
        _move(stage, optimizers, norms, state, config=config)
        stage.updated()
    numbers = {name: float(value) for name, value in sums.items()}
    numbers |= {f"norm/{name}": norm for name, norm in norms.items()}
    moved = _after(state, finite=finite, fp16=config.optim.precision == "fp16")
    moved = replace(moved, position=prefetcher.position, ema_updates=stage.ema.num_updates)
    return StepOutcome(state=moved, scalars=numbers)


def _shared_gradients(stage: Stage, state: RunState, *, runtime: Runtime) -> dict[str, float]:
    """Average the gradients over ranks and undo the loss scale; gives their norms, equal on all ranks."""
    norms: dict[str, float] = {}
    for group in stage.groups:
        runtime.average_gradients(group.parameters)
        gradients = [p.grad for p in group.parameters if p.grad is not None]
        if state.loss_scale != 1.0:
            torch._foreach_mul_(gradients, 1.0 / state.loss_scale)
        # Without `foreach`, which is an error on devices that have no such kernels (MPS).
        norm = torch.nn.utils.get_total_norm(gradients)
        norms[group.name] = float(norm)
    return norms


def _move(
    stage: Stage,
    optimizers: Sequence[Optimizer],
    norms: dict[str, float],
    state: RunState,
    *,
    config: RunConfig,
) -> None:
    model_rate, judge_rate = config.schedule.rates(state.step)
    for group, optimizer in zip(stage.groups, optimizers, strict=True):
        factor = config.optim.grad_clip / (norms[group.name] + 1e-6)
        gradients = [p.grad for p in group.parameters if p.grad is not None]
        if factor < 1.0:
            torch._foreach_mul_(gradients, factor)
        for settings in optimizer.param_groups:
            settings["lr"] = judge_rate if group.judges else model_rate
        optimizer.step()


def _after(state: RunState, *, finite: bool, fp16: bool) -> RunState:
    """The counters after an update; in fp16 the loss scale falls when gradients overflow, and grows slowly."""
    state = replace(state, step=state.step + 1)
    if finite:
        good = state.good_since_scaled + 1 if fp16 else 0
        grown = good >= _GROWTH_EVERY
        return replace(
            state,
            skipped_in_row=0,
            good_since_scaled=0 if grown else good,
            loss_scale=state.loss_scale * (2.0 if grown else 1.0),
        )
    return replace(
        state,
        skipped=state.skipped + 1,
        skipped_in_row=state.skipped_in_row + 1,
        good_since_scaled=0,
        loss_scale=max(1.0, state.loss_scale / 2.0),
    )
