"""A captioning model as a plain function of one picture, for restoring with the prompts it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from hypir_cli.caption.models.base import CaptionInput
from hypir_cli.caption.models.registry import build_captioner
from hypir_cli.config.caption import CaptionerConfig
from hypir_cli.config.restore import PromptConfig
from hypir_cli.errors import HypirError


def load_describer(config: PromptConfig, device: str) -> Callable[[Image.Image, Path], str]:
    """The prompt of a picture and of the file it was read from.

    Args:
        config: Names the captioner, which takes its default settings.
        device: Where it computes.

    Returns:
        A function that raises the `HypirError` of a picture without a prompt.

    Raises:
        HypirError: The model cannot be loaded.
        ValueError: No captioner is named.
    """
    if config.caption == "none":
        raise ValueError("no captioner is named")
    captioner = build_captioner(CaptionerConfig(kind=config.caption, device=device))

    def describe(picture: Image.Image, path: Path) -> str:
        outcome = captioner.caption([CaptionInput(image=picture, path=path)])[0]
        if isinstance(outcome, HypirError):
            raise outcome
        return outcome

    return describe
