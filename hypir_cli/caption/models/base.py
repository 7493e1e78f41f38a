"""What every captioner takes and gives, and the captioner that always says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from hypir_cli.errors import HypirError


@dataclass(frozen=True, kw_only=True)
class CaptionInput:
    """One image to describe."""

    image: Image.Image
    """RGB, 8 bits per channel, upright."""
    path: Path | None = None
    """Where it came from."""


Outcome = str | HypirError
"""A caption, or why this one image has none."""


class Captioner(Protocol):
    """Turns images into prompts."""

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One outcome per input, in order.

        Raises:
            HypirError: No image can be captioned: the model or the server is at fault.
        """
        ...


@dataclass(frozen=True)
class FixedCaptioner:
    """The same text for every image."""

    text: str
    """The prompt."""

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """The text, once per input."""
        return [self.text] * len(inputs)
