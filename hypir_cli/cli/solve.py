"""`hypir solve`: undo damage that is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, build, given, option
from hypir_cli.cli.sharding import chosen_shard
from hypir_cli.config.solve import MethodChoice, SolveConfig, Task

if TYPE_CHECKING:
    from hypir_cli.folder import FolderReport

_RUN = "What to do"


def _option(dotted: str, *flags: str, panel: str, metavar: str = "") -> Any:
    return option(SolveConfig, dotted, *flags, panel=panel, metavar=metavar)


def solve(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help="Files, folders or patterns to solve; last, the file or folder for results.",
            show_default=False,
        ),
    ],
    damage__task: Annotated[Task | None, _option("damage.task", "--task", panel="Damage")] = None,
    damage__factor: Annotated[
        int | None, _option("damage.factor", "--factor", panel="Damage")
    ] = None,
    damage__sigma: Annotated[
        float | None, _option("damage.sigma", "--sigma", panel="Damage", metavar="PX")
    ] = None,
    damage__kernel: Annotated[
        Path | None, _option("damage.kernel", "--kernel", panel="Damage", metavar="FILE")
    ] = None,
    damage__kernel_size: Annotated[
        int | None, _option("damage.kernel_size", "--kernel-size", panel="Damage", metavar="PX")
    ] = None,
    damage__length: Annotated[
        float | None, _option("damage.length", "--length", panel="Damage", metavar="PX")
    ] = None,
    damage__angle: Annotated[
        float | None, _option("damage.angle", "--angle", panel="Damage", metavar="DEGREES")
    ] = None,
    damage__intensity: Annotated[
        float | None, _option("damage.intensity", "--intensity", panel="Damage")
    ] = None,
    damage__mask: Annotated[
        Path | None, _option("damage.mask", "--mask", panel="Damage", metavar="FILE_OR_DIR")
    ] = None,
    damage__drop: Annotated[
        float | None, _option("damage.drop", "--drop", panel="Damage", metavar="SHARE")
    ] = None,
    damage__box: Annotated[
        int | None, _option("damage.box", "--box", panel="Damage", metavar="PX")
    ] = None,
    damage__jpeg_quality: Annotated[
        int | None, _option("damage.jpeg_quality", "--jpeg-quality", panel="Damage")
    ] = None,
    damage__seed: Annotated[
        int | None, _option("damage.seed", "--damage-seed", panel="Damage")
    ] = None,
    sampling__noise: Annotated[
        float | None, _option("sampling.noise", "--noise", panel="Damage")
    ] = None,
    sampling__method: Annotated[
        MethodChoice | None, _option("sampling.method", "--method", panel="Method")
    ] = None,
    sampling__steps: Annotated[
        int | None, _option("sampling.steps", "--steps", panel="Method")
    ] = None,
    sampling__seed: Annotated[
        int | None, _option("sampling.seed", "--seed", panel="Method")
    ] = None,
    sampling__samples: Annotated[
        int | None, _option("sampling.samples", "--samples", panel="Method")
    ] = None,
    sampling__dps__scale: Annotated[
        float | None, _option("sampling.dps.scale", "--scale", panel="Method")
    ] = None,
    sampling__spgd__lr: Annotated[
        float | None, _option("sampling.spgd.lr", "--lr", panel="Method")
    ] = None,
    sampling__spgd__warmup: Annotated[
        int | None, _option("sampling.spgd.warmup", "--warmup", panel="Method")
    ] = None,
    sampling__spgd__momentum: Annotated[
        float | None, _option("sampling.spgd.momentum", "--momentum", panel="Method")
    ] = None,
    sampling__spgd__stop: Annotated[
        bool | None, _option("sampling.spgd.stop", "--stop/--no-stop", panel="Method")
    ] = None,
    sampling__latino__start: Annotated[
        float | None, _option("sampling.latino.start", "--start", panel="Method")
    ] = None,
    prior__backbone: Annotated[
        str | None, _option("prior.backbone", "--backbone", panel="Prior")
    ] = None,
    prior__base: Annotated[
        str | None, _option("prior.base", "--base", panel="Prior", metavar="PATH_OR_HUB_ID")
    ] = None,
    prior__revision: Annotated[
        str | None, _option("prior.revision", "--revision", panel="Prior")
    ] = None,
    prior__pixel: Annotated[
        Path | None, _option("prior.pixel", "--pixel-prior", panel="Prior", metavar="DIR")
    ] = None,
    prior__prompt: Annotated[
        str | None, _option("prior.prompt", "--prompt", panel="Prior", metavar="TEXT")
    ] = None,
    tiles__size: Annotated[
        int | None, _option("tiles.size", "--tile", panel="Tiles", metavar="PX")
    ] = None,
    tiles__overlap: Annotated[
        int | None, _option("tiles.overlap", "--overlap", panel="Tiles", metavar="PX")
    ] = None,
    runtime__device: Annotated[
        str | None, _option("runtime.device", "--device", panel="Runtime")
    ] = None,
    runtime__dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        _option("runtime.dtype", "--dtype", panel="Runtime"),
    ] = None,
    runtime__offload: Annotated[
        Literal["none", "model", "sequential"] | None,
        _option("runtime.offload", "--offload", panel="Runtime"),
    ] = None,
    runtime__jobs: Annotated[int | None, _option("runtime.jobs", "--jobs", panel="Runtime")] = None,
    output__format: Annotated[
        Literal["same", "png", "jpg", "webp", "tiff", "avif"] | None,
        _option("output.format", "--format", panel="Output"),
    ] = None,
    output__quality: Annotated[
        int | None, _option("output.quality", "--quality", panel="Output")
    ] = None,
    output__suffix: Annotated[
        str | None, _option("output.suffix", "--suffix", panel="Output")
    ] = None,
    output__existing: Annotated[
        Literal["skip", "overwrite", "error"] | None,
        _option("output.existing", "--existing", panel="Output"),
    ] = None,
    output__metadata: Annotated[
        Literal["keep", "strip"] | None, _option("output.metadata", "--metadata", panel="Output")
    ] = None,
    output__compare: Annotated[
        Literal["side", "none"] | None, _option("output.compare", "--compare", panel="Output")
    ] = None,
    output__report: Annotated[
        Path | None, _option("output.report", "--report", panel="Output", metavar="FILE.json")
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Make measurements of clean photographs instead: damage and noise as told.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    clean_dir: Annotated[
        Path | None,
        typer.Option(
            "--clean-dir",
            metavar="DIR",
            help="With --simulate: also write the photographs as measured (cut to a multiple of --factor).",
            rich_help_panel=_RUN,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Only say which damage, method, calls, memory and time are to be expected.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list what would be done.", rich_help_panel=_RUN),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel="Output")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Take part I of N of the list; launchers (torchrun, accelerate, srun) set it themselves.",
            rich_help_panel="Many machines",
        ),
    ] = None,
    config: ConfigFile = None,
    set_: Assignments = None,
) -> None:
    """Undo damage that is known, so that the result agrees with what was measured: INPUT... OUTPUT."""
    flags = given({name: value for name, value in locals().items() if "__" in name})
    if len(paths) < 2:
        raise typer.BadParameter("give at least one INPUT and, last, the OUTPUT.")
    if clean_dir is not None and not simulate:
        raise typer.BadParameter("--clean-dir goes with --simulate.")
    settings = build(SolveConfig, flags, config=config, assignments=set_)
    if explain:
        _explain(paths[:-1], paths[-1], settings)
        return
    report = _run(
        paths[:-1],
        paths[-1],
        settings,
        shard=shard,
        dry_run=dry_run,
        quiet=as_json,
        simulate=simulate,
        clean_dir=clean_dir,
    )
    verb, done = ("measure", "measured") if simulate else ("solve", "solved")
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        console.print_folder_summary(report, dry_run=dry_run, verb=verb, done=done)
        _print_residuals(report)
    if report.failed:
        raise typer.Exit(1)


def _run(
    inputs: list[str],
    output: str,
    settings: SolveConfig,
    *,
    shard: str | None,
    dry_run: bool,
    quiet: bool,
    simulate: bool,
    clean_dir: Path | None,
) -> FolderReport:
    from hypir_cli.cli.progress import FolderProgress, console_logging

    console_logging()
    from hypir_cli.models.allocator import keep_freed_memory
    from hypir_cli.solvers.folder import simulate_folder, solve_folder

    keep_freed_memory()
    part = chosen_shard(shard, quiet=quiet)
    with FolderProgress(quiet=quiet, first=part.index == 0) as progress:
        if simulate:
            return simulate_folder(
                inputs,
                output,
                config=settings,
                clean_dir=clean_dir,
                shard=part,
                dry_run=dry_run,
                on_event=progress.on_event,
            )
        return solve_folder(
            inputs,
            output,
            config=settings,
            shard=part,
            dry_run=dry_run,
            on_event=progress.on_event,
            on_steps=progress.on_steps,
            on_ready=progress.on_solver,
        )


def _explain(inputs: list[str], output: str, settings: SolveConfig) -> None:
    from hypir_cli.cli.progress import console_logging

    console_logging()
    from hypir_cli.solvers.explain import explain
    from hypir_cli.solvers.folder import find_jobs

    for line in explain(find_jobs(inputs, output, config=settings), settings).lines:
        console.out.print(line, markup=False, soft_wrap=True)


def _print_residuals(report: FolderReport) -> None:
    """How well the results explain what was measured."""
    found = [
        float(value)
        for record in report.records
        for value in _residuals(record.details.get("residuals"))
    ]
    if found:
        mean = sum(found) / len(found)
        console.out.print(
            f"Residual {mean:.2f} ({min(found):.2f} to {max(found):.2f}); near 1, a result explains "
            "the measurement as well as the noise allows.",
            markup=False,
            soft_wrap=True,
        )


def _residuals(value: object) -> list[float]:
    return value if isinstance(value, list) else []
