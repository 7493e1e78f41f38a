"""What the head of a JPEG XL says, on files of libjxl's whose heads are changed bit by bit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from hypir_cli.images import read_image, write_image
from hypir_cli.images.colorcode import from_codes
from hypir_cli.images.jxl import JxlColor, jxl_color, jxl_size
from tests.pictures import gradient

Field = tuple[int, int]
"""(value, bits)."""


def enum(value: int) -> tuple[Field, ...]:
    """A number as JPEG XL stores enumerations."""
    if value < 2:
        return ((value, 2),)
    return ((2, 2), (value - 2, 4)) if value < 18 else ((3, 2), (value - 18, 6))


def bits_of(fields: Iterable[Field]) -> list[int]:
    return [value >> place & 1 for value, count in fields for place in range(count)]


def with_encoding(*encoding: Field) -> bytes:
    """A lossless picture whose colours are told otherwise; its pixels are as they were.

    The head is: size (here 2 + 5 + 3 + 2 * ... bits), metadata up to the colours, colours, extensions and transform.
    """
    data = imagecodecs.jpegxl_encode(gradient(24, 32), lossless=True, usecontainer=False)
    bits = [byte >> place & 1 for byte in data[2:] for place in range(8)]
    size = 1 + 5 + 3  # small: in eights, with a ratio
    assert bits[0] == 1
    # not all default, no extra fields, 8 bits of integers, modular 16 bits, no extra channels, not XYB
    metadata = 1 + 1 + 1 + 2 + 1 + 2 + 1
    start = size + metadata
    assert bits[start] == 1, "libjxl stores sRGB as the default"
    end = start + 1
    rest = bits[end : end + 3]  # no extensions, plain transform
    padded = -(-(end + 3) // 8) * 8
    head = [*bits[:start], *bits_of(encoding), *rest]
    head += [0] * (-len(head) % 8)
    whole = head + bits[padded:]
    octets = (whole[at : at + 8] for at in range(0, len(whole), 8))
    return data[:2] + bytes(
        sum(bit << place for place, bit in enumerate(octet)) for octet in octets
    )


def told(*, white: int = 1, primaries: int = 1, transfer: int = 13) -> tuple[Field, ...]:
    """Neither default nor profile, RGB, then what is told, and an intent."""
    return (
        *((0, 1), (0, 1), *enum(0)),
        *(*enum(white), *enum(primaries), (0, 1), *enum(transfer), *enum(1)),
    )


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("container", [True, False])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_colours_of_what_libjxl_writes_are_read(  # imagecodecs calls 16 bits linear
    tmp_path: Path, lossless: bool, container: bool, depth: int
) -> None:
    pixels = gradient(24, 33) if depth == 8 else gradient(24, 33).astype(np.uint16) * 257
    data = imagecodecs.jpegxl_encode(pixels, level=90, lossless=lossless, usecontainer=container)
    assert jxl_size(data) == (24, 33)
    assert jxl_color(data) == JxlColor(code=None if depth == 8 else from_codes(1, 8))
    (tmp_path / "a.jxl").write_bytes(data)
    assert read_image(tmp_path / "a.jxl").notes == ()


@pytest.mark.parametrize(
    ("encoding", "codes"),
    [
        (told(primaries=11), (12, 13)),
        (told(primaries=11, white=11, transfer=17), (11, 17)),
        (told(primaries=9, transfer=16), (9, 16)),
        (told(primaries=9, transfer=18), (9, 18)),
        (told(transfer=8), (1, 8)),
    ],
)
def test_colour_told_by_numbers_is_carried_on(
    tmp_path: Path, encoding: tuple[Field, ...], codes: tuple[int, int]
) -> None:
    (tmp_path / "a.jxl").write_bytes(with_encoding(*encoding))
    image = read_image(tmp_path / "a.jxl")
    assert np.array_equal(image.pixels, gradient(24, 32))
    assert image.metadata.color == from_codes(*codes)
    assert image.metadata.color is not None
    assert image.notes == ()
    write_image(tmp_path / "a.jpg", image.pixels, metadata=image.metadata)
    assert read_image(tmp_path / "a.jpg").metadata.icc


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        (((0, 1), (1, 1), *enum(0)), JxlColor(profile_lost=True)),
        (((0, 1), (0, 1), *enum(3)), JxlColor(unknown=True)),
        (told(white=10), JxlColor(unknown=True)),
        (told(), JxlColor()),
        (
            ((0, 1), (0, 1), *enum(0), *enum(1), *enum(1), (1, 1), (4545455, 24), *enum(1)),
            JxlColor(),
        ),
    ],
)
def test_what_cannot_be_carried_on_is_known(encoding: tuple[Field, ...], wanted: JxlColor) -> None:
    assert jxl_color(with_encoding(*encoding)) == wanted


def test_a_profile_that_is_left_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypir_cli.images import modern

    monkeypatch.setattr(modern, "jxl_color", lambda data: JxlColor(profile_lost=True))
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(gradient(24, 32), lossless=True))
    (note,) = read_image(tmp_path / "a.jxl").notes
    assert "profile was left out" in note


def test_a_head_that_ends_early_is_an_error() -> None:
    with pytest.raises(ValueError, match="damaged"):
        jxl_color(b"\xff\x0a\x00\x00\x00\x00")
