"""The parts of the page and where they stand; what they do is in `page`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from hypir_cli.config.families import family_names
from hypir_cli.config.restore_preset import RESTORE_PRESETS
from hypir_cli.ui.controls import CONTROLS, NO_PRESET, Control, preset_values
from hypir_cli.ui.words import viewer_html

PHOTO_TAB, FOLDER_TAB, HISTORY_TAB = "One photograph", "Folder", "History"
TABS = (PHOTO_TAB, FOLDER_TAB, HISTORY_TAB)
"""The tabs by name."""
_HEAD = (
    "<h1>hypir</h1><p>Drop a photograph, or type a folder. The pictures stay on this machine.</p>"
)
_MAKERS: dict[str, Callable[..., Any]] = {
    "model.backbone": lambda **how: gr.Dropdown(choices=list(family_names()), **how),
    "model.lora": lambda **how: gr.Textbox(max_lines=1, **how),
    "prompt.text": lambda **how: gr.Textbox(lines=2, **how),
    "control.texture": lambda **how: gr.Dropdown(
        choices=["auto", "500", "1000", "2000", "3000", "5000"], allow_custom_value=True, **how
    ),
    "control.strength": lambda **how: gr.Slider(0.0, 1.0, step=0.05, **how),
    "control.fidelity": lambda **how: gr.Slider(0.0, 1.0, step=0.05, **how),
    "control.generativity": lambda **how: gr.Slider(0.0, 1.0, step=0.05, **how),
    "control.seed": lambda **how: gr.Number(precision=0, minimum=0, **how),
    "control.samples": lambda **how: gr.Slider(1, 4, step=1, **how),
    "size.scale": lambda **how: gr.Slider(1.0, 8.0, step=0.5, **how),
    "output.format": lambda **how: gr.Dropdown(
        choices=["same", "png", "jpg", "webp", "tiff", "avif"], **how
    ),
}


class PhotoTab:
    """The tab for one photograph."""

    def __init__(self) -> None:
        with gr.Tab(PHOTO_TAB, id=PHOTO_TAB):
            self.file = gr.File(
                label="Drop a photograph, or paste it",
                type="filepath",
                height=120,
                elem_id="hypir-drop",
            )
            with gr.Row(elem_classes="hypir-line"):
                self.path = gr.Textbox(
                    show_label=False,
                    label="Path of a photograph",
                    placeholder="or type its path",
                    container=False,
                    min_width=160,
                    scale=4,
                    elem_id="hypir-path",
                )
                self.open = gr.Button("Open", scale=1, min_width=80, elem_id="hypir-open")
            # A click tries a place.
            self.picture = gr.Image(
                interactive=False,
                buttons=[],
                format="webp",
                visible=False,
                elem_id="hypir-picture",
            )
            with gr.Row(elem_classes="hypir-line"):
                self.restore = gr.Button(
                    "Restore", variant="primary", min_width=80, elem_id="hypir-restore"
                )
                self.cancel = gr.Button("Cancel", min_width=80, elem_id="hypir-cancel")


class FolderTab:
    """The tab for folders."""

    def __init__(self) -> None:
        with gr.Tab(FOLDER_TAB, id=FOLDER_TAB):
            self.source = gr.Textbox(
                "", label="Folder with photographs", max_lines=1, elem_id="hypir-source"
            )
            self.target = gr.Textbox(
                "", label="Folder for the results", max_lines=1, elem_id="hypir-target"
            )
            with gr.Row(elem_classes="hypir-line"):
                self.restore = gr.Button(
                    "Restore all", variant="primary", min_width=80, elem_id="hypir-restore-all"
                )
                self.cancel = gr.Button("Cancel", min_width=80, elem_id="hypir-cancel-all")
                self.clear = gr.Button("Clear queue", min_width=80, elem_id="hypir-clear")
            gr.HTML(
                '<p class="hypir-soft">Results that are there already are skipped: start it again to go on. Further folders wait '
                "their turn.</p>"
            )


class HistoryTab:
    """The tab for earlier runs."""

    def __init__(self) -> None:
        with gr.Tab(HISTORY_TAB, id=HISTORY_TAB):
            self.find = gr.Button("Runs in the folder for the results", elem_id="hypir-find-runs")
            self.runs = gr.Radio(label="Runs", choices=[], elem_id="hypir-runs")


class Parts:
    """Every part of the page; made inside a `gr.Blocks`."""

    def __init__(self) -> None:
        gr.HTML(_HEAD, elem_id="hypir-head")
        with gr.Row(elem_id="hypir-grid"):
            with gr.Column(elem_id="hypir-work", min_width=280):
                with gr.Tabs() as self.tabs:
                    self.photo, self.folder, self.history = PhotoTab(), FolderTab(), HistoryTab()
                self.problem = gr.HTML(elem_id="hypir-problem")
            with gr.Column(elem_id="hypir-out", min_width=280):
                self.status = gr.HTML(elem_id="hypir-status")
                self.viewer = gr.HTML(viewer_html(None), elem_id="hypir-view")
            with gr.Column(elem_id="hypir-settings", min_width=280):
                self.preset, self.controls = _control_panel()
                self.command = gr.Textbox(
                    label="The same on the command line",
                    interactive=False,
                    lines=2,
                    buttons=["copy"],
                    elem_id="hypir-command",
                )


def _control_panel() -> tuple[Any, list[Any]]:
    """The preset and the controls, in the order of `CONTROLS`."""
    preset = gr.Dropdown(
        label="Preset",
        choices=[NO_PRESET, *RESTORE_PRESETS],
        value=NO_PRESET,
        elem_id="hypir-preset",
    )
    with gr.Accordion("Controls", open=True):
        often = [_control(control) for control in CONTROLS if not control.seldom]
    with gr.Accordion("Model, seed and format", open=False, elem_id="hypir-more"):
        seldom = [_control(control) for control in CONTROLS if control.seldom]
    return preset, often + seldom


def _control(control: Control) -> Any:
    return _MAKERS[control.key](
        label=control.label,
        info=control.info,
        value=preset_values(NO_PRESET)[control.key],
        elem_id=f"hypir-{control.label.lower()}",
    )
