"""Progress of a folder run: a live bar with rates on a terminal, one plain line per image elsewhere."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.markup import escape

from hypir_cli.cli import console

if TYPE_CHECKING:
    from hypir_cli.folder import Event, Record
    from hypir_cli.folder.shard_state import ShardProgress
    from hypir_cli.restore.engine import Engine
    from hypir_cli.solvers.solver import Solver


class FolderProgress:
    """Shows what a folder run does; use it as a context manager.

    Args:
        quiet: Show nothing but failures and warnings.
        first: Whether this process is the first of those that share the work: it speaks for all of them where they would say
            the same.
        done: What an image is afterwards.
    """

    def __init__(self, *, quiet: bool, first: bool = True, done: str = "restored") -> None:
        self._quiet = quiet
        self._done = done
        self._first = first
        self._live = console.on_terminal() and not quiet
        self._bar: bars.Progress | None = None
        self._task: bars.TaskID | None = None
        self._start = time.perf_counter()
        self._computed = 0
        self._notes: dict[str, tuple[str, int]] = {}
        self._megapixels = 0.0
        self._finished = 0
        self._told: set[str] = set()

    def __enter__(self) -> FolderProgress:
        if self._live:
            self._bar = bars.Progress(
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rates]}"),
                bars.TimeRemainingColumn(),
                console=console.err,
            )
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        for note, more in self._notes.values():
            if more:
                console.print_warning(f"{more} more: {note} (the report of --report has each)")

    def on_ready(self, engine: Engine) -> None:
        """Say what restores, and which settings will not act."""
        for text in engine.warnings() if self._first else ():
            console.print_warning(text)
        backbone = engine.model.backbone
        if not self._quiet:
            from hypir_cli.models.device import dtype_name

            console.err.print(
                f"{backbone.traits.name} on {backbone.device}, {dtype_name(backbone.dtype)}, tiles up to "
                f"{engine.limits.largest} px",
                markup=False,
            )
            for choice in engine.model.int8:
                console.err.print(choice.sentence(), markup=False)
        self._start = time.perf_counter()

    def on_event(self, event: Event) -> None:
        """An image was started, done, skipped or failed."""
        record = event.record
        if event.kind == "done" and record is not None:
            self._computed += 1
            height, width = record.output_size or (0, 0)
            self._megapixels += height * width / 1e6
            for note in record.notes:
                self._say_once(note, record.input)
        if event.kind == "failed" and record is not None:
            self._told.add(record.input)
            self._print_failed(record)
        if self._bar is not None:
            self._advance(event)
        elif event.kind == "done" and record is not None and not self._quiet:
            seconds = sum(record.seconds.values())
            console.note(
                console.one_line(
                    f"[{event.finished}/{event.total}] {record.outputs[0]} {seconds:.1f} s"
                )
            )

    def _print_failed(self, record: Record) -> None:
        console.print_failed(record.input, record.reason, record.hint)
        if record.traceback and console.debugging():
            console.note(record.traceback)

    def on_shard(self, progress: ShardProgress) -> None:
        """A shard of a manifest has ended; a cluster's images are told of in no other way."""
        result = progress.result
        for record in result.failed:
            if record.input not in self._told:
                self._print_failed(record)
        self._told.clear()
        if self._quiet:
            return
        counts = f"{result.done} {self._done}, {result.skipped} already there, {len(result.failed)} failed"
        console.err.print(
            f"shard {result.index}: {counts} [{progress.finished}/{progress.total} shards]",
            markup=False,
        )

    def on_solver(self, solver: Solver) -> None:
        """Say what solves, and by which method."""
        if not self._quiet:
            prior, chosen = solver.prior, solver.recipe
            dtype = str(prior.dtype).removeprefix("torch.")
            console.err.print(
                f"{chosen.method}, {chosen.steps} levels, prior {prior.name} on {prior.device}, {dtype}",
                markup=False,
            )
        self._start = time.perf_counter()

    def on_steps(self, done: int, total: int) -> None:
        """Steps of the image at work; they move the bar and with it the time left."""
        if self._bar is not None and self._task is not None:
            share = done / max(total, 1)
            self._bar.update(
                self._task, completed=self._finished + share, rates=f"step {done}/{total}"
            )

    def _say_once(self, note: str, name: str) -> None:
        """Each kind of note by its first image; how many more had it, at the end."""
        kind = re.sub(r"\d[\d.e+-]*", "#", note)
        if kind not in self._notes:
            self._notes[kind] = (note, 0)
            console.print_warning(f"{name}: {note}")
        else:
            first, more = self._notes[kind]
            self._notes[kind] = (first, more + 1)

    def on_tiles(self, done: int, total: int) -> None:
        """Tiles of the image at work."""
        if self._bar is not None and self._task is not None and total > 1:
            self._bar.update(self._task, rates=f"tile {done}/{total} {self._rates()}")

    def _advance(self, event: Event) -> None:
        assert self._bar is not None
        self._finished = event.finished
        if self._task is None:
            self._task = self._bar.add_task("Restoring", total=event.total, rates="")
        self._bar.update(
            self._task,
            completed=event.finished,
            description=escape(console.one_line(event.job.input_path.name)),
            rates=self._rates(),
        )

    def _rates(self) -> str:
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return f"{self._computed / seconds:.2f} images/s {self._megapixels / seconds:.2f} MP/s"
