"""One image, solved: its measurement cut into tiles, each sampled, blended, and rounded to the input's depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypir_cli.config.solve import SolveConfig
from hypir_cli.errors import DeviceError
from hypir_cli.folder.events import Progress, silent
from hypir_cli.images import ImageData, quantize, to_float
from hypir_cli.images.data import Pixels
from hypir_cli.models.device import is_out_of_memory
from hypir_cli.pixels.blending import Corner, blended_bands
from hypir_cli.pixels.color import luma
from hypir_cli.pixels.noise import image_key
from hypir_cli.pixels.precision import in_float64
from hypir_cli.pixels.tiling import TilePlan
from hypir_cli.solvers.damage import Damage, Size
from hypir_cli.solvers.operators import Grey, Inpainting, Operator, num_measured
from hypir_cli.solvers.prior_loading import LoadedPrior
from hypir_cli.solvers.recipes import USUAL_SIDE, Recipe, recipe
from hypir_cli.solvers.samplers.dps import sample_dps
from hypir_cli.solvers.samplers.latino import require_adjoint, sample_latino
from hypir_cli.solvers.samplers.measurement import Measurement, Problem, Solution
from hypir_cli.solvers.samplers.noise import PlacedNoise
from hypir_cli.solvers.samplers.spgd import sample_spgd
from hypir_cli.solvers.windows import Window, plan_windows, window_of

Lost = NDArray[np.bool_]
"""(H, W): where a photograph is lost."""


@dataclass
class Outcome:
    """One image, solved."""

    samples: list[Pixels] = field(default_factory=list)
    """One result per seed, (H, W, C) in the input's depth."""
    seeds: list[int] = field(default_factory=list)
    """Seed of each sample."""
    residuals: list[float] = field(default_factory=list)
    """||A x - y|| / (noise * root of the numbers measured) of each sample."""
    calls: int = 0
    """Calls of the denoiser, over all tiles and samples."""
    gradient_calls: int = 0
    """Those followed by a backward pass."""
    tiles: int = 0
    """Tiles that were sampled, over all samples; those with nothing to solve are left out."""


class Solver:
    """A prior and settings, ready to solve images.

    Args:
        prior: Loaded and placed.
        config: All settings; its prior part is taken as done.
        damage: What they say of the damage; None makes it from them.

    Raises:
        HypirError: The damage is not fully described, or the method cannot undo it.
    """

    def __init__(
        self, prior: LoadedPrior, *, config: SolveConfig, damage: Damage | None = None
    ) -> None:
        self.prior = prior
        self.config = config
        self.damage = damage or Damage(config.damage)
        self.recipe: Recipe = recipe(config.sampling, config.damage, prior=prior.kind)
        if self.recipe.method == "latino" and not self.damage.needs_size:
            require_adjoint(self.damage.operator((1, 1)), method="latino")

    def size_of(self, height: int, width: int) -> Size:
        """(height, width) of the result for a measured picture of that size."""
        return height * self.damage.factor, width * self.damage.factor

    def plan(self, size: Size, operator: Operator) -> TilePlan:
        """Tiles of an image of that size."""
        return plan_windows(
            size,
            operator,
            multiple=self.prior.prior.multiple,
            native=self.prior.native_side,
            tiles=self.config.tiles,
        )

    def solve(
        self, image: ImageData, *, lost: Lost | None = None, on_steps: Progress = silent
    ) -> Outcome:
        """One image, sampled as often as the settings say.

        Args:
            image: What was measured.
            lost: Where it is lost, for masks from files.
            on_steps: Told (steps done, steps in all) over all tiles and samples.

        Raises:
            DeviceError: Out of memory, or the sampler left the range of numbers.
            ConfigError: The tile is too small for the damage.
        """
        size = self.size_of(image.height, image.width)
        operator = self.damage.operator(size, lost=lost)
        plan = self.plan(size, operator)
        outcome = Outcome()
        count = self.config.sampling.samples
        for number in range(count):
            seed = self.config.sampling.seed + number
            job = _Job(self, image, size, operator, plan, seed)
            steps = job.num_steps

            def on_step(
                done: int, before: int = number * steps, total: int = count * steps
            ) -> None:
                on_steps(before + done, total)

            outcome.samples.append(job.run(on_step))
            outcome.seeds.append(job.seed)
            outcome.residuals.append(job.residual)
            outcome.calls += job.calls
            outcome.gradient_calls += job.gradient_calls
            outcome.tiles += job.tiles
        return outcome

    def sample(self, problem: Problem) -> Solution:
        """One tile by the chosen method."""
        chosen, sampling = self.recipe, self.config.sampling
        if chosen.method == "spgd":
            return sample_spgd(
                problem,
                settings=sampling.spgd,
                lr=chosen.lr,
                steps=chosen.steps,
                sigma_max=chosen.sigma_max,
            )
        if chosen.method == "latino":
            return sample_latino(
                problem, settings=sampling.latino, start=chosen.start, steps=chosen.steps
            )
        return sample_dps(
            problem,
            settings=sampling.dps,
            # The gradient of a norm is as long for a large tile as for a small one.
            scale=chosen.scale * math.sqrt(math.prod(problem.measurement.size)) / USUAL_SIDE,
            steps=chosen.steps,
            select=chosen.method == "dpps",
        )


@dataclass(eq=False)
class _Job:
    """One sample of one image."""

    solver: Solver
    image: ImageData
    size: Size
    operator: Operator
    plan: TilePlan
    seed: int

    def __post_init__(self) -> None:
        self.calls = self.gradient_calls = self.tiles = 0
        self._squares = self._numbers = 0.0
        self._steps_done = 0
        self._on_step: Callable[[int], None] = lambda done: None
        self._key = image_key(self.image.pixels)

    @property
    def num_steps(self) -> int:
        """Steps of all tiles that have something to solve."""
        busy = sum(not self._is_whole(corner) for corner in self._corners())
        return busy * self.solver.recipe.steps

    @property
    def residual(self) -> float:
        """Over all tiles."""
        return float((self._squares / max(self._numbers, 1.0)) ** 0.5)

    def run(self, on_step: Callable[[int], None]) -> Pixels:
        """The result, (H, W, C)."""
        self._on_step = on_step
        image = self.image
        grey = image.is_grey and not isinstance(self.operator, Grey)
        out = np.empty((*self.size, 1 if grey else 3), dtype=image.pixels.dtype)
        row = 0
        for rows, _ in blended_bands(self.plan, self._tiles):
            if rows.shape[1]:
                stop = row + rows.shape[1]
                self._store(out, rows, slice(row, stop))
                row = stop
        return out

    def _store(self, out: Pixels, rows: Tensor, where: slice) -> None:
        """Round finished rows; what is not lost stays the input's, bit for bit."""
        found = (rows[None] + 1.0) / 2.0
        if out.shape[2] == 1:
            found = luma(found)
        values = quantize(found[0].permute(1, 2, 0).numpy(), self.image.bit_depth)
        if isinstance(self.operator, Inpainting):
            kept = self.operator.kept[0, 0, where, :, None].numpy()
            values = np.where(kept, self.image.pixels[where], values)
        out[where] = values

    def _tiles(self, corners: list[Corner]) -> Tensor:
        return torch.cat([self._tile(corner) for corner in corners])

    def _tile(self, corner: Corner) -> Tensor:
        """One tile, (1, 3, h, w) float32 on the CPU."""
        side = (self.plan.rows.tile, self.plan.columns.tile)
        if self._is_whole(corner):
            return torch.zeros(1, 3, *side)
        window, device = self._window(corner), self.solver.prior.device
        measurement = Measurement(
            y=self._measured(window, side).to(device),
            operator=window.operator,
            noise=self.solver.config.sampling.noise,
            size=side,
        )
        found = self._sampled(measurement, corner)
        self._count(measurement, found)
        if not torch.isfinite(found.images).all():
            raise DeviceError(
                f"{self.solver.recipe.method} left the range of numbers.",
                hint="use smaller steps (--scale for dps and dpps, --lr for spgd), or another method",
            )
        return found.images.float().cpu()

    def _sampled(self, measurement: Measurement, corner: Corner) -> Solution:
        solver = self.solver
        prior = solver.prior.prior
        shape = prior.sample_shape(*measurement.size)
        cell = measurement.size[0] // shape[1]
        noise = PlacedNoise(
            shape,
            seeds=[self.seed],
            keys=[self._key],
            top=corner[0] // cell,
            left=corner[1] // cell,
            device=solver.prior.device,
        )
        before = self._steps_done
        problem = Problem(
            prior=prior,
            measurement=measurement,
            noise=noise,
            on_step=lambda done, total: self._on_step(before + done),
        )
        try:
            found = solver.sample(problem)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"out of memory on {solver.prior.device} with tiles of {max(measurement.size)} px.",
                hint="use a smaller --tile, --method latino (which needs no gradients), or close other programs",
            ) from error
        self._steps_done = before + solver.recipe.steps
        return found

    def _count(self, measurement: Measurement, found: Solution) -> None:
        numbers = num_measured(measurement.operator, measurement.y)
        self._squares += float(in_float64(found.residual).square().sum()) * numbers
        self._numbers += numbers
        self.calls += found.calls
        self.gradient_calls += found.gradient_calls
        self.tiles += 1

    def _measured(self, window: Window, side: Size) -> Tensor:
        """The tile's measurement, in the operator's terms for images in -1..1."""
        pixels = self.image.pixels[slice(*window.rows), slice(*window.columns)]
        planes = torch.from_numpy(np.ascontiguousarray(to_float(pixels).transpose(2, 0, 1)))[None]
        if isinstance(window.operator, Inpainting):
            missing = (side[1] - planes.shape[-1], side[0] - planes.shape[-2])
            planes = torch.nn.functional.pad(planes, (0, missing[0], 0, missing[1]))
            return window.operator.A(2.0 * planes.expand(-1, 3, -1, -1) - 1.0)
        if isinstance(self.operator, Grey):
            planes = luma(planes.expand(-1, 3, -1, -1))
        else:
            planes = planes.expand(-1, 3, -1, -1)
        # For a linear A: A(2 x - 1) = 2 A(x) - A(1).
        return 2.0 * planes - window.operator.A(torch.ones(1, 3, *side))

    def _window(self, corner: Corner) -> Window:
        rows = (corner[0], corner[0] + self.plan.rows.tile)
        columns = (corner[1], corner[1] + self.plan.columns.tile)
        return window_of(self.operator, self.size, rows=rows, columns=columns)

    def _is_whole(self, corner: Corner) -> bool:
        """Whether a tile has nothing to solve: every pixel of the image in it is known."""
        if not isinstance(self.operator, Inpainting):
            return False
        rows = slice(corner[0], corner[0] + self.plan.rows.tile)
        columns = slice(corner[1], corner[1] + self.plan.columns.tile)
        return bool(self.operator.kept[..., rows, columns].all())

    def _corners(self) -> Iterator[Corner]:
        for top in self.plan.rows.starts:
            for left in self.plan.columns.starts:
                yield top, left
