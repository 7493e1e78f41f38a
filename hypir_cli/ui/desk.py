"""What one browser works on, kept on this side so that a reload or a second tab finds it again."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hypir_cli.errors import InputError
from hypir_cli.ui.access import Access
from hypir_cli.ui.controls import settings
from hypir_cli.ui.engines import EngineCache
from hypir_cli.ui.gallery import (
    FolderRun,
    comparison_rows,
    read_report,
    report_pairs,
    run_folder_task,
)
from hypir_cli.ui.photo import Order, preview_place, restore_photo, thumbnail
from hypir_cli.ui.shelf import Shelf, Shown
from hypir_cli.ui.worker import Task, Worker


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What all desks share."""

    access: Access
    """Folders that may be touched."""
    folder: Path
    """Temporary folder for results of single photographs and for pages."""
    shelf: Shelf
    """Addresses of files."""
    worker: Worker
    """Does the work."""
    engines: EngineCache
    """Loaded models."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something a desk has asked for."""

    task: Task
    """How far it is."""
    run: FolderRun | None = None
    """What became of its images, where it is a folder."""


class Desk:
    """One browser's work.

    Args:
        studio: What all desks share.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self.photo: Path | None = None
        self.source = ""
        self.picture: Image.Image | None = None
        self.size: tuple[int, int] = (0, 0)
        self.shown: Shown | None = None
        self._works: list[Work] = []
        self._changes = 0

    @property
    def current(self) -> Work | None:
        """What is being done or comes first; the last that has ended where nothing is left."""
        if open_works := self._open_works():
            return open_works[0]
        return self._works[-1] if self._works else None

    @property
    def waiting(self) -> list[Work]:
        """What comes after the current work."""
        return self._open_works()[1:]

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever the page has something new to show."""
        return self._changes, sum(work.task.version for work in self._works)

    def take(self, path: Path, *, source: str) -> None:
        """Lay a photograph on the desk.

        Args:
            path: Where it is.
            source: What the user calls it: its path, or the name of what was dropped.

        Raises:
            InputError: It cannot be read.
        """
        self.picture, self.size = thumbnail(path)
        self.photo, self.source, self.shown = path, source, None
        self._works = self._open_works()
        self._changes += 1

    def cancel(self) -> None:
        """Stop the current work; what waits goes on."""
        work = self.current
        if work is not None:
            work.task.cancel()

    def cancel_waiting(self) -> None:
        """Take back what has not begun."""
        for work in self._open_works():
            if work.task.state == "waiting":
                work.task.cancel()

    def restore(self, preset: str, values: Mapping[str, Any]) -> Task:
        """Begin to restore the photograph.

        Raises:
            InputError: There is none, or other work is not done.
            ConfigError: A setting is out of range.
        """
        order = self._order(preset, values)

        def work(task: Task) -> None:
            self._show(restore_photo(task, order))

        return self._begin(Task(title=f"Restoring {order.path.name}", run=work))

    def preview(self, place: tuple[float, float], preset: str, values: Mapping[str, Any]) -> Task:
        """Begin to restore one place of the photograph, (x, y) in 0..1.

        Raises:
            InputError: There is none, or other work is not done.
            ConfigError: A setting is out of range.
        """
        order = self._order(preset, values)

        def work(task: Task) -> None:
            self._show(preview_place(task, order, place=place))

        return self._begin(Task(title=f"Trying a place of {order.path.name}", run=work))

    def restore_folder(
        self, source: Path, target: Path, preset: str, values: Mapping[str, Any]
    ) -> Task:
        """Begin to restore a folder, after what is not done yet.

        Raises:
            InputError: The same folder is in the queue already.
            ConfigError: A setting is out of range.
        """
        config = settings(preset, values)
        run = FolderRun(source=source, target=target)
        studio = self._studio
        if any(
            work.run is not None and (work.run.source, work.run.target) == (source, target)
            for work in self._open_works()
        ):
            raise InputError(
                f"{source} is being restored into {target} already.", hint="wait, or cancel it"
            )

        def work(task: Task) -> None:
            try:
                run_folder_task(
                    task,
                    run,
                    config=config,
                    engines=studio.engines,
                    permits=studio.access.allows,
                )
            finally:
                self._show_pairs(run.pairs, title=str(target))

        return self._submit(Work(task=Task(title=f"Restoring {source}", run=work), run=run))

    def look_at(self, report: Path) -> None:
        """Show the results of an earlier run whose files this page may read.

        Raises:
            InputError: The file is no report, or nothing of it is there any more.
        """
        pairs = report_pairs(read_report(report))
        access = self._studio.access
        allowed = [pair for pair in pairs if all(map(access.allows, (pair[0], *pair[1])))]
        if not comparison_rows(allowed, most=1):
            raise InputError(f"none of the pictures of {report} is there any more.")
        self._show_pairs(allowed, title=report.stem)

    def _show_pairs(self, pairs: list[tuple[Path, tuple[Path, ...]]], *, title: str) -> None:
        rows = comparison_rows(pairs)
        if rows:
            several = any(len(row.after) > 1 for row in rows)
            address = self._studio.shelf.comparison(rows, title=title, side_by_side=several)
            self._show(Shown(title=title, address=address))

    def _order(self, preset: str, values: Mapping[str, Any]) -> Order:
        if self.photo is None:
            raise InputError("there is no photograph yet.", hint="drop one, or type its path")
        return Order(
            path=self.photo,
            config=settings(preset, values),
            engines=self._studio.engines,
            shelf=self._studio.shelf,
            folder=self._studio.folder / secrets.token_hex(8),
        )

    def _begin(self, task: Task) -> Task:
        """Start work on the photograph, unless something is not done."""
        if open_works := self._open_works():
            title = open_works[0].task.title
            raise InputError(f"{title} is not done yet.", hint="cancel it, or wait")
        return self._submit(Work(task=task))

    def _submit(self, work: Work) -> Task:
        self._works.append(work)
        self._changes += 1
        return self._studio.worker.submit(work.task)

    def _open_works(self) -> list[Work]:
        return [work for work in self._works if work.task.is_open]

    def _show(self, shown: Shown) -> None:
        self.shown = shown
        self._changes += 1


class Desks:
    """Every browser's desk, by a name that cannot be guessed.

    Args:
        studio: What all desks share.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Desk | None:
        """The desk of that name."""
        return self._desks.get(name)

    def open(self, name: str) -> tuple[str, Desk]:
        """The desk of that name, or a new one under a new name."""
        with self._lock:
            if name not in self._desks:
                name = secrets.token_urlsafe(18)
                self._desks[name] = Desk(self._studio)
            return name, self._desks[name]
