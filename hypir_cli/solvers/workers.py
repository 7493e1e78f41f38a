"""What `hypir solve` does to a single picture: undo the damage, or with `--simulate` do it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from hypir_cli.config.schema import to_dict
from hypir_cli.config.solve import DamageConfig, SolveConfig
from hypir_cli.folder import Job, Restored, RestoreOne, urls
from hypir_cli.folder.events import Progress, silent
from hypir_cli.folder.worker import ImageWorker, RunSettings
from hypir_cli.images import ImageData, is_lossless
from hypir_cli.solvers.damage import Damage
from hypir_cli.solvers.masks import Masks
from hypir_cli.solvers.prior_loading import load_prior, prior_kind
from hypir_cli.solvers.recipes import recipe
from hypir_cli.solvers.simulate import Simulated, Simulator
from hypir_cli.solvers.solver import Lost, Outcome, Solver

logger = logging.getLogger(__name__)


def run_settings(config: SolveConfig) -> RunSettings:
    """What running over a list of pictures needs to know of the settings.

    Where only lost pixels are replaced, results are written in a format that keeps the others as they are.
    """
    factor = config.damage.result_factor
    return RunSettings(
        output=config.output,
        num_jobs=config.runtime.jobs,
        samples=config.sampling.samples,
        lossless=config.damage.task == "inpaint",
        output_size=lambda height, width: (height * factor, width * factor),
        cluster=config.cluster,
        report=to_dict(config),
    )


class SolveWorker(ImageWorker):
    """Undoes damage.

    Args:
        config: All settings.
        on_steps: Told (steps done, steps in all) of the picture at work.
        on_ready: Gets the solver once its prior is loaded.

    Raises:
        HypirError: The damage is not fully described, or a kernel or the masks are not there.
    """

    def __init__(
        self,
        config: SolveConfig,
        *,
        on_steps: Progress = silent,
        on_ready: Callable[[Solver], None] = lambda solver: None,
    ) -> None:
        self._config = config
        self._on_steps = on_steps
        self._on_ready = on_ready
        self._damage = Damage(config.damage)
        self._masks = find_masks(config.damage)
        self._solver: Solver | None = None
        self._warned = False

    @property
    def settings(self) -> RunSettings:
        """What a run needs to know."""
        return run_settings(self._config)

    def load(self) -> RestoreOne:
        """What solves a picture; the prior is loaded when this returns, once.

        Raises:
            HypirError: Settings that do not fit together, or a prior that cannot be found or read.
        """
        if self._solver is None:
            self._solver = load_solver(self._config, damage=self._damage)
            self._on_ready(self._solver)
        return partial(self._solve, self._solver)

    def elsewhere(self) -> Callable[[], SolveWorker]:
        """Makes this worker anew in another process, where nobody listens; can be pickled."""
        return partial(SolveWorker, self._config)

    def _solve(self, solver: Solver, image: ImageData, job: Job) -> Restored:
        self._warn_of_loss(job)
        lost = lost_pixels(self._masks, image, job)
        outcome = solver.solve(image, lost=lost, on_steps=self._on_steps)
        return Restored(samples=outcome.samples, details=_details(solver, outcome))

    def _warn_of_loss(self, job: Job) -> None:
        """A file name or format that the user chose may be one that changes every pixel; said once."""
        if self._warned or self._config.damage.task != "inpaint":
            return
        lossy = [path for path in job.output_paths if not is_lossless(path.suffix)]
        if lossy:
            self._warned = True
            logger.warning(
                "%s loses a little everywhere; what is not lost stays bit for bit only in PNG and TIFF",
                lossy[0].name,
            )


class SimulateWorker(ImageWorker):
    """Makes measurements of clean photographs by the same operators that `SolveWorker` undoes.

    Args:
        config: All settings; the damage and the noise count.
        clean_dir: Folder or URL for the photographs as they were measured (cut to a multiple of the factor); None writes none.

    Raises:
        HypirError: The damage is not fully described, or a kernel or the masks are not there.
    """

    def __init__(self, config: SolveConfig, *, clean_dir: str | None = None) -> None:
        if clean_dir is not None:
            urls.require_writable(clean_dir)
        self._config = replace(config, sampling=replace(config.sampling, samples=1))
        self._clean_dir = clean_dir
        self._simulator = Simulator(Damage(config.damage), noise=config.sampling.noise)
        self._masks = find_masks(config.damage)

    @property
    def settings(self) -> RunSettings:
        """What a run needs to know; a measurement is as much smaller as the result of solving it is larger."""
        factor = self._config.damage.result_factor
        return replace(
            run_settings(self._config),
            output_size=lambda height, width: (max(height // factor, 1), max(width // factor, 1)),
        )

    def load(self) -> RestoreOne:
        """What measures a photograph."""
        return self._measure

    def elsewhere(self) -> Callable[[], SimulateWorker]:
        """Makes this worker anew in another process; can be pickled."""
        return partial(SimulateWorker, self._config, clean_dir=self._clean_dir)

    def _measure(self, image: ImageData, job: Job) -> Restored:
        lost = lost_pixels(self._masks, image, job)
        made = self._simulator.measure(image, lost=lost)
        _warn_of_cut(image, made, job, factor=self._simulator.damage.factor)
        if self._clean_dir is not None:
            name = job.relative_path.with_suffix(".png").as_posix()
            made.write_clean(urls.join(self._clean_dir, name))
        return Restored(samples=[made.pixels], details=made.details)


def load_solver(config: SolveConfig, *, damage: Damage) -> Solver:
    """A solver with its prior loaded and placed.

    Raises:
        HypirError: Settings that do not fit together, or a prior that cannot be found or read.
    """
    chosen = recipe(config.sampling, config.damage, prior=prior_kind(config.prior))
    prior = load_prior(config.prior, config.runtime, method=chosen.method)
    return Solver(prior, config=config, damage=damage)


def find_masks(config: DamageConfig) -> Masks | None:
    """The mask files that the settings name; None where the settings need none.

    Raises:
        InputError: They are not there.
    """
    if config.task != "inpaint" or config.mask is None:
        return None
    return Masks(config.mask)


def lost_pixels(masks: Masks | None, image: ImageData, job: Job) -> Lost | None:
    """Where an image is lost, by its mask file; None where the settings need no such file.

    Raises:
        InputError: There is none for it, or it does not fit.
    """
    if masks is None:
        return None
    return masks.lost(job.relative_path, height=image.height, width=image.width)


def _warn_of_cut(image: ImageData, made: Simulated, job: Job, *, factor: int) -> None:
    """A photograph that the factor does not divide loses its right and bottom edge."""
    height, width = made.clean.shape[:2]
    if height < image.height or width < image.width:
        logger.warning(
            "%s is measured as its first %d x %d pixels, because %d does not divide %d x %d",
            job.input_path.name,
            width,
            height,
            factor,
            image.width,
            image.height,
        )


def _details(solver: Solver, outcome: Outcome) -> Mapping[str, object]:
    chosen = solver.recipe
    numbers = {"dps": chosen.scale, "dpps": chosen.scale, "spgd": chosen.lr, "latino": chosen.start}
    return {
        "method": chosen.method,
        "steps": chosen.steps,
        "step_size": numbers[chosen.method],
        "prior": solver.prior.name,
        "damage": solver.damage.describe(),
        "seeds": outcome.seeds,
        "residuals": outcome.residuals,
        "calls": outcome.calls,
        "gradient_calls": outcome.gradient_calls,
        "tiles": outcome.tiles,
    }
