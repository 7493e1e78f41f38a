"""Any image file becomes upright grey or RGB pixels in its own depth, or an error that names it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from hypir_cli.errors import InputError
from hypir_cli.images import decoding, image_size, quantize, read_image, to_float
from hypir_cli.images.reading import Reading
from tests.pictures import exif_block, gradient, noise, parsed, srgb_profile


def test_8_bit_png_is_read_exactly(tmp_path: Path) -> None:
    pixels = noise(7, 11, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.pixels, pixels)
    assert (image.alpha, image.bit_depth, image.is_grey, image.format) == (None, 8, False, "PNG")
    assert image_size(tmp_path / "a.png") == (7, 11)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_read_exactly(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = noise(9, 5, channels, dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        path.write_bytes(imagecodecs.png_encode(samples))
    else:
        tifffile.imwrite(
            path,
            samples,
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )
    image = read_image(path)
    colors = 3 if channels > 2 else 1
    assert image.bit_depth == 16
    assert np.array_equal(image.pixels, samples[..., :colors])
    if channels in (2, 4):
        assert image.alpha is not None
        assert np.array_equal(image.alpha, samples[..., -1])
    else:
        assert image.alpha is None


def test_a_transparent_colour_of_a_16_bit_png_becomes_alpha(tmp_path: Path) -> None:
    samples = noise(4, 4, dtype=np.uint16)
    data = imagecodecs.png_encode(samples)
    key = struct.pack(">H", int(samples[1, 2]))
    chunk = struct.pack(">I", 2) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.pixels[:, :, 0], samples)
    assert image.alpha is not None
    assert np.array_equal(image.alpha, np.where(samples == samples[1, 2], 0, 65535))


def test_planar_and_inverted_16_bit_tiffs_are_read_as_what_they_show(tmp_path: Path) -> None:
    planes = noise(3, 6, 8, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "p.tif").pixels, planes.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "w.tif", planes[0], photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "w.tif").pixels[:, :, 0], 65535 - planes[0])


def test_associated_alpha_is_divided_out(tmp_path: Path) -> None:
    samples = np.zeros((2, 2, 4), dtype=np.uint16)
    samples[..., :3], samples[..., 3] = 10000, 20000
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"])
    image = read_image(tmp_path / "a.tif")
    assert np.all(np.abs(image.pixels.astype(int) - 32768) <= 1)


@pytest.mark.parametrize("peak", [1.0, 1.15, 1.3, 4.0, 20.0, 300.0, 70000.0])
def test_float_tiffs_count_from_0_to_1_and_highlights_are_clipped(
    tmp_path: Path, peak: float
) -> None:
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3)
    stored = values.copy()
    stored[3, 3] = peak
    tifffile.imwrite(tmp_path / "f.tif", stored, photometric="rgb", metadata=None)
    image = read_image(tmp_path / "f.tif")
    assert np.abs(to_float(image.pixels) - np.clip(stored, 0, 1)).max() < 1e-5
    assert bool(image.notes) == (peak > 1)
    assert all("--float-range" in note for note in image.notes)


@pytest.mark.parametrize("span", [(0.0, 255.0), (0.0, 65535.0), (-1.0, 1.0)])
def test_a_float_range_is_taken_as_told(tmp_path: Path, span: tuple[float, float]) -> None:
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3)
    stored = span[0] + values * (span[1] - span[0])
    tifffile.imwrite(tmp_path / "f.tif", stored, photometric="rgb", metadata=None)
    image = read_image(tmp_path / "f.tif", reading=Reading(float_range=span))
    assert np.abs(to_float(image.pixels) - values).max() < 1e-5
    assert image.notes == ()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_tiffs_with_samples_that_mean_nothing_are_refused(
    tmp_path: Path, value: float
) -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[2, 1] = value
    tifffile.imwrite(tmp_path / "f.tif", values)
    with pytest.raises(InputError, match="NaN") as error:
        read_image(tmp_path / "f.tif")
    assert "f.tif" in error.value.message
    assert error.value.hint


def test_integer_types_of_no_photograph_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "i.tif", np.zeros((4, 4), dtype=np.int32))
    with pytest.raises(InputError, match="int32"):
        read_image(tmp_path / "i.tif")


def test_12_bits_are_widened_to_16(tmp_path: Path) -> None:
    samples = np.array([[0, 4095, 2048]], dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, bitspersample=12)
    assert read_image(tmp_path / "a.tif").pixels[0, :, 0].tolist() == [0, 65535, 32776]


def test_bilevel_grey_and_grey_with_alpha_stay_grey(tmp_path: Path) -> None:
    grey = Image.fromarray(noise(6, 6))
    grey.convert("1").save(tmp_path / "bilevel.png")
    grey.save(tmp_path / "grey.jpg")
    with_alpha = Image.merge("LA", (grey, Image.fromarray(noise(6, 6, seed=1))))
    with_alpha.save(tmp_path / "alpha.png")
    assert set(np.unique(read_image(tmp_path / "bilevel.png").pixels)) == {0, 255}
    assert read_image(tmp_path / "grey.jpg").is_grey
    image = read_image(tmp_path / "alpha.png")
    assert image.is_grey
    assert image.alpha is not None
    assert np.array_equal(image.alpha, noise(6, 6, seed=1))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(gradient(8, 8)).convert(mode)
    picture.save(tmp_path / "a.png", transparency=picture.getpixel((3, 3)))
    image = read_image(tmp_path / "a.png")
    assert image.alpha is not None
    assert image.alpha[3, 3] == 0
    assert image.is_grey == (mode == "L")


def test_a_palette_with_transparency_becomes_rgb_with_alpha(tmp_path: Path) -> None:
    palette = Image.fromarray(gradient(16, 16)).quantize(8)
    palette.save(tmp_path / "p.png", transparency=3)
    image = read_image(tmp_path / "p.png")
    assert image.pixels.shape == (16, 16, 3)
    assert image.alpha is not None
    assert np.array_equal(image.alpha == 0, np.asarray(palette) == 3)


def test_cmyk_comes_out_as_the_colours_it_shows(tmp_path: Path) -> None:
    Image.fromarray(gradient(16, 16)).convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    image = read_image(tmp_path / "c.jpg")
    assert np.abs(image.pixels.astype(int) - gradient(16, 16)).max() < 12
    assert any("sRGB" in note for note in image.notes)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_with_an_unusable_profile_is_read_as_without_one(tmp_path: Path, suffix: str) -> None:
    profile = bytearray(200)
    profile[16:20] = b"CMYK"
    inks = Image.fromarray(gradient(16, 16)).convert("CMYK")
    inks.save(tmp_path / f"bad.{suffix}", icc_profile=bytes(profile))
    inks.save(tmp_path / f"none.{suffix}")
    bad, none = (read_image(tmp_path / f"{name}.{suffix}") for name in ("bad", "none"))
    assert np.array_equal(bad.pixels, none.pixels)
    assert any("profile cannot be used" in note for note in bad.notes)


def test_lab_is_converted_through_its_meaning(tmp_path: Path) -> None:
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    picture = Image.fromarray(gradient(12, 12))
    converted = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    assert converted is not None
    converted.save(tmp_path / "lab.tif")
    image = read_image(tmp_path / "lab.tif")
    difference = np.abs(image.pixels.astype(int) - gradient(12, 12))
    assert np.median(difference) <= 3


def test_an_animation_gives_its_first_picture_and_a_note(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(9, 9, 3, seed=index)) for index in range(3)]
    frames[0].save(
        tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, exact=True
    )
    image = read_image(tmp_path / "a.webp")
    assert np.array_equal(image.pixels, noise(9, 9, 3, seed=0))
    assert any("animation" in note for note in image.notes)
    quantized = [frame.quantize() for frame in frames]
    quantized[0].save(tmp_path / "a.gif", save_all=True, append_images=quantized[1:])
    image = read_image(tmp_path / "a.gif")
    assert np.array_equal(image.pixels, np.asarray(quantized[0].convert("RGB")))
    assert any("animation" in note for note in image.notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_with_pages_gives_its_first_and_a_note(tmp_path: Path, dtype: type) -> None:
    pages = noise(2, 6, 7, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", metadata=None)
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.pixels[:, :, 0], pages[0])
    assert image.notes == ("only the first page is used",)


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "jp2", "gif", "tif"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(gradient(10, 14)).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").pixels.shape == (10, 14, 3)


def test_16_bit_grey_of_other_formats_keeps_its_depth(tmp_path: Path) -> None:
    samples = noise(5, 6, dtype=np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 6 5 65535\n" + samples.astype(">u2").tobytes())
    assert np.array_equal(read_image(tmp_path / "a.pgm").pixels[:, :, 0], samples)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "avif"])
def test_every_orientation_is_applied_once_and_reset(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    stored = Image.fromarray(gradient(20, 30))
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif_block(orientation=orientation))
    turns = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    turn = turns[orientation]
    upright = stored if turn is None else stored.transpose(Image.Transpose(turn))
    image = read_image(path)
    assert image.pixels.shape[:2] == (upright.height, upright.width)
    assert np.abs(image.pixels.astype(int) - np.asarray(upright)).max() < 20
    assert parsed(image.metadata.exif)["orientation"] in (None, 1)


def test_16_bit_tiffs_are_turned_too(tmp_path: Path) -> None:
    samples = noise(4, 6, 3, dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="rgb", extratags=[(274, 3, 1, 6, True)]
    )
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(samples, -1))


def test_metadata_is_read_and_made_upright(tmp_path: Path) -> None:
    xmp = (
        b'<x:xmpmeta><rdf tiff:Orientation="8"/><tiff:Orientation>3</tiff:Orientation></x:xmpmeta>'
    )
    Image.fromarray(gradient(20, 30)).save(
        tmp_path / "a.jpg",
        exif=exif_block(orientation=8),
        xmp=xmp,
        icc_profile=srgb_profile(),
        dpi=(300, 300),
    )
    metadata = read_image(tmp_path / "a.jpg").metadata
    assert parsed(metadata.exif)["make"] == "Testcam"
    assert parsed(metadata.exif)["orientation"] == 1
    assert metadata.xmp == xmp.replace(b'"8"', b'"1"').replace(b">3<", b">1<")
    assert metadata.icc == srgb_profile()
    assert metadata.dpi == (300, 300)


def test_a_profile_of_another_colour_space_is_left_out(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 6)).save(tmp_path / "a.jpg", icc_profile=srgb_profile())
    image = read_image(tmp_path / "a.jpg")
    assert image.metadata.icc == b""
    assert any("profile" in note for note in image.notes)


def test_damaged_exif_is_left_out_with_a_note(tmp_path: Path) -> None:
    block = exif_block(orientation=6)[:30]
    Image.fromarray(gradient(8, 9)).save(tmp_path / "a.png", exif=block)
    image = read_image(tmp_path / "a.png")
    assert image.pixels.shape == (8, 9, 3)
    assert image.metadata.exif == b""
    assert any("Exif" in note for note in image.notes)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp", "avif", "jp2"])
def test_files_cut_short_anywhere_are_input_errors(tmp_path: Path, suffix: str) -> None:
    whole = io.BytesIO()
    names = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
    Image.fromarray(noise(40, 40, 3)).save(whole, format=names.get(suffix, suffix.upper()))
    data = whole.getvalue()
    path = tmp_path / f"cut.{suffix}"
    for share in (0.02, 0.1, 0.5, 0.8):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=f"cut.{suffix}") as error:
            read_image(path)
        assert error.value.hint


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_cut_short_are_input_errors(tmp_path: Path, suffix: str) -> None:
    samples = noise(40, 40, 3, dtype=np.uint16)
    path = tmp_path / f"cut.{suffix}"
    if suffix == "png":
        path.write_bytes(imagecodecs.png_encode(samples))
    else:
        tifffile.imwrite(path, samples, photometric="rgb")
    data = path.read_bytes()
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=f"cut.{suffix}"):
            read_image(path)


def test_what_is_no_image_is_named_with_what_it_begins_with(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello world", encoding="utf-8")
    with pytest.raises(InputError, match=r"text\.png.*hello"):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.jpg.*0 bytes"):
        image_size(tmp_path / "empty.jpg")


def test_missing_files_and_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="directory"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match="10000 megapixels"):
        read_image(tmp_path / "bomb.png")
    tifffile.imwrite(tmp_path / "small.tif", noise(9, 9))
    with pytest.raises(InputError, match="the limit is 0"):
        read_image(tmp_path / "small.tif", reading=Reading(max_pixels=80))


@pytest.mark.slow
def test_100_megapixels_are_read_without_touching_pillows_own_limit(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    Image.new("L", (10_000, 10_000)).save(tmp_path / "large.png", compress_level=1)
    assert read_image(tmp_path / "large.png").pixels.shape == (10_000, 10_000, 1)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_an_image_above_pillows_limit_gives_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(decoding, "_BAND_BYTES", 4 * 10 * 40)  # as small against the limit as it is
    pixels = noise(40, 40, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, pixels)


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_quantizing_what_was_made_float_gives_every_value_back(bit_depth: int) -> None:
    kind = np.uint8 if bit_depth == 8 else np.uint16
    values = np.arange(2**bit_depth, dtype=kind)
    assert np.array_equal(quantize(to_float(values), bit_depth), values)


def test_quantizing_rounds_half_up_and_clamps() -> None:
    values = np.array([-1.0, 0.49 / 255, 0.5 / 255, 1.51 / 255, 2.0])
    assert quantize(values, 8).tolist() == [0, 0, 1, 2, 255]


def test_quantizing_to_another_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="8 or 16"):
        quantize(np.zeros(3), 12)
