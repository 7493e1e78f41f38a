"""The page: its parts, and what happens when one is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from hypir_cli.config.families import family_names
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import RESTORE_PRESETS
from hypir_cli.config.schema import field_doc
from hypir_cli.errors import HypirError, InputError
from hypir_cli.ui.controls import CONTROLS, NO_PRESET, command_line, preset_values
from hypir_cli.ui.desk import Desk, Desks, Studio
from hypir_cli.ui.gallery import past_runs
from hypir_cli.ui.words import error_html, status_html, viewer_html

TICK = 0.6
"""Seconds between two looks at how the work stands."""
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
            gr.Markdown(
                "# hypir\nDrop a photograph, or type a folder. Nothing leaves this machine."
            )
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    with gr.Tabs():
                        photo = self._photo_tab()
                        folder = self._folder_tab()
                        history = self._history_tab()
                    preset, controls = _control_panel()
                    command = gr.Textbox(
                        label="The same on the command line",
                        interactive=False,
                        lines=2,
                        buttons=["copy"],
                        elem_id="hypir-command",
                    )
                with gr.Column(scale=5, min_width=300):
                    problem = gr.HTML(elem_id="hypir-problem")
                    status = gr.HTML(elem_id="hypir-status")
                    picture = gr.Image(
                        label="Click a place to try it",
                        interactive=False,
                        buttons=[],
                        format="webp",
                        elem_id="hypir-picture",
                    )
                    viewer = gr.HTML(elem_id="hypir-view")
            timer = gr.Timer(TICK)
        values = [preset, *controls]
        typed = [folder["source"], folder["target"]]
        kept = [memory, *values, *typed]
        with blocks:
            blocks.load(self._open, [memory], [*kept, command, seen])
            timer.tick(
                self._look, [memory, seen], [seen, status, picture, viewer], show_progress="hidden"
            )
            preset.input(self._choose_preset, [preset], controls).then(
                self._keep, kept, [memory, command]
            )
            for part in [*controls, *typed]:
                part.change(self._keep, kept, [memory, command], show_progress="hidden")
            photo["file"].upload(self._take_dropped, [memory, photo["file"]], [problem])
            gr.on(
                [photo["open"].click, photo["path"].submit],
                self._take_typed,
                [memory, photo["path"]],
                [problem],
            )
            picture.select(self._preview, [memory, *values], [problem])
            photo["restore"].click(self._restore, [memory, *values], [problem])
            folder["restore"].click(self._restore_folder, [memory, *values, *typed], [problem])
            gr.on([photo["cancel"].click, folder["cancel"].click], self._cancel, [memory], None)
            history["find"].click(self._find_runs, [folder["target"]], [history["runs"], problem])
            history["runs"].input(self._look_at, [memory, history["runs"]], [problem])
        return blocks

    @staticmethod
    def _photo_tab() -> dict[str, Any]:
        with gr.Tab("One photograph"):
            file = gr.File(
                label="Drop a photograph, or paste it", type="filepath", elem_id="hypir-drop"
            )
            with gr.Row():
                path = gr.Textbox(
                    label="or its path on this machine", scale=4, elem_id="hypir-path"
                )
                opened = gr.Button("Open", scale=1, min_width=80, elem_id="hypir-open")
            with gr.Row():
                restore = gr.Button("Restore", variant="primary", elem_id="hypir-restore")
                cancel = gr.Button("Cancel", elem_id="hypir-cancel")
        return {"file": file, "path": path, "open": opened, "restore": restore, "cancel": cancel}

    @staticmethod
    def _folder_tab() -> dict[str, Any]:
        with gr.Tab("Folder"):
            source = gr.Textbox(label="Folder with photographs", elem_id="hypir-source")
            target = gr.Textbox(label="Folder for the results", elem_id="hypir-target")
            with gr.Row():
                restore = gr.Button("Restore all", variant="primary", elem_id="hypir-restore-all")
                cancel = gr.Button("Cancel", elem_id="hypir-cancel-all")
            gr.Markdown("Results that are there already are skipped: run it again to go on.")
        return {"source": source, "target": target, "restore": restore, "cancel": cancel}

    @staticmethod
    def _history_tab() -> dict[str, Any]:
        with gr.Tab("History"):
            find = gr.Button("Runs in the folder for results", elem_id="hypir-find-runs")
            runs = gr.Radio(label="Runs", choices=[], elem_id="hypir-runs")
        return {"find": find, "runs": runs}

    def _desk(self, memory: Memory) -> Desk:
        """The browser's desk.

        Raises:
            InputError: The page has not told this browser the name of one yet.
        """
        name = str((memory or {}).get("desk", ""))
        if not name:
            raise InputError("the page is not ready yet.", hint="try it once more")
        return self._desks.open(name)[1]

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
        kept, command = self._keep({"desk": name}, preset, *values, *typed)
        return [kept, preset, *values, *typed, command, ()]

    def _keep(self, memory: Memory, preset: str, *rest: Any) -> tuple[Memory, str]:
        """Remember what the controls show, and say it as a command."""
        values = dict(zip(KEYS, rest[: len(KEYS)], strict=True))
        source, target = rest[len(KEYS) :]
        kept = {
            "desk": (memory or {}).get("desk", ""),
            "preset": preset,
            "values": values,
            "source": source,
            "target": target,
        }
        photo = self._desk(kept).photo if kept["desk"] else None
        words = {"source": source or photo or "INPUT", "target": target or "OUTPUT"}
        try:
            return kept, command_line(preset, values, **words)
        except HypirError as error:
            return kept, f"# {error.message}"

    @staticmethod
    def _choose_preset(preset: str) -> list[Any]:
        return list(preset_values(preset).values())

    def _look(self, memory: Memory, seen: Any) -> list[Any]:
        """What is new since the last look; nothing is sent where nothing is."""
        if not (memory or {}).get("desk"):
            return [gr.skip()] * 4
        desk = self._desk(memory)
        busy = self._studio.worker.current
        now = (*desk.version, str(desk.photo), "" if desk.shown is None else desk.shown.address)
        if tuple(seen) == now and (desk.task is None or desk.task.state != "running"):
            return [gr.skip()] * 4
        same_photo = bool(seen) and seen[3] == now[3]
        same_view = bool(seen) and seen[4] == now[4]
        return [
            now,
            status_html(desk, busy_with=busy),
            gr.skip() if same_photo else desk.picture,
            gr.skip() if same_view else viewer_html(desk.shown),
        ]

    def _take_dropped(self, memory: Memory, file: str | None) -> str:
        return _said(lambda: self._desk(memory).take(Path(file)) if file else None)

    def _take_typed(self, memory: Memory, text: str) -> str:
        return _said(lambda: self._desk(memory).take(self._studio.access.existing(text)))

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

    def _cancel(self, memory: Memory) -> None:
        task = self._desk(memory).task if (memory or {}).get("desk") else None
        if task is not None:
            task.cancel()

    def _find_runs(self, target: str) -> tuple[Any, str]:
        try:
            runs = past_runs(self._studio.access.existing(target))
        except HypirError as error:
            return gr.Radio(choices=[]), error_html(error.message, error.hint)
        choices = [(run.title, str(run.path)) for run in runs]
        return gr.Radio(choices=choices, value=None), "" if runs else "<p>No runs yet.</p>"

    def _look_at(self, memory: Memory, report: str) -> str:
        return _said(lambda: self._desk(memory).look_at(self._studio.access.existing(report)))

    def _checked(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The controls' values; a file that one names must lie where the page may read."""
        found = dict(zip(KEYS, values, strict=True))
        lora = str(found["model.lora"] or "").strip()
        if lora and (Path(lora).is_absolute() or Path(lora).exists()):
            found["model.lora"] = str(self._studio.access.existing(lora))
        return found


def _said(act: Callable[[], Any]) -> str:
    """Do something; the HTML that says what was wrong, empty where nothing was."""
    try:
        act()
    except HypirError as error:
        return error_html(error.message, error.hint)
    return ""


def _control_panel() -> tuple[gr.Dropdown, list[Any]]:
    """The preset and the controls, in the order of `CONTROLS`."""
    preset = gr.Dropdown(
        label="Preset",
        choices=[NO_PRESET, *RESTORE_PRESETS],
        value=NO_PRESET,
        elem_id="hypir-preset",
    )
    makers: dict[str, Callable[..., Any]] = {
        "model.backbone": lambda **how: gr.Dropdown(choices=list(family_names()), **how),
        "model.lora": lambda **how: gr.Textbox(max_lines=1, **how),
        "prompt.text": lambda **how: gr.Textbox(lines=2, **how),
        "control.texture": lambda **how: gr.Dropdown(
            choices=["auto", "500", "1000", "2000", "3000", "5000"], allow_custom_value=True, **how
        ),
        "control.generativity": lambda **how: gr.Slider(0.0, 1.0, step=0.05, **how),
        "control.seed": lambda **how: gr.Number(precision=0, minimum=0, **how),
        "control.samples": lambda **how: gr.Slider(1, 4, step=1, **how),
        "size.scale": lambda **how: gr.Slider(1.0, 8.0, step=0.5, **how),
        "output.format": lambda **how: gr.Dropdown(
            choices=["same", "png", "jpg", "webp", "tiff", "avif"], **how
        ),
    }
    shown = preset_values(NO_PRESET)
    controls = []
    with gr.Accordion("Controls", open=True):
        for key in KEYS:
            label = (
                key.rsplit(".", 1)[-1].replace("text", "prompt") if key == "prompt.text" else None
            )
            name = label or key.rsplit(".", 1)[-1]
            controls.append(
                makers[key](
                    label=name.capitalize() if name != "lora" else "LoRA",
                    info=field_doc(RestoreConfig, key),
                    value=shown[key],
                    elem_id=f"hypir-{name}",
                )
            )
    return preset, controls
