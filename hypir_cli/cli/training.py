"""What the two training commands share: their options, the progress display, and what is printed at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from hypir_cli.cli import console
from hypir_cli.config import schema
from hypir_cli.config.families import BUILT_IN
from hypir_cli.config.train import Command, RunConfig, template_yaml, train_config

if TYPE_CHECKING:
    from hypir_cli.train.report import Observer, RunOutcome, StepReport

T = TypeVar("T", bound=RunConfig)
_PLAIN_EVERY = 50
_SHOWN = (
    ("loss/pixel", "mse"),
    ("loss/perceptual", "perc"),
    ("loss/adversarial", "adv"),
    ("loss/encoder", "loss"),
    ("psnr/clean", "clean dB"),
    ("loss/discriminator", "D"),
    ("logits/real", "real"),
    ("logits/fake", "fake"),
    ("lr/model", "lr"),
    ("images_per_second", "img/s"),
    ("memory_gb", "GB"),
)

ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.yaml", help="Settings; --set beats them.")
]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="auto|PATH",
        help="Go on from the newest checkpoint of the run (auto), or from a checkpoint or run folder.",
    ),
]
OutputDir = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run.")]
PrintConfig = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help=f"Print all settings of a preset with comments and stop: {', '.join(BUILT_IN)}.",
    ),
]


def show_config(cls: type[RunConfig], preset: str, *, command: Command) -> None:
    """Print a complete, commented settings file."""
    typer.echo(template_yaml(cls, preset, command=command), nl=False)


def settings(
    cls: type[T],
    config: Path | None,
    *,
    assignments: list[str] | None,
    output_dir: Path | None,
    command: Command,
) -> T:
    """Settings by the order default, preset, file, `--set`, flag."""
    if config is None and not assignments:
        raise typer.BadParameter("CONFIG.yaml (or --set data.sources=...) is needed.")
    layers: list[schema.Layer] = []
    if config is not None:
        layers.append((str(config), schema.load_yaml(config)))
    if assignments:
        layers.append(("--set", schema.parse_assignments(assignments)))
    if output_dir is not None:
        layers.append(("--out", {"output_dir": output_dir}))
    return train_config(cls, layers, command=command)


def show_run(config: RunConfig, start: Callable[[Observer], RunOutcome]) -> None:
    """Run a training with its progress on the console.

    Raises:
        typer.Exit: With code 130 when a signal ended the run before its last update.
    """
    with TrainingProgress() as progress:
        outcome = start(progress.observer())
    if not progress.spoke:
        return
    scores = ", ".join(f"{name} {value:.4g}" for name, value in outcome.scores.items())
    console.out.print(
        f"{outcome.step} of {config.schedule.total_steps} steps, {outcome.skipped} skipped"
        f"{', ' + scores if scores else ''}; {outcome.result}",
        markup=False,
        soft_wrap=True,
    )
    if outcome.interrupted:
        console.err.print("Interrupted and saved; go on with --resume auto.")
        raise typer.Exit(console.INTERRUPTED)


class TrainingProgress:
    """A live bar on a terminal, a line now and then elsewhere; silent on all but the main process."""

    def __init__(self) -> None:
        self.spoke = False
        self._live = console.on_terminal()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        # Broken files are reported through the observer, once.
        logging.getLogger("hypir_cli.train.data.dataset").setLevel(logging.ERROR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def observer(self) -> Observer:
        """What the training loop calls."""
        from hypir_cli.train.report import Observer

        return Observer(on_step=self._step, on_message=self._message)

    def _message(self, text: str) -> None:
        self.spoke = True
        console.err.print(text, markup=False, soft_wrap=True)

    def _step(self, report: StepReport) -> None:
        self.spoke = True
        text = "  ".join(
            f"{label} {report.scalars[name]:.3g}"
            for name, label in _SHOWN
            if name in report.scalars
        )
        if not self._live:
            if report.step % _PLAIN_EVERY == 0 or report.step == 1:
                self._message(f"{report.step}/{report.total_steps}  {text}")
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("train", total=report.total_steps, scalars="")
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=report.step, scalars=text)


def _bar() -> Progress:
    columns: list[Any] = [
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scalars]}"),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=console.err)
