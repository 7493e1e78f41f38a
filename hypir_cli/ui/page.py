"""What happens when a part of the page is used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from hypir_cli.config.restore_preset import RESTORE_PRESETS
from hypir_cli.errors import HypirError, InputError
from hypir_cli.ui.controls import CONTROLS, NO_PRESET, command_line, preset_values
from hypir_cli.ui.desk import Desk, Desks, Studio
from hypir_cli.ui.gallery import past_runs
from hypir_cli.ui.layout import PHOTO_TAB, TABS, Parts
from hypir_cli.ui.words import error_html, status_html, viewer_html

TICK = 0.6
"""Seconds between two looks at how the work stands."""
HOW: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
"""Each act is one request and its answer. Gradio's queue answers by a second, shared connection, where answers were lost on a busy
machine; long work has the worker's queue."""
KEYS = tuple(control.key for control in CONTROLS)
Memory = dict[str, Any]
"""What the browser keeps: name of the desk, preset, control values, paths typed."""


class Page:
    """The page over a studio.

    Args:
        studio: What all desks share.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._desks = Desks(studio)

    def build(self) -> gr.Blocks:
        """The Gradio page, not served yet."""
        with gr.Blocks(title="hypir", analytics_enabled=False) as blocks:
            # A fixed key and secret, so that the browser's memory outlives the server. It holds nothing secret.
            memory = gr.BrowserState({}, storage_key="hypir", secret="hypir")
            seen = gr.State(())
            parts = Parts()
            timer = gr.Timer(TICK)
            self._connect_memory(blocks, parts, memory, seen)
            self._connect_work(parts, memory)
            shown = [seen, parts.status, parts.photo.picture, parts.viewer]
            timer.tick(self._look, [memory, seen], shown, **HOW)
        return blocks

    def _connect_memory(self, blocks: Any, parts: Parts, memory: Any, seen: Any) -> None:
        """What is kept over a reload, and the command line that goes with it."""
        photo, typed = parts.photo, [parts.folder.source, parts.folder.target]
        kept = [memory, parts.preset, *parts.controls, *typed]
        keep = {"fn": self._keep_open, "inputs": kept, "outputs": [memory, parts.command], **HOW}
        blocks.load(self._open, [memory], [*kept, parts.command, seen, parts.tabs], **HOW)
        parts.preset.input(self._choose_preset, [parts.preset], parts.controls, **HOW).then(**keep)
        for part in [*parts.controls, *typed]:
            part.change(**keep)
        for name, tab in zip(TABS, parts.tabs.children, strict=True):
            tab.select(partial(self._choose_tab, name), [memory], [memory], **HOW).then(**keep)
        photo.file.upload(
            self._take_dropped, [memory, photo.file], [parts.problem, photo.file], **HOW
        ).then(**keep)
        gr.on(
            [photo.open.click, photo.path.submit],
            self._take_typed,
            [memory, photo.path],
            [parts.problem],
            **HOW,
        ).then(**keep)

    def _connect_work(self, parts: Parts, memory: Any) -> None:
        """What starts work, stops it, and looks at earlier work."""
        photo, folder, history = parts.photo, parts.folder, parts.history
        values, said = [memory, parts.preset, *parts.controls], [parts.problem]
        paths = [folder.source, folder.target]
        photo.picture.select(self._preview, values, said, **HOW)
        photo.restore.click(self._restore, values, said, **HOW)
        folder.restore.click(self._restore_folder, [*values, *paths], said, **HOW)
        gr.on([photo.cancel.click, folder.cancel.click], self._cancel, [memory], said, **HOW)
        folder.clear.click(self._cancel_waiting, [memory], said, **HOW)
        history.find.click(self._find_runs, [folder.target], [history.runs, *said], **HOW)
        history.runs.input(self._look_at, [memory, history.runs], said, **HOW)

    def _desk(self, memory: Memory) -> Desk:
        """The browser's desk.

        Raises:
            InputError: It has none: the page is not ready, or the server was started anew.
        """
        desk = self._find_desk(memory)
        if desk is None:
            raise InputError("the page is not ready.", hint="reload it")
        return desk

    def _find_desk(self, memory: Memory) -> Desk | None:
        return self._desks.find(str((memory or {}).get("desk", "")))

    def _open(self, memory: Memory) -> list[Any]:
        """The page as it was left: a desk, the controls, the typed paths."""
        memory = memory or {}
        name, _ = self._desks.open(str(memory.get("desk", "")))
        preset = memory.get("preset", NO_PRESET)
        if preset not in (NO_PRESET, *RESTORE_PRESETS):
            preset = NO_PRESET
        shown = preset_values(preset)
        stored = memory.get("values", {})
        values = [stored.get(key, shown[key]) for key in KEYS]
        typed = [str(memory.get("source", "")), str(memory.get("target", ""))]
        tab = memory.get("tab") if memory.get("tab") in TABS else PHOTO_TAB
        kept, command = self._keep({"desk": name, "tab": tab}, preset, *values, *typed)
        return [kept, preset, *values, *typed, command, (), gr.Tabs(selected=tab)]

    def _keep_open(self, memory: Memory, preset: str, *rest: Any) -> Any:
        """Remember what the controls show; not while the page does not show yet what was remembered."""
        if self._find_desk(memory) is None:
            return [gr.skip()] * 2
        return self._keep(memory, preset, *rest)

    def _keep(self, memory: Memory, preset: str, *rest: Any) -> tuple[Memory, str]:
        """What is remembered of the controls, and the same as a command."""
        values = dict(zip(KEYS, rest[: len(KEYS)], strict=True))
        source, target = (text or "" for text in rest[len(KEYS) :])
        kept = {
            "desk": memory["desk"],
            "tab": memory.get("tab", PHOTO_TAB),
            "preset": preset,
            "values": values,
            "source": source,
            "target": target,
        }
        return kept, self._command(kept)

    def _command(self, kept: Memory) -> str:
        """The command line that does what the tab in front does."""
        words = {"source": "INPUT", "target": "restored/"}
        if kept["tab"] != PHOTO_TAB:
            words = {
                "source": self._full(kept["source"]) or "INPUT",
                "target": f"{self._full(kept['target']) or 'OUTPUT'}/",
            }
        else:
            words["source"] = self._desk(kept).source or "INPUT"
        try:
            return command_line(kept["preset"], kept["values"], **words)
        except HypirError as error:
            return f"# {error.message}"

    def _full(self, typed: str) -> str:
        """A typed path as every shell understands it; as it stands where the page may not use it."""
        try:
            return str(self._studio.access.path(typed))
        except InputError:
            return typed.strip()

    @staticmethod
    def _choose_tab(name: str, memory: Memory) -> Any:
        return {**memory, "tab": name} if (memory or {}).get("desk") else gr.skip()

    @staticmethod
    def _choose_preset(preset: str) -> list[Any]:
        return list(preset_values(preset).values())

    def _look(self, memory: Memory, seen: Any) -> list[Any]:
        """What is new since the last look; nothing is sent where nothing is."""
        desk = self._find_desk(memory)
        if desk is None:
            return [gr.skip()] * 4
        shown = "" if desk.shown is None else desk.shown.address
        now = (*desk.version, str(desk.photo), shown)
        running = desk.current is not None and desk.current.task.state == "running"
        if tuple(seen) == now and not running:
            return [gr.skip()] * 4
        same_photo = len(seen) == len(now) and seen[2] == now[2]
        same_view = len(seen) == len(now) and seen[3] == now[3]
        return [
            now,
            status_html(desk, busy_with=self._studio.worker.current),
            gr.skip() if same_photo else _picture(desk),
            gr.skip() if same_view else viewer_html(desk.shown),
        ]

    def _take_dropped(self, memory: Memory, file: str | None) -> tuple[str, None]:
        """Take the photograph, and make room for the next one."""

        def take() -> None:
            if file:
                self._desk(memory).take(Path(file), source=Path(file).name)

        return _said(take), None

    def _take_typed(self, memory: Memory, text: str) -> str:
        def take() -> None:
            path = self._studio.access.existing(text)
            self._desk(memory).take(path, source=str(path))

        return _said(take)

    def _restore(self, memory: Memory, preset: str, *values: Any) -> str:
        return _said(lambda: self._desk(memory).restore(preset, self._checked(values)))

    def _preview(self, event: gr.SelectData, memory: Memory, preset: str, *values: Any) -> str:
        def begin() -> None:
            desk = self._desk(memory)
            if desk.picture is None:
                raise InputError("there is no photograph yet.", hint="drop one, or type its path")
            x, y = event.index
            place = (x / desk.picture.width, y / desk.picture.height)
            desk.preview(place, preset, self._checked(values))

        return _said(begin)

    def _restore_folder(self, memory: Memory, preset: str, *rest: Any) -> str:
        def begin() -> None:
            values, (source, target) = rest[: len(KEYS)], rest[len(KEYS) :]
            access = self._studio.access
            self._desk(memory).restore_folder(
                access.existing(source), access.path(target), preset, self._checked(values)
            )

        return _said(begin)

    def _cancel(self, memory: Memory) -> str:
        return _said(lambda: self._desk(memory).cancel())

    def _cancel_waiting(self, memory: Memory) -> str:
        return _said(lambda: self._desk(memory).cancel_waiting())

    def _find_runs(self, target: str) -> tuple[Any, str]:
        access = self._studio.access
        try:
            runs = past_runs(access.existing(target), permits=access.allows)
        except HypirError as error:
            return gr.Radio(choices=[]), error_html(error.message, error.hint)
        choices = [(run.title, str(run.path)) for run in runs]
        return gr.Radio(choices=choices, value=None), "" if runs else "<p>No runs yet.</p>"

    def _look_at(self, memory: Memory, report: str) -> str:
        return _said(lambda: self._desk(memory).look_at(self._studio.access.existing(report)))

    def _checked(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The controls' values; a file that one names must lie where the page may read."""
        found = dict(zip(KEYS, values, strict=True))
        found["model.lora"] = self._studio.access.weights(str(found["model.lora"] or ""))
        return found


def _picture(desk: Desk) -> Any:
    """The photograph that is clicked on, under its name; nothing where there is none."""
    if desk.photo is None:
        return gr.Image(value=None, visible=False)
    height, width = desk.size
    label = f"{desk.photo.name}, {width} × {height}: click a place to try it"
    return gr.Image(value=desk.picture, label=label, visible=True)


def _said(act: Callable[[], Any]) -> str:
    """Do something; the HTML that says what was wrong, empty where nothing was."""
    try:
        act()
    except HypirError as error:
        return error_html(error.message, error.hint)
    return ""
