"""The prompt of each image: given for all, kept in text files, or written by a captioning model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from hypir_cli.config.restore import PromptConfig
from hypir_cli.errors import InputError
from hypir_cli.folder.sidecar import find_sidecar, read_sidecar
from hypir_cli.images import ImageData, picture_on_white

Describe = Callable[[Image.Image, Path], str]
"""The prompt of a picture (8-bit RGB) and the file it was read from; raises `HypirError` where it has none."""
LoadDescriber = Callable[[PromptConfig, str], Describe]
"""Makes the captioning model that prompt settings name, on a device."""
CAPTION_SIDE = 1024
"""Longer side in pixels of what a captioning model is shown."""


class PromptBook:
    """Looks up or makes the prompt of each image.

    Args:
        config: Where prompts come from.
        describe: The captioning model of `config.caption`; prompts in files need none.

    Raises:
        InputError: The prompt folder is missing.
        ValueError: `config.caption` names a model, but there is no `describe`.
    """

    def __init__(self, config: PromptConfig, *, describe: Describe | None = None) -> None:
        self._config = config
        self._describe = describe
        if config.dir is not None and not config.dir.is_dir():
            raise InputError(f"the prompt folder {config.dir} does not exist.")
        if wants_model(config) and describe is None:
            raise ValueError(f"captions by {config.caption} need `describe`")

    @property
    def needs_images(self) -> bool:
        """Whether prompts are made from pixels, so that they are not known before reading."""
        return self._describe is not None

    def prompt(self, path: Path, *, relative: Path, image: ImageData | None = None) -> str:
        """The prompt of one image.

        Args:
            path: The image.
            relative: Its place below the input folder, for `--prompt-dir`.
            image: Its pixels, for captioning models.

        Returns:
            The text from the prompt folder, else the one beside the image (with `sidecar`), else the captioner's, else
            the one for all.

        Raises:
            HypirError: A text file cannot be read, or the captioner failed on this image.
        """
        if self._config.dir is not None:
            found = find_sidecar(self._config.dir / relative)
            if found is not None:
                return read_sidecar(found)
        if self._config.caption == "sidecar":
            found = find_sidecar(path)
            if found is not None:
                return read_sidecar(found)
        if self._describe is not None and image is not None:
            return self._describe(_shown(image), path)
        return self._config.text


def wants_model(config: PromptConfig) -> bool:
    """Whether prompts are written by a captioning model."""
    return config.caption not in ("none", "sidecar")


def _shown(image: ImageData) -> Image.Image:
    """A small 8-bit RGB copy."""
    picture = picture_on_white(image)
    picture.thumbnail((CAPTION_SIDE, CAPTION_SIDE))
    return picture.convert("RGB")
