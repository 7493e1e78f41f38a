"""Images are written whole or not at all, with the depth, alpha and metadata their format can carry."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.images import Metadata, atomic_file, read_image, write_image
from hypir_cli.images.atomic import FolderGuard
from tests.pictures import exif_block, gradient, noise, parsed, srgb_profile


def _metadata() -> Metadata:
    exif = exif_block(size=(7, 9)).removeprefix(b"Exif\x00\x00")
    return Metadata(exif=exif, xmp=b"<x:xmpmeta/>", icc=srgb_profile(), dpi=(300.0, 200.0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_formats_give_every_sample_back(
    tmp_path: Path, suffix: str, dtype: type, channels: int, with_alpha: bool
) -> None:
    pixels = noise(33, 47, channels, dtype=dtype)
    alpha = noise(33, 47, dtype=dtype, seed=1) if with_alpha else None
    path = tmp_path / f"a.{suffix}"
    assert write_image(path, pixels, alpha=alpha) == ()
    image = read_image(path)
    assert image.pixels.dtype == dtype
    assert np.array_equal(image.pixels, pixels)
    assert (image.alpha is None) == (alpha is None)
    if image.alpha is not None and alpha is not None:
        assert np.array_equal(image.alpha, alpha)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (700, 613)])
def test_other_programs_read_our_png(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = noise(*size, 3)
    write_image(tmp_path / "a.png", pixels, metadata=_metadata())
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    deep = noise(*size, 3, dtype=np.uint16)
    write_image(tmp_path / "b.png", deep, metadata=_metadata())
    decoded = imagecodecs.png_decode((tmp_path / "b.png").read_bytes())
    assert np.array_equal(decoded.reshape(deep.shape), deep)


def test_a_photograph_packs_about_as_small_as_pillow_packs_it(tmp_path: Path) -> None:
    pixels = np.clip(gradient(256, 256).astype(int) + noise(256, 256, 3) // 32, 0, 255)
    write_image(tmp_path / "ours.png", pixels.astype(np.uint8))
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pillow.png")
    ours, pillow = ((tmp_path / name).stat().st_size for name in ("ours.png", "pillow.png"))
    assert ours < 1.15 * pillow


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "avif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_metadata_survives_in_every_format(tmp_path: Path, suffix: str, dtype: type) -> None:
    pixels = noise(20, 30, 3, dtype=dtype)
    path = tmp_path / f"a.{suffix}"
    write_image(path, pixels, metadata=_metadata())
    metadata = read_image(path).metadata
    exif = parsed(metadata.exif)
    assert exif["make"] == "Testcam"
    assert exif["exposure"] == pytest.approx(0.004)
    assert exif["comment"] == b"ASCII\x00\x00\x00a comment"
    assert exif["gps"] == "N"
    assert exif["size"] == (20, 30), "the pixel size inside Exif is the result's"
    assert metadata.xmp == b"<x:xmpmeta/>"
    assert metadata.icc == srgb_profile()
    if suffix in ("png", "tif"):
        assert metadata.dpi == pytest.approx((300, 200), abs=0.02)


def test_metadata_survives_a_chain_of_formats(tmp_path: Path) -> None:
    write_image(tmp_path / "0.jpg", gradient(20, 30), metadata=_metadata())
    for step, suffix in enumerate(["tif", "png", "webp", "avif", "tif", "jpg"], start=1):
        before = read_image(next(tmp_path.glob(f"{step - 1}.*")))
        write_image(tmp_path / f"{step}.{suffix}", before.pixels, metadata=before.metadata)
    first, last = (parsed(read_image(tmp_path / f"{n}.jpg").metadata.exif) for n in (0, 6))
    assert {**last, "orientation": 1} == first


def test_stripping_leaves_only_what_belongs_to_the_colours(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "jpg", "webp", "avif"):
        path = tmp_path / f"a.{suffix}"
        write_image(path, gradient(9, 9), metadata=_metadata(), keep_metadata=False)
        metadata = read_image(path).metadata
        assert (parsed(metadata.exif)["make"], metadata.xmp) == (None, b"")
        assert metadata.icc == srgb_profile()


def test_png_colour_chunks_are_carried_on(tmp_path: Path) -> None:
    gamma = (b"gAMA", (100_000).to_bytes(4, "big"))
    write_image(tmp_path / "a.png", gradient(4, 4), metadata=Metadata(png_color=(gamma,)))
    assert read_image(tmp_path / "a.png").metadata.png_color == (gamma,)


def test_grey_stays_grey_in_formats_that_know_grey(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "jpg"):
        write_image(tmp_path / f"a.{suffix}", noise(8, 8, 1))
        assert read_image(tmp_path / f"a.{suffix}").is_grey


def test_lossy_formats_are_close_and_keep_alpha_where_they_can(tmp_path: Path) -> None:
    pixels, alpha = gradient(48, 48), np.full((48, 48), 200, dtype=np.uint8)
    for suffix in ("webp", "avif"):
        write_image(tmp_path / f"a.{suffix}", pixels, alpha=alpha)
        image = read_image(tmp_path / f"a.{suffix}")
        assert np.abs(image.pixels.astype(int) - pixels).mean() < 3
        assert image.alpha is not None
        assert np.abs(image.alpha.astype(int) - 200).max() <= 2


def test_jpeg_lays_transparent_parts_on_white_and_says_so(tmp_path: Path) -> None:
    alpha = np.zeros((16, 16), dtype=np.uint8)
    alpha[:, 8:] = 255
    notes = write_image(tmp_path / "a.jpg", np.zeros((16, 16, 3), dtype=np.uint8), alpha=alpha)
    pixels = read_image(tmp_path / "a.jpg").pixels
    assert pixels[:, :8].min() > 250
    assert pixels[:, 8:].max() < 5
    assert any("white" in note for note in notes)


def test_jpeg_keeps_full_colour_resolution_and_obeys_quality(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", noise(64, 64, 3))
    write_image(tmp_path / "b.jpg", noise(64, 64, 3), quality=20)
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
    assert (tmp_path / "b.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size / 2


def test_16_bits_are_rounded_to_8_where_the_format_has_no_more(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 1), 257 * 100 + 200, dtype=np.uint16)
    write_image(tmp_path / "a.jpg", pixels, quality=100)
    assert np.all(read_image(tmp_path / "a.jpg").pixels == 101)


def test_what_makes_exif_too_long_for_jpeg_is_left_out_with_a_note_and_long_xmp_is_kept(
    tmp_path: Path,
) -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>' + b" " * 70_000 + b"</rdf:RDF></x:xmpmeta>"
    )
    metadata = Metadata(exif=_metadata().exif + bytes(70_000), xmp=packet)
    notes = write_image(tmp_path / "a.jpg", gradient(8, 8), metadata=metadata)
    assert notes == ("its Exif data is too long for JPEG; left out of it: what no tag holds",)
    read = read_image(tmp_path / "a.jpg").metadata
    assert 0 < len(read.exif) < 70_000
    assert read.xmp_extension == packet


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_never_keeps_an_image_from_being_written(tmp_path: Path) -> None:
    block = bytearray(_metadata().exif)
    generator = np.random.default_rng(0)
    for suffix in ("png", "tif", "jpg", "webp", "avif"):
        for _ in range(40):
            damaged = bytearray(block)
            for place in generator.integers(8, len(block), 4):
                damaged[place] = int(generator.integers(256))
            write_image(
                tmp_path / f"a.{suffix}", gradient(8, 8), metadata=Metadata(exif=bytes(damaged))
            )
            assert read_image(tmp_path / f"a.{suffix}").pixels.shape == (8, 8, 3)


def test_the_format_can_differ_from_the_suffix(tmp_path: Path) -> None:
    write_image(tmp_path / "a.data", gradient(8, 8), format="tiff")
    assert read_image(tmp_path / "a.data").format == "TIFF"


def test_a_suffix_without_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.psd"):
        write_image(tmp_path / "a.psd", gradient(8, 8))


def test_a_quality_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quality"):
        write_image(tmp_path / "a.jpg", gradient(8, 8), quality=0)


def test_an_image_too_wide_for_its_format_is_refused_with_a_way_out(tmp_path: Path) -> None:
    wide = np.zeros((1, 16384, 1), dtype=np.uint8)
    with pytest.raises(InputError, match="16383") as error:
        write_image(tmp_path / "a.webp", wide)
    assert "png" in error.value.hint
    assert os.listdir(tmp_path) == []


def test_parent_folders_are_made(tmp_path: Path) -> None:
    write_image(tmp_path / "x" / "y" / "a.png", gradient(4, 4))
    assert (tmp_path / "x" / "y" / "a.png").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def write() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_device_is_an_input_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left") as error:
        write_image(tmp_path / "a.png", gradient(8, 8))
    assert "space" in error.value.hint
    assert os.listdir(tmp_path) == []


def test_writing_below_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write") as error:
        write_image(tmp_path / "file" / "a.png", gradient(8, 8))
    assert "file" in error.value.hint


def test_a_very_long_name_works_as_far_as_the_system_lets_it(tmp_path: Path) -> None:
    write_image(tmp_path / f"{'n' * 250}.png", gradient(4, 4))
    with pytest.raises(InputError, match="cannot write") as error:
        write_image(tmp_path / f"{'n' * 260}.png", gradient(4, 4))
    assert "shorter" in error.value.hint


def test_leftovers_of_dead_processes_are_removed_and_others_kept(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.bin"):
        name = next(item for item in os.listdir(tmp_path) if item.startswith(".hypir-"))
    stem = name.rpartition("-")[0]
    dead, alive, foreign = f"{stem}-4194999.tmp", f"{stem}-{os.getppid()}.tmp", ".hypir-a-b-1.tmp"
    for item in (dead, alive, foreign):
        (tmp_path / item).touch()
    FolderGuard().check(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([alive, foreign, "a.bin"])


def test_rewriting_a_file_read_from_another_format_keeps_its_look(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 8, 3, dtype=np.uint16), photometric="rgb")
    image = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "a.png", image.pixels, metadata=replace(image.metadata, dpi=None))
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, image.pixels)
