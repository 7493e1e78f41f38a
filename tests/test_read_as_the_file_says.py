"""A picture is read as its file says: main page, orientation, inks, depth, and what is left of a damaged one."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from hypir_cli.errors import InputError
from hypir_cli.images import Reading, image_size, read_image
from tests.pictures import exif_block, gradient, noise

DATA = Path(__file__).parent / "data"


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _png_bytes(pixels: Any, *, interlaced: bool = False) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **({"interlace": 1} if interlaced else {}))
    return buffer.getvalue()


def _jpeg_bytes(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def _raw_profile(kind: str, content: bytes) -> bytes:
    digits = content.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(content):8d}\n{lines}\n".encode()
    return _chunk(b"zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["eXIf", "prefixed", "exif", "APP1", "xmp"])
def test_orientation_counts_wherever_a_png_keeps_it(
    tmp_path: Path, form: str, orientation: int
) -> None:
    block = exif_block(orientation=orientation)
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    )
    extra = {
        "eXIf": _chunk(b"eXIf", block),
        "prefixed": _chunk(b"eXIf", b"Exif\0\0" + block),
        "exif": _raw_profile("exif", b"Exif\0\0" + block),
        "APP1": _raw_profile("APP1", b"Exif\0\0" + block),
        "xmp": _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet),
    }[form]
    data = _png_bytes(gradient(10, 16))
    (tmp_path / "a.png").write_bytes(data[:33] + extra + data[33:])
    image = read_image(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(_jpeg_bytes(gradient(10, 16), exif=b"Exif\0\0" + block))
    expected = read_image(tmp_path / "b.jpg")
    assert image.pixels.shape == expected.pixels.shape
    assert np.abs(image.pixels.astype(int) - expected.pixels).mean() < 12
    assert b'Orientation="1"' in image.metadata.xmp or form != "xmp"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_main_page_of_a_tiff_is_read_and_turned(
    tmp_path: Path, dtype: Any, orientation: int
) -> None:
    picture = gradient(12, 20).astype(dtype)
    tags = [(274, 3, 1, orientation, True)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(picture[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(picture, photometric="rgb", metadata=None, extratags=tags)
    image = read_image(tmp_path / "a.tif")
    turned = {1: picture, 3: picture[::-1, ::-1], 6: np.rot90(picture, -1), 8: np.rot90(picture)}
    assert np.array_equal(image.pixels, turned[orientation])
    assert image_size(tmp_path / "a.tif") == (12, 20)
    assert "its thumbnail was left out" in image.notes


@pytest.mark.parametrize(
    ("depth", "extra"), list(itertools.product([np.uint8, np.uint16], [None, "unassalpha"]))
)
def test_inks_with_alpha_and_depth_are_read(tmp_path: Path, depth: Any, extra: str | None) -> None:
    inks = np.asarray(Image.fromarray(gradient(12, 16)).convert("CMYK")).astype(depth)
    top = np.iinfo(depth).max
    inks = inks * (top // 255)
    samples = inks if extra is None else np.dstack([inks, np.full(inks.shape[:2], top, depth)])
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples,
        photometric="separated",
        extrasamples=None if extra is None else [extra],
        metadata=None,
    )
    image = read_image(tmp_path / "a.tif")
    assert (image.alpha is not None) == (extra is not None)
    assert np.abs(image.pixels.astype(int) - gradient(12, 16)).mean() < 6


def test_unknown_pixels_are_not_called_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(6, 6), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages[0].tags[262].overwrite(32844)
    with pytest.raises(InputError, match="not supported"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["jp2", "ppm", "jxl"])
def test_16_bits_are_read_as_16_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = noise(20, 24, channels, dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    plain = pixels[:, :, 0] if channels == 1 else pixels
    if suffix == "jp2":
        path.write_bytes(imagecodecs.jpeg2k_encode(plain, level=0, reversible=True))
    elif suffix == "jxl":
        path.write_bytes(imagecodecs.jpegxl_encode(plain, lossless=True))
    else:
        kind = b"P5" if channels == 1 else b"P6"
        path.write_bytes(kind + b"\n# a scan\n24 20\n65535\n" + pixels.astype(">u2").tobytes())
    image = read_image(path)
    assert image.bit_depth == 16
    assert np.array_equal(image.pixels, pixels)
    assert image_size(path) == (20, 24)


@pytest.mark.parametrize("shape", [(20, 24), (20, 20), (1200, 1600), (9, 16), (33, 4000)])
def test_the_size_of_a_jpeg_xl_is_told_by_its_header(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    assert image_size(tmp_path / "a.jxl") == shape


def test_heic_is_read_upright_with_its_exif() -> None:
    image = read_image(DATA / "turned.heic")
    assert image.pixels.shape[2] == 3
    assert image_size(DATA / "turned.heic") == (image.height, image.width)
    deep = read_image(DATA / "p3-10bit.heic")
    assert deep.bit_depth == 16
    assert deep.metadata.color is not None
    assert deep.metadata.color.primaries_code == 12
    wanted = gradient(24, 32).astype(int) * 257
    assert np.abs(deep.pixels.astype(int) - wanted).mean() < 65535 / 60


@pytest.mark.parametrize("range_", [None, (0.0, 4.0)])
def test_exr_light_becomes_srgb(tmp_path: Path, range_: tuple[float, float] | None) -> None:
    exr = pytest.importorskip("OpenEXR")
    light = np.linspace(0, 2, 48, dtype=np.float32).reshape(4, 4, 3)
    with exr.File({"type": exr.scanlineimage}, {"RGB": light}) as file:
        file.write(str(tmp_path / "a.exr"))
    image = read_image(tmp_path / "a.exr", reading=Reading(float_range=range_))
    scaled = np.clip(light / (4 if range_ else 1), 0, 1)
    wanted = np.where(scaled <= 0.0031308, 12.92 * scaled, 1.055 * scaled ** (1 / 2.4) - 0.055)
    assert np.abs(image.pixels / 65535 - wanted).max() < 1e-3
    assert image_size(tmp_path / "a.exr") == (4, 4)
    assert any("clipped" in note for note in image.notes) == (range_ is None)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_is_read_with_a_note(
    tmp_path: Path, progressive: bool, cut: int
) -> None:
    whole = _jpeg_bytes(gradient(40, 56), progressive=progressive)
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[:-cut])
    image = read_image(tmp_path / "cut.jpg")
    assert np.array_equal(image.pixels, read_image(tmp_path / "whole.jpg").pixels)
    assert image.notes == ("its end is missing, but every pixel is there",)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_with_missing_rows_is_refused_and_read_on_request(
    tmp_path: Path, mode: str, ended: bool
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(160, 160, 3)).convert(mode).save(buffer, "JPEG", quality=92)
    whole = buffer.getvalue()
    data = whole[: len(whole) // 2] + (b"\xff\xd9" if ended else b"")
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "whole.jpg").write_bytes(whole)
    with pytest.raises(InputError, match="rows are missing") as error:
        read_image(tmp_path / "a.jpg")
    assert "--partial" in error.value.hint
    image = read_image(tmp_path / "a.jpg", reading=Reading(partial=True))
    reference = read_image(tmp_path / "whole.jpg")
    assert np.array_equal(image.pixels[:48], reference.pixels[:48])
    assert any("cut short" in note for note in image.notes)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("damage", ["end", "text checksum", "stream end"])
def test_a_png_damaged_beside_its_pixels_is_read_with_a_note(
    tmp_path: Path, damage: str, interlaced: bool, deep: bool
) -> None:
    pixels = noise(20, 24, 3, dtype=np.uint16 if deep else np.uint8)
    if deep:
        if interlaced:
            return  # neither encoder at hand interlaces 16 bits
        data = imagecodecs.png_encode(pixels)
    else:
        data = _png_bytes(pixels, interlaced=interlaced)
    text = bytearray(_chunk(b"tEXt", b"Comment\0abc"))
    text[-1] ^= 1
    broken = {
        "end": data[:-12],
        "text checksum": data[:33] + bytes(text) + data[33:],
        "stream end": data[:-16],
    }[damage]
    (tmp_path / "a.png").write_bytes(broken)
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.pixels, pixels)
    assert image.notes == ("its end or a checksum is damaged, but every pixel is there",)


def test_a_png_with_missing_rows_is_refused_and_read_on_request(tmp_path: Path) -> None:
    pixels = noise(64, 64, 3)
    data = _png_bytes(pixels)
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="can be read") as error:
        read_image(tmp_path / "a.png")
    assert "--partial" in error.value.hint
    image = read_image(tmp_path / "a.png", reading=Reading(partial=True))
    assert np.array_equal(image.pixels[:24], pixels[:24])
    assert image.pixels[-1].max() == 0


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "suffix", ["jpg", "png", "tif", "webp", "avif", "gif", "heic", "jp2", "jxl"]
)
def test_damaged_files_of_every_kind_give_an_image_or_an_input_error(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == "heic":
        data = (DATA / "turned.heic").read_bytes()
    elif suffix == "jxl":
        data = bytes(imagecodecs.jpegxl_encode(gradient(16, 16)))
    else:
        Image.fromarray(gradient(16, 16)).save(tmp_path / f"whole.{suffix}")
        data = (tmp_path / f"whole.{suffix}").read_bytes()
    generator = np.random.default_rng(3)
    for number in range(60):
        broken = bytearray(data)
        for _ in range(1 + number % 5):
            broken[int(generator.integers(len(broken)))] = int(generator.integers(256))
        if number % 3 == 0:
            broken = broken[: int(generator.integers(1, len(broken)))]
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(bytes(broken))
        with contextlib.suppress(InputError):
            assert read_image(path).pixels.ndim == 3
