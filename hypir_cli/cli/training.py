"""What the two training commands share: their options, the progress display, and what is printed at the end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich import progress as bars

from hypir_cli.cli import completion, console
from hypir_cli.cli.messages import quiet_followers
from hypir_cli.cli.options import Assignments
from hypir_cli.config import schema
from hypir_cli.config.families import BUILT_IN
from hypir_cli.config.launcher import process_number
from hypir_cli.config.train import Command, RunConfig, template_yaml, train_config

if TYPE_CHECKING:
    from hypir_cli.train.report import Observer, RunOutcome, StepReport

T = TypeVar("T", bound=RunConfig)
_BAR_WIDTH = 10
_SHOWN = (
    ("loss/pixel", "pixel"),
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
        autocompletion=completion.checkpoints,
        help="Go on from the newest checkpoint of the run (auto), or from a checkpoint or run folder.",
    ),
]
OutputDir = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run.")]
PrintConfig = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        autocompletion=completion.training_presets,
        help=f"Print all settings of a preset with comments and stop: {', '.join(BUILT_IN)}.",
    ),
]


def training_command(cls: type[RunConfig], command: Command, *, about: str) -> Callable[..., None]:
    """A training command: its options, and one call of `train.runs`.

    Args:
        cls: Its settings.
        command: Section of the presets that applies, and end of the runner's name in `train.runs`.
        about: Its help.
    """

    def train(
        config: ConfigArgument = None,
        set_: Assignments = None,
        resume: Resume = None,
        output_dir: OutputDir = None,
        print_config: PrintConfig = None,
    ) -> None:
        if print_config is not None:
            typer.echo(template_yaml(cls, print_config, command=command), nl=False)
            return
        settings = _settings(cls, config, assignments=set_, output_dir=output_dir, command=command)

        def start(observer: Observer) -> RunOutcome:
            from hypir_cli.train import runs

            run: Any = {"encoder": runs.train_encoder, "gan": runs.train_gan}[command]
            outcome: RunOutcome = run(settings, resume=resume, observer=observer)
            return outcome

        show_run(settings, start)

    train.__doc__ = about
    return train


def _settings(
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
    console.say(
        f"{outcome.step} of {config.schedule.total_steps} steps, {outcome.skipped} skipped"
        f"{', ' + scores if scores else ''}; {outcome.result}"
    )
    if outcome.interrupted:
        console.err.print("Interrupted and saved; go on with --resume auto.")
        raise typer.Exit(console.INTERRUPTED)


class TrainingProgress:
    """A live bar on a terminal, a line for each line of the log elsewhere; silent on all but the main process."""

    def __init__(self) -> None:
        self.spoke = False
        self._live = console.on_terminal()
        self._total = 0
        self._bar: bars.Progress | None = None
        self._task: bars.TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        # Broken files are reported through the observer, once.
        logging.getLogger("hypir_cli.train.data.dataset").setLevel(logging.ERROR)
        quiet_followers(process_number(os.environ))
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def observer(self) -> Observer:
        """What the training loop calls."""
        from hypir_cli.train.report import Observer

        return Observer(
            on_step=self._step,
            on_log=self._log,
            on_scores=self._scores,
            on_message=self._message,
        )

    def _message(self, text: str) -> None:
        self.spoke = True
        console.note(text)

    def _scores(self, step: int, scores: Mapping[str, float]) -> None:
        for prefix, what in (("lq/", "the degraded images"), ("val/", f"validation at {step}")):
            named = {
                name.removeprefix(prefix): value
                for name, value in scores.items()
                if name.startswith(prefix)
            }
            if named:
                self._message(f"{what}: {', '.join(f'{k} {v:.4g}' for k, v in named.items())}")

    def _log(self, step: int, means: Mapping[str, float]) -> None:
        if not self._live:
            self._message("  ".join([f"{step}/{self._total}", *_shown(means)]))

    def _step(self, report: StepReport) -> None:
        self.spoke = True
        self._total = report.total_steps
        if not self._live:
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("train", total=report.total_steps, scalars="")
            self._bar.start()
        assert self._task is not None
        text = fitting(_shown(report.scalars), width=_room(report.total_steps))
        self._bar.update(self._task, completed=report.step, scalars=text)


def _shown(scalars: Mapping[str, float]) -> list[str]:
    """Numbers with their labels, the losses first."""
    return [f"{label} {scalars[name]:.3g}" for name, label in _SHOWN if name in scalars]


def fitting(parts: Sequence[str], *, width: int) -> str:
    """As many of the parts, from the first one on, as fit whole into `width` columns."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def _room(total_steps: int) -> int:
    """Columns that bar, count and remaining time leave."""
    return console.err.width - _BAR_WIDTH - (2 * len(str(total_steps)) + 1) - len("0:00:00") - 3


def _bar() -> bars.Progress:
    columns: list[Any] = [
        bars.BarColumn(bar_width=_BAR_WIDTH),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[scalars]}", markup=False),
    ]
    return bars.Progress(*columns, console=console.err)
