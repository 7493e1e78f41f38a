"""What a run would do and cost, found by looking at the pictures' sizes and by one trial step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hypir_cli.config.solve import SolveConfig
from hypir_cli.errors import HypirError
from hypir_cli.folder import Job
from hypir_cli.folder.scan import Unreadable
from hypir_cli.images import image_size
from hypir_cli.models.device import peak_memory
from hypir_cli.solvers.damage import Damage, Size
from hypir_cli.solvers.operators import Grey, LinearOperator
from hypir_cli.solvers.samplers.measurement import decoded
from hypir_cli.solvers.solver import Solver
from hypir_cli.solvers.workers import find_masks, load_solver


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a run is expected to take."""

    lines: tuple[str, ...]
    """For the user, one fact each."""
    calls: int
    """Calls of the denoiser, at most: tiles without anything lost, and stopping early, save some."""
    seconds: float
    """Time for them, from one trial call."""
    peak_bytes: int
    """Memory of the trial call."""


def explain(
    jobs: Sequence[Job], config: SolveConfig, *, hidden: Sequence[Unreadable] = ()
) -> Expected:
    """What solving these pictures would do and cost.

    Args:
        jobs: Pictures to solve; those whose header cannot be read are left out, with a line for each.
        config: All settings.
        hidden: What the system would not show, with a line for each too.

    Raises:
        HypirError: Settings that do not fit together, or a prior that cannot be loaded.
    """
    solver = load_solver(config, damage=Damage(config.damage))
    find_masks(config.damage)
    seen, reasons = _sizes(jobs)
    reasons = [*(each.error().message for each in hidden), *reasons]
    sizes = [solver.size_of(*size) for size in seen]
    tiles = [_num_tiles(solver, size) for size in sizes]
    side = max((_tile_side(solver, size) for size in sizes), default=solver.prior.native_side)
    per_tile, with_gradient = _calls(solver)
    samples = config.sampling.samples
    calls = sum(tiles) * samples * per_tile
    plain, gradient = _trial(solver, side)
    seconds = sum(tiles) * samples * ((per_tile - with_gradient) * plain + with_gradient * gradient)
    peak = peak_memory(solver.prior.device)
    dtype = str(solver.prior.dtype).removeprefix("torch.")
    lines = [
        f"damage: {solver.damage.describe()}, noise {config.sampling.noise:g}",
        f"prior: {solver.prior.name} ({solver.prior.kind}) on {solver.prior.device}, {dtype}",
        f"method: {solver.recipe.method}, {solver.recipe.steps} levels, seed {config.sampling.seed}, "
        f"{samples} sample(s)",
        f"pictures: {len(sizes)}, in {sum(tiles)} tile(s) of up to {side} px",
        f"calls: at most {calls} of the denoiser, {with_gradient * sum(tiles) * samples} with a gradient",
        f"memory: {peak / 2**30:.2f} GB at the peak of a trial step",
        f"time: about {_duration(seconds)} by a trial step, reading and writing not counted",
    ]
    lines += [f"left out: {reason}" for reason in reasons]
    return Expected(lines=tuple(lines), calls=calls, seconds=seconds, peak_bytes=peak)


def _sizes(jobs: Sequence[Job]) -> tuple[list[Size], list[str]]:
    """Sizes of the pictures, and why the others have none."""
    sizes, reasons = [], []
    for job in jobs:
        try:
            sizes.append(image_size(job.input_path))
        except HypirError as error:
            reasons.append(error.message)
    return sizes, reasons


def _num_tiles(solver: Solver, size: Size) -> int:
    return solver.plan(size, _stand_in(solver, size)).count


def _tile_side(solver: Solver, size: Size) -> int:
    plan = solver.plan(size, _stand_in(solver, size))
    return max(plan.rows.tile, plan.columns.tile)


def _stand_in(solver: Solver, size: Size) -> LinearOperator:
    """The operator, or one that is cut alike where the real one needs a mask file."""
    operator = None if solver.damage.needs_size else solver.damage.operator(size)
    return operator if isinstance(operator, LinearOperator) else Grey()


def _calls(solver: Solver) -> tuple[int, int]:
    """Calls per tile, and those of them with a gradient."""
    chosen, warmup = solver.recipe, solver.config.sampling.spgd.warmup
    if chosen.method == "spgd":
        return chosen.steps * (warmup + 1), chosen.steps * warmup
    return chosen.steps, 0 if chosen.method == "latino" else chosen.steps


def _trial(solver: Solver, side: int) -> tuple[float, float]:
    """Seconds of one call without and with a gradient, on a tile of that side."""
    prior, device = solver.prior.prior, solver.prior.device
    x = torch.zeros(1, *prior.sample_shape(side, side), device=device)
    with torch.no_grad():
        plain = _timed(lambda: prior.decode(prior.denoise(x, 1.0)), device)
    if not _calls(solver)[1]:
        return plain, 0.0

    def step() -> torch.Tensor:
        moved = x.clone().requires_grad_(True)
        images = decoded(prior, prior.denoise(moved, 1.0))
        return torch.autograd.grad(images.sum(), moved)[0]

    return plain, _timed(step, device)


def _timed(work: object, device: torch.device) -> float:
    assert callable(work)
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
