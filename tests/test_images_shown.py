"""Transparent pictures are looked at on white: beside their result, in pages, as thumbnails, by captioning models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.caption.images import load_for_captioning
from hypir_cli.cli.app import app
from hypir_cli.folder.pages.pictures import Pictures
from hypir_cli.images import ImageData, on_white, picture_on_white, read_image
from hypir_cli.restore.prompts import _shown

CORNER, MIDDLE = (0, 0), (12, 12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dark picture whose left half is clear."""
    pixels = np.full((24, 24, 4), 40, dtype=np.uint8)
    pixels[:, :12, 3] = 0
    pixels[:, 12:, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    return tmp_path / "clear.png"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_alpha_lays_every_kind_of_pixels_on_white(channels: int, depth: type) -> None:
    top = np.iinfo(depth).max
    pixels = np.zeros((1, 3, channels), dtype=depth)
    alpha = np.array([[0, top // 2, top]], dtype=depth)
    laid = on_white(pixels, alpha)
    assert laid.shape == pixels.shape
    assert laid[0, :, 0].tolist() == [255, 128, 0]
    assert np.array_equal(on_white(pixels, None), np.zeros_like(laid))
    assert picture_on_white(ImageData(pixels=pixels, alpha=alpha)).size == (3, 1)


def test_whoever_looks_at_it_sees_white(path: Path, tmp_path: Path) -> None:
    image = read_image(path)
    pictures = Pictures(tmp_path / "page.html", placement="beside")
    with Image.open(tmp_path / pictures.add(path)) as shown:
        seen = [shown.convert("RGB"), _shown(image), load_for_captioning(path)]
    for picture in seen:
        assert picture.getpixel(CORNER) == (255, 255, 255)
        assert picture.getpixel(MIDDLE) == (40, 40, 40)


def test_both_halves_of_a_side_by_side_picture_are_on_white(path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["restore", str(path), f"{tmp_path}/out/", "--compare", "side", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    (beside,) = (tmp_path / "out").glob("*.jpg")
    with Image.open(beside) as picture:
        left, right = picture.getpixel((2, 12)), picture.getpixel((24 + 8 + 2, 12))
    assert min(left) > 240
    assert min(right) > 240
