"""`hypir caption` as one call: find the images, load the captioner, restore first if asked, write the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hypir_cli.caption.images import (
    CaptionSummary,
    OnProgress,
    Prepare,
    caption_images,
    open_store,
)
from hypir_cli.caption.models.registry import build_captioner
from hypir_cli.config.caption import CaptionConfig
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.folder.scan import find_images
from hypir_cli.images import ImageData


def caption_folder(
    inputs: Sequence[str | Path],
    *,
    config: CaptionConfig,
    api_key: str | None = None,
    on_progress: OnProgress | None = None,
) -> CaptionSummary:
    """Caption files, folders and patterns.

    Args:
        inputs: What to caption.
        config: All settings.
        api_key: Key of the endpoint; None takes it from the environment.
        on_progress: Told (images done, images to do) after each batch.

    Returns:
        What was done; images that failed are in it, not raised.

    Raises:
        HypirError: Nothing to caption, or the captioner, the restorer or the output cannot be used.
    """
    images = find_images(inputs)
    store = open_store(config.to, images=images, out=config.out)
    captioner = build_captioner(config.captioner, api_key=api_key)
    return caption_images(
        [item.path for item in images],
        captioner,
        store,
        batch=config.batch,
        existing=config.existing,
        prepare=quick_restore(config.restore) if config.pre_restore else None,
        on_progress=on_progress,
    )


def quick_restore(config: RestoreConfig) -> Prepare:
    """A loaded restorer as a function from picture to picture, without a prompt."""
    from hypir_cli.restore.engine import Engine  # captions from an endpoint need no torch

    engine = Engine.load(config, prompts=[""])

    def prepare(image: Image.Image) -> Image.Image:
        outcome = engine.restore(ImageData(pixels=np.asarray(image.convert("RGB"))))
        return Image.fromarray(np.asarray(outcome.samples[0], dtype=np.uint8))

    return prepare
