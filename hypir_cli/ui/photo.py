"""One photograph on a desk: look at it, try a place of it, restore it whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from hypir_cli.caption.describe import load_describer
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.errors import InputError
from hypir_cli.folder.pages import ComparisonRow
from hypir_cli.images import ImageData, picture_on_white, read_image, write_image
from hypir_cli.restore.folder import restore_folder
from hypir_cli.ui.engines import EngineCache
from hypir_cli.ui.shelf import Shelf, Shown
from hypir_cli.ui.worker import Task

THUMBNAIL_SIDE = 1600
"""Longer side in pixels of the picture that is clicked on."""
PREVIEW_SIDE = 512
"""Side in result pixels of the place that is tried."""


def thumbnail(path: Path) -> tuple[Image.Image, tuple[int, int]]:
    """A small 8-bit RGB copy, and (height, width) of the whole.

    Raises:
        InputError: It cannot be read.
    """
    image = read_image(path)
    picture = picture_on_white(image)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return picture.convert("RGB"), (image.height, image.width)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made of a photograph."""

    path: Path
    """The photograph."""
    config: RestoreConfig
    """All settings."""
    engines: EngineCache
    """Where the model comes from."""
    shelf: Shelf
    """Gives the results their addresses."""
    folder: Path
    """New folder for the results."""


def restore_photo(task: Task, order: Order) -> Shown:
    """Restore a whole photograph by the folder run, exactly as the command line does.

    Args:
        task: Told how far it is.
        order: What is wanted.

    Raises:
        HypirError: The photograph or the settings cannot be used.
        Cancelled: The user stopped it.
    """
    path, config, shelf = order.path, order.config, order.shelf
    samples = config.control.samples
    finished = 0

    def on_tiles(done: int, total: int) -> None:
        nonlocal finished
        task.advance((finished + done / total) / samples, f"tile {done} of {total}")
        finished += done == total

    task.advance(0.0, "loading")
    report = restore_folder(
        [path],
        f"{order.folder}/",
        config=config,
        load_describer=load_describer,
        on_tiles=on_tiles,
        load_engine=order.engines.load,
    )
    record = report.records[0]
    if record.status == "failed":
        raise InputError(record.reason, hint=record.hint)
    results = tuple(map(Path, record.outputs))
    row = ComparisonRow(name=path.name, before=path, after=results)
    return Shown(
        title=path.name,
        address=shelf.comparison([row], title=path.name, side_by_side=len(results) > 1),
        downloads=tuple((result.name, shelf.address(result)) for result in results),
        notes=record.notes,
    )


def preview_place(task: Task, order: Order, *, place: tuple[float, float]) -> Shown:
    """Restore one tile around a place, before and after beside each other.

    Args:
        task: Told how far it is.
        order: What is wanted; a size other than a scale is turned into the scale it means for this photograph.
        place: (x, y), each 0..1 of the photograph's width and height.

    Raises:
        HypirError: The photograph or the settings cannot be used.
    """
    path, config, folder = order.path, order.config, order.folder
    task.advance(0.0, "loading")
    image = read_image(path)
    scale = config.size.output_size(image.height, image.width)[0] / image.height
    side = max(16, round(PREVIEW_SIDE / scale))
    crop = _window(image, place, side=side)
    config = replace(config, size=replace(config.size, scale=scale, **_NO_OTHER_SIZE))
    engine = order.engines.load(config)
    outcome = engine.restore(
        crop,
        prompt=config.prompt.text,
        on_progress=lambda done, total: task.advance(done / total, f"tile {done} of {total}"),
    )
    folder.mkdir(parents=True)
    before = write_png(folder / "before.png", crop.pixels)
    after = [
        write_png(folder / f"after-{number}.png", pixels)
        for number, pixels in enumerate(outcome.samples, start=1)
    ]
    row = ComparisonRow(name=f"{path.name}, one place", before=before, after=tuple(after))
    address = order.shelf.comparison([row], title=row.name, side_by_side=len(after) > 1)
    return Shown(title=f"one place of {path.name}", address=address)


_NO_OTHER_SIZE = {"long_side": None, "short_side": None, "megapixels": None}


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """A picture for the viewer."""
    write_image(path, pixels)
    return path


def _window(image: ImageData, place: tuple[float, float], *, side: int) -> ImageData:
    """A square of an image around a place, moved inwards at the borders; smaller where the image is."""
    x, y = place
    top = _start(y, image.height, side)
    left = _start(x, image.width, side)
    pixels = image.pixels[top : top + side, left : left + side]
    return ImageData(pixels=np.ascontiguousarray(pixels))


def _start(fraction: float, length: int, side: int) -> int:
    return max(0, min(length - side, round(fraction * length - side / 2)))
