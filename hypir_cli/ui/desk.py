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
from hypir_cli.ui.photo import Shown, preview_place, restore_photo, thumbnail
from hypir_cli.ui.shelf import Shelf
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


class Desk:
    """One browser's work.

    Args:
        studio: What all desks share.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self.photo: Path | None = None
        self.picture: Image.Image | None = None
        self.size: tuple[int, int] = (0, 0)
        self.task: Task | None = None
        self.shown: Shown | None = None
        self.run: FolderRun | None = None
        self._changes = 0

    @property
    def version(self) -> tuple[int, int, int]:
        """Changes whenever the page has something new to show."""
        task = self.task
        return self._changes, 0 if task is None else id(task), 0 if task is None else task.version

    def take(self, path: Path) -> None:
        """Lay a photograph on the desk.

        Raises:
            InputError: It cannot be read.
        """
        self.picture, self.size = thumbnail(path)
        self.photo, self.shown, self.run = path, None, None
        self._changes += 1

    def restore(self, preset: str, values: Mapping[str, Any]) -> Task:
        """Begin to restore the photograph.

        Raises:
            InputError: There is none, or other work is not done.
            ConfigError: A setting is out of range.
        """
        photo, config = self._photo(), settings(preset, values)
        studio = self._studio
        folder = studio.folder / secrets.token_hex(8)

        def work(task: Task) -> None:
            self._show(
                restore_photo(
                    task,
                    photo,
                    config=config,
                    engines=studio.engines,
                    shelf=studio.shelf,
                    folder=folder,
                )
            )

        return self._begin(Task(title=f"Restoring {photo.name}", run=work))

    def preview(self, place: tuple[float, float], preset: str, values: Mapping[str, Any]) -> Task:
        """Begin to restore one place of the photograph, (x, y) in 0..1.

        Raises:
            InputError: There is none, or other work is not done.
            ConfigError: A setting is out of range.
        """
        photo, config = self._photo(), settings(preset, values)
        studio = self._studio
        folder = studio.folder / secrets.token_hex(8)

        def work(task: Task) -> None:
            self._show(
                preview_place(
                    task,
                    photo,
                    place=place,
                    config=config,
                    engines=studio.engines,
                    shelf=studio.shelf,
                    folder=folder,
                )
            )

        return self._begin(Task(title=f"Trying a place of {photo.name}", run=work))

    def restore_folder(
        self, source: Path, target: Path, preset: str, values: Mapping[str, Any]
    ) -> Task:
        """Begin to restore a folder.

        Raises:
            InputError: Other work is not done.
            ConfigError: A setting is out of range.
        """
        config = settings(preset, values)
        run = FolderRun(source=source, target=target)
        studio = self._studio

        def work(task: Task) -> None:
            try:
                run_folder_task(task, run, config=config, engines=studio.engines)
            finally:
                self._show_pairs(run.pairs, title=str(target))

        task = self._begin(Task(title=f"Restoring {source}", run=work))
        self.run, self.shown = run, None
        return task

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
            self._show(Shown(title=title, address=self._studio.shelf.comparison(rows, title=title)))

    def _photo(self) -> Path:
        if self.photo is None:
            raise InputError("there is no photograph yet.", hint="drop one, or type its path")
        return self.photo

    def _begin(self, task: Task) -> Task:
        if self.task is not None and self.task.is_open:
            raise InputError(f"{self.task.title} is not done yet.", hint="cancel it, or wait")
        self.task = self._studio.worker.submit(task)
        self._changes += 1
        return task

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

    def open(self, name: str) -> tuple[str, Desk]:
        """The desk of that name, or a new one under a new name."""
        with self._lock:
            if name not in self._desks:
                name = secrets.token_urlsafe(18)
                self._desks[name] = Desk(self._studio)
            return name, self._desks[name]
