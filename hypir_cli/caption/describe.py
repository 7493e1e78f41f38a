"""A captioning model as a plain function of one picture, for restoring with the prompts it writes."""

from __future__ import annotations

import copy
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
    try:
        captioner = build_captioner(CaptionerConfig(kind=config.caption, device=device))
    except HypirError as error:
        raise _from_here(error, config.caption) from error

    def describe(picture: Image.Image, path: Path) -> str:
        try:
            outcome = captioner.caption([CaptionInput(image=picture, path=path)])[0]
        except HypirError as error:
            raise _from_here(error, config.caption) from error
        if isinstance(outcome, HypirError):
            raise _from_here(outcome, config.caption)
        return outcome

    return describe


def _from_here(error: HypirError, kind: str) -> HypirError:
    """The error with a way out for those who restore, where it names options of `hypir caption`."""
    if "--" not in error.hint or "pip install" in error.hint:
        return error
    command = f"`hypir caption INPUT --captioner {kind} --model DIR`, and --caption sidecar here"
    with_folder = error.hint.replace("then --model DIR", f"then {command}")
    hint = (
        f"`hypir caption INPUT --captioner {kind}` has options for the captioner; "
        "--caption sidecar then takes what it wrote"
    )
    if kind == "openai":
        hint += "; or set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL"
    found = copy.copy(error)
    found.hint = hint if with_folder == error.hint else with_folder
    return found
