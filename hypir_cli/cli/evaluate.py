"""`hypir eval`: score restored images, compare methods, write reports and rating pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hypir_cli.cli import console
from hypir_cli.cli.options import Assignments, ConfigFile, build, from_settings
from hypir_cli.config.evaluate import PROTOCOLS, EvaluateConfig, protocol_values
from hypir_cli.config.schema import load_yaml
from hypir_cli.errors import ConfigError

if TYPE_CHECKING:
    from hypir_cli.evaluate.ratings import RatingSummary
    from hypir_cli.evaluate.report.tables import Cell
    from hypir_cli.evaluate.results import Evaluation
    from hypir_cli.evaluate.run import Folders

_OUTPUT = "Reports"
_PEOPLE = "Ratings by people"
_MOST_PROBLEMS = 20
"""Problems that are printed one by one."""


@from_settings(EvaluateConfig)
def evaluate(
    restored: Annotated[
        str | None,
        typer.Argument(
            metavar="RESTORED", help="Folder of restored images, or one image; also by URL."
        ),
    ] = None,
    gt: Annotated[
        str | None, typer.Option("--gt", metavar="DIR", help="Clean images, same tree.")
    ] = None,
    lq: Annotated[
        str | None,
        typer.Option("--lq", metavar="DIR", help="The restoration's inputs, same tree."),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare", metavar="NAME=FOLDER", help="Another method's results; repeatable."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What tables call RESTORED.")] = "restored",
    *,
    flags: Mapping[str, Any],
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            help="File to write: .json, .csv, .md, .tex or .html; repeatable. With --ratings, of the ratings.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    latex: Annotated[
        bool,
        typer.Option(
            "--latex", help="Print the table of means in LaTeX (booktabs).", rich_help_panel=_OUTPUT
        ),
    ] = False,
    restore_report: Annotated[
        list[str] | None,
        typer.Option(
            "--restore-report",
            metavar="[NAME=]FILE.json",
            help="Report of the restore run, for time and memory; repeatable.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    ratings: Annotated[
        list[Path] | None,
        typer.Option(
            "--ratings", help="Summarise what raters saved; repeatable.", rich_help_panel=_PEOPLE
        ),
    ] = None,
    study_key: Annotated[
        Path | None,
        typer.Option(
            "--study-key",
            help="The study's key.json; default: beside the ratings.",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    list_metrics: Annotated[
        bool,
        typer.Option(
            "--list-metrics",
            help="Show every metric and every protocol and stop.",
            rich_help_panel="Measuring",
        ),
    ] = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Score restored images against clean ones, inputs or nothing, with intervals; compare methods; write reports."""
    if list_metrics:
        _list_metrics()
        return
    settings = _settings(flags, config=config, assignments=assignments)
    if ratings:
        _summarise(ratings, study_key, settings, reports=report or [], latex=latex)
        return
    if restored is None:
        raise typer.BadParameter("RESTORED is needed.")
    from hypir_cli.evaluate.run import Folders
    from hypir_cli.folder.copies import local_copies

    named = {name: restored, **_named(compare or [], taken=name)}
    with local_copies() as copies:
        folders = Folders(
            methods={label: Path(copies.path(text)) for label, text in named.items()},
            gt=Path(copies.path(gt)) if gt else None,
            lq=Path(copies.path(lq)) if lq else None,
            restore_reports=_reports(restore_report or [], name),
        )
        _run(folders, settings, reports=report or [], latex=latex)


def _settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None,
    assignments: list[str] | None,
) -> EvaluateConfig:
    """Settings, with the protocol named by the flag or by the settings file underneath."""
    named = str(load_yaml(config).get("protocol", "")) if config else ""
    chosen = flags.get("protocol") or named
    preset = (f"protocol {chosen}", protocol_values(chosen)) if chosen else None
    return build(EvaluateConfig, flags, config=config, assignments=assignments, preset=preset)


def _named(items: list[str], *, taken: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in items:
        label, sign, folder = item.partition("=")
        if not sign or not label or not folder:
            raise ConfigError(f"--compare takes NAME=FOLDER, got {item!r}.")
        if label in found or label == taken:
            raise ConfigError(
                f"two methods are called {label!r}.", hint="--name NAME renames RESTORED"
            )
        found[label] = folder
    return found


def _reports(items: list[str], name: str) -> dict[str, Path]:
    """Method -> restore report; without a name it is RESTORED's."""
    found = {}
    for item in items:
        label, sign, path = item.partition("=")
        found[label if sign else name] = Path(path if sign else item)
    return found


def _list_metrics() -> None:
    """Own metrics with a line each, pyiqa's by what they compare with, and what the protocols take."""
    from hypir_cli.evaluate.registry import all_metrics
    from hypir_cli.evaluate.report.tables import heading

    every = all_metrics()
    own = [info for info in every if info.provider.startswith("hypir")]
    width = max(len(heading(info)) for info in own)
    console.say("Without download (stlpips-vgg: with the extra eval or train):")
    for info in own:
        needs = f" (needs --{info.needs})" if info.needs else ""
        console.say(f"  {heading(info):<{width}}  {info.about}{needs}")
    others = [info for info in every if info not in own]
    for title, found in (
        ("without reference", [item for item in others if not item.needs and item.per_image]),
        ("compared with --gt", [item for item in others if item.needs and item.per_image]),
        ("of whole folders", [item for item in others if not item.per_image]),
    ):
        if found:
            console.say(f"{found[0].provider}, {title}; weights are downloaded once:")
            console.out.print(
                Padding(
                    ", ".join(heading(item).replace(" ", "\u00a0") for item in found), (0, 0, 0, 2)
                )
            )
    if not others:
        console.say("More with pyiqa: pip install 'hypir[eval]' (for non-commercial use)")
    for name in PROTOCOLS:
        console.say(f"--protocol {name}: {', '.join(protocol_values(name)['metrics'])}")


def _run(folders: Folders, settings: EvaluateConfig, *, reports: list[Path], latex: bool) -> None:
    from hypir_cli.evaluate.report import (
        check_report_path,
        check_study_place,
        write_report,
        write_study,
    )
    from hypir_cli.evaluate.run import evaluate as measure

    for path in reports:
        check_report_path(path)
    if settings.study.folder is not None:
        check_study_place(settings.study.folder)
    with console.err.status("measuring") as status:
        found = measure(
            folders,
            settings,
            on_progress=lambda done, total: status.update(f"measuring: {done} of {total} images"),
        )
    _print(found, latex=latex)
    for path in reports:
        write_report(path, found, images=settings.images)
        console.say(f"Report: {path}")
    if settings.study.folder is not None:
        page = write_study(settings.study.folder, found.pairing, settings.study)
        console.say(f"Rating page: {page}")
    if found.problems:
        raise typer.Exit(1)


def _print(found: Evaluation, *, latex: bool) -> None:
    from hypir_cli.evaluate.report.tables import conditions, to_latex

    if latex:
        typer.echo(to_latex(found), nl=False)
    else:
        _print_means(found)
        console.say(conditions(found))
    for problem in found.problems[:_MOST_PROBLEMS]:
        console.print_warning(f"{problem.what} {problem.hint}".rstrip())
    if len(found.problems) > _MOST_PROBLEMS:
        more = len(found.problems) - _MOST_PROBLEMS
        console.print_warning(f"{more} more like these (a report has all)")


def _print_means(found: Evaluation) -> None:
    """Metrics as rows: terminals are narrow, and methods are few."""
    from hypir_cli.evaluate.report.tables import (
        baseline_cells,
        baseline_label,
        cell,
        mean_heading,
        speed_cells,
    )

    table = Table()
    table.add_column("metric")
    for method in found.methods:
        table.add_column(escape(method), justify="right")
    below: list[list[Cell]] = [[] for _ in found.metrics]
    if found.baseline is not None:
        table.add_column(escape(baseline_label(found)), justify="right")
        below = [[item] for item in baseline_cells(found)]
    for info, more in zip(found.metrics, below, strict=True):
        cells = [cell(found, method, info) for method in found.methods]
        table.add_row(mean_heading(info), *map(_figure, [*cells, *more]))
    if found.speed:
        rows = zip(*(speed_cells(found.speed.get(method)) for method in found.methods), strict=True)
        for label, row in zip(("seconds / image", "peak GB"), rows, strict=True):
            table.add_row(label, *row)
    console.out.print(table)
    if _plain() and len(found.methods) > 1:
        console.out.print("* best")


def _plain() -> bool:
    """Whether colours would not be seen: the table goes into a file or another program, or a terminal without them."""
    return not console.out.is_terminal or console.out.color_system is None


def _figure(item: Cell) -> Text:
    """A figure with its interval; the best is marked in a way that is seen."""
    styles = {"best": "bold green", "second": "underline", "": ""}
    mark = "*" if item.mark == "best" and _plain() else ""
    return Text.assemble((f"{item.mean}{mark}", styles[item.mark]), "\n", item.interval)


def _summarise(
    files: list[Path],
    key: Path | None,
    settings: EvaluateConfig,
    *,
    reports: list[Path],
    latex: bool,
) -> None:
    from hypir_cli.evaluate.ratings import summarise_ratings
    from hypir_cli.evaluate.report import check_report_path
    from hypir_cli.evaluate.report.rated import ratings_latex, write_ratings

    for path in reports:
        check_report_path(path)
    found = summarise_ratings(files, key=key, bootstrap=settings.bootstrap)
    if latex:
        typer.echo(ratings_latex(found), nl=False)
    else:
        _print_ratings(found)
    for path in reports:
        write_ratings(path, found)
        console.say(f"Report: {path}")


def _print_ratings(summary: RatingSummary) -> None:
    from hypir_cli.evaluate.report.tables import interval_text, number

    table = Table(title=f"{summary.num_raters} raters, 0 to 10")
    for head in ("method", "mean rating", "pairs won", "ratings"):
        table.add_column(head, justify="left" if head == "method" else "right")
    for item in summary.methods:
        table.add_row(
            escape(item.method),
            f"{number(item.rating.mean)}\n{interval_text(item.rating)}",
            f"{item.wins.mean:.0%}",
            str(item.num_ratings),
        )
    console.out.print(table)
