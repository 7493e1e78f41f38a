"""`hypir solve` as one call: find the pictures, load the prior once, solve each, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hypir_cli.config.schema import to_dict
from hypir_cli.config.solve import SolveConfig
from hypir_cli.folder import Event, FolderReport, Job, Restored, Shard, run_folder, scan_inputs
from hypir_cli.folder.report import check_report_place
from hypir_cli.images import ImageData, is_lossless
from hypir_cli.solvers.damage import Damage
from hypir_cli.solvers.masks import find_mask, read_lost
from hypir_cli.solvers.prior_loading import load_prior, prior_kind
from hypir_cli.solvers.recipes import recipe
from hypir_cli.solvers.samplers.measurement import Progress, silent
from hypir_cli.solvers.simulate import Simulated, Simulator
from hypir_cli.solvers.solver import Lost, Outcome, Solver

logger = logging.getLogger(__name__)


def solve_folder(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    config: SolveConfig,
    shard: Shard | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    on_steps: Progress = silent,
    on_ready: Callable[[Solver], None] = lambda solver: None,
) -> FolderReport:
    """Solve files, folders and patterns into a file or folder.

    Args:
        inputs: Measured (damaged) pictures.
        output: Where results go.
        config: All settings.
        shard: The part of the list this process takes; None is all.
        dry_run: Only say what would be done; loads no model.
        on_event: Told of every picture that is started, done, skipped or failed.
        on_steps: Told (steps done, steps in all) of the picture at work.
        on_ready: Gets the solver once its prior is loaded, before the first picture.

    Returns:
        What became of each picture; failed ones are in it, not raised.

    Raises:
        HypirError: Nothing to solve, settings that do not fit together, or a prior that cannot be loaded.
    """
    check_report_place(config.output.report, shard)
    jobs = find_jobs(inputs, output, config=config)
    run = _runner(jobs, config=config, shard=shard)
    damage = Damage(config.damage)
    plan = run(_never, dry_run=True)
    if dry_run or not plan.count("planned"):
        return run(_never, dry_run=dry_run, report_path=config.output.report, on_event=on_event)
    if config.damage.task == "inpaint":
        _warn_of_loss(jobs)
    solver = load_solver(config)
    on_ready(solver)

    def solve_one(image: ImageData, job: Job) -> Restored:
        lost = lost_pixels(damage, image, job)
        outcome = solver.solve(image, lost=lost, on_steps=on_steps)
        return Restored(samples=outcome.samples, details=_details(solver, outcome))

    return run(solve_one, report_path=config.output.report, on_event=on_event)


def simulate_folder(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    config: SolveConfig,
    clean_dir: Path | None = None,
    shard: Shard | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> FolderReport:
    """Make measurements of clean photographs by the same operators that `solve_folder` undoes.

    Args:
        inputs: Clean photographs.
        output: Where their measurements go.
        config: All settings; the damage and the noise count.
        clean_dir: Folder for the photographs as they were measured (cut to a multiple of the factor); None writes none.
        shard: The part of the list this process takes; None is all.
        dry_run: Only say what would be done.
        on_event: Told of every photograph that is started, done, skipped or failed.

    Raises:
        HypirError: Nothing to measure, or settings that do not fit together.
    """
    check_report_place(config.output.report, shard)
    one = replace(config, sampling=replace(config.sampling, samples=1))
    run = _runner(find_jobs(inputs, output, config=one), config=one, shard=shard)
    simulator = Simulator(Damage(config.damage), noise=config.sampling.noise)

    def simulate_one(image: ImageData, job: Job) -> Restored:
        lost = lost_pixels(simulator.damage, image, job)
        made = simulator.measure(image, lost=lost)
        _warn_of_cut(image, made, job, factor=simulator.damage.factor)
        if clean_dir is not None:
            made.write_clean(clean_dir / job.relative_path.with_suffix(".png"))
        return Restored(samples=[made.pixels], details=made.details)

    return run(simulate_one, dry_run=dry_run, report_path=config.output.report, on_event=on_event)


def find_jobs(
    inputs: Sequence[str | Path], output: str | Path, *, config: SolveConfig
) -> list[Job]:
    """The pictures meant by the inputs, and where their results go.

    Where only lost pixels are replaced, results are written in a format that keeps the others as they are.

    Raises:
        HypirError: Nothing found, or an output that does not fit.
    """
    return scan_inputs(
        inputs,
        output,
        format=config.output.format,
        suffix=config.output.suffix,
        num_samples=config.sampling.samples,
        lossless=config.damage.task == "inpaint",
    )


def load_solver(config: SolveConfig) -> Solver:
    """A solver with its prior loaded and placed.

    Raises:
        HypirError: Settings that do not fit together, or a prior that cannot be found or read.
    """
    chosen = recipe(config.sampling, config.damage, prior=prior_kind(config.prior))
    return Solver(load_prior(config.prior, config.runtime, method=chosen.method), config=config)


def lost_pixels(damage: Damage, image: ImageData, job: Job) -> Lost | None:
    """Where an image is lost, by its mask file; None where the settings need no such file.

    Raises:
        InputError: There is none for it, or it does not fit.
    """
    if not damage.needs_mask_file:
        return None
    assert damage.config.mask is not None
    path = find_mask(damage.config.mask, job.relative_path)
    return read_lost(path, height=image.height, width=image.width)


def _runner(
    jobs: Sequence[Job], *, config: SolveConfig, shard: Shard | None
) -> Callable[..., FolderReport]:
    """The folder run with everything set but what is done to each picture."""
    factor = Damage(config.damage).factor
    return partial(
        run_folder,
        jobs,
        existing=config.output.existing,
        quality=config.output.quality,
        keep_metadata=config.output.metadata == "keep",
        compare=config.output.compare == "side",
        num_jobs=config.runtime.jobs,
        shard=shard,
        settings=to_dict(config),
        output_pixels=lambda height, width: height * width * factor**2 * config.sampling.samples,
    )


def _warn_of_loss(jobs: Sequence[Job]) -> None:
    """A file name or format that the user chose may be one that changes every pixel."""
    lossy = [path for job in jobs for path in job.output_paths if not is_lossless(path.suffix)]
    if lossy:
        logger.warning(
            "%s loses a little everywhere; what is not lost stays bit for bit only in PNG and TIFF",
            lossy[0].name,
        )


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


def _never(image: ImageData, job: Job) -> Restored:
    """Stands where no picture is solved: a dry run, or a folder that is done."""
    raise AssertionError(f"{job.input_path} was not to be solved")


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
