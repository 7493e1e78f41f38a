"""A restorer as a plain function of pictures, for what wants to look at restored images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.images import ImageData
from hypir_cli.restore.engine import Engine


def quick_restore(config: RestoreConfig) -> Callable[[Image.Image], Image.Image]:
    """A loaded restorer as a function from picture to picture, without a prompt, e.g. to look at before captioning.

    Raises:
        HypirError: The model cannot be loaded.
    """
    engine = Engine.load(config, prompts=[""])

    def prepare(image: Image.Image) -> Image.Image:
        outcome = engine.restore(ImageData(pixels=np.asarray(image.convert("RGB"))))
        return Image.fromarray(np.asarray(outcome.samples[0], dtype=np.uint8))

    return prepare
