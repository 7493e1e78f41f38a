"""The text file beside an image as a captioner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.caption.models.base import CaptionInput, Outcome
from hypir_cli.errors import InputError
from hypir_cli.folder.sidecar import find_sidecar, read_sidecar


@dataclass(frozen=True)
class SidecarCaptioner:
    """The prompts that stand beside the images."""

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """Each image's own text."""
        return [self._one(item.path) for item in inputs]

    def _one(self, image_path: Path | None) -> Outcome:
        sidecar = None if image_path is None else find_sidecar(image_path)
        if image_path is None or sidecar is None:
            return InputError(f"{image_path} has no .txt beside it.")
        try:
            return read_sidecar(sidecar)
        except InputError as error:
            return error
