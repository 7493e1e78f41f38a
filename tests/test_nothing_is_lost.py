"""What the output format can hold is kept; what it cannot, or what is no longer true, is named."""

from __future__ import annotations

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
from PIL import Image, ImageCms

from hypir_cli.images import Metadata, boxes, ifd, iptc, jpeg, read_image, write_image
from hypir_cli.images import exif as exif_block
from hypir_cli.images.colorcode import from_codes, from_numbers, profile_of
from hypir_cli.images.tiff_writing import write_tiff
from tests.full_metadata import (
    IPTC,
    MAKER,
    OWNER,
    TEXTS,
    XMP,
    full_exif,
    full_metadata,
    maker_note,
    samples,
)
from tests.pictures import gradient, srgb_profile

FORMATS = ("png", "jpg", "webp", "tif", "avif")
HOLDS_IPTC = ("png", "jpg", "tif")


def carried(tmp_path: Path, source: str, target: str, metadata: Metadata) -> tuple[Path, str]:
    """A picture with metadata written as one format, read, and written as another; the file and all notes."""
    first, second = tmp_path / f"first.{source}", tmp_path / f"second.{target}"
    written = write_image(first, gradient(24, 32), metadata=metadata)
    image = read_image(first)
    notes = write_image(second, image.pixels, metadata=image.metadata)
    return second, " | ".join((*written, *image.notes, *notes))


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_metadata_is_carried_from_every_format_to_every_other(
    tmp_path: Path, source: str, target: str
) -> None:
    path, notes = carried(tmp_path, source, target, full_metadata())
    data, read = path.read_bytes(), read_image(path).metadata
    for text in (*TEXTS.values(), OWNER):
        assert text.encode() in data, text
    place, note = maker_note(read.exif)
    assert (place, note) == (maker_note(full_exif())[0], MAKER)
    assert read.xmp == XMP
    assert read.icc == srgb_profile()
    if source in HOLDS_IPTC and target in HOLDS_IPTC:
        assert iptc.of_resources(read.photoshop) == IPTC
    else:
        assert "IPTC" in notes
    if {source, target} <= {"png", "jpg"}:
        assert b"Kiste 12" in data
        assert "Schrank Ü".encode() in data
    else:
        assert "texts" in notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", FORMATS)
def test_tiff_keeps_exif_byte_for_byte_in_either_byte_order(
    tmp_path: Path, source: str, order: str
) -> None:
    path, _ = carried(tmp_path, source, "tif", Metadata(exif=full_exif(order=order)))
    assert path.read_bytes()[:2] == (b"II" if order == "<" else b"MM")
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        assert tags[18246].value == 4
        assert tags["ExifTag"].value["ExposureTime"] == (1, 250)
        assert np.array_equal(tiff.pages[0].asarray(), read_image(path).pixels)
    with Image.open(path) as picture:
        picture.load()
        assert picture.getexif().get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize(
    ("target", "depth", "channels", "with_alpha"),
    list(itertools.product(FORMATS, (8, 16), (1, 3), (False, True))),
)
def test_depth_mode_and_alpha_come_back_or_are_named(
    tmp_path: Path, target: str, depth: int, channels: int, with_alpha: bool
) -> None:
    pixels = samples(depth, channels)
    alpha = samples(depth, 1)[:, :, 0] if with_alpha else None
    path = tmp_path / f"a.{target}"
    notes = " | ".join(
        write_image(
            path, pixels, alpha=alpha, quality=100 if target not in ("png", "tif") else None
        )
    )
    image = read_image(path)
    assert image.pixels.shape[:2] == pixels.shape[:2]
    if target in ("png", "tif"):
        assert np.array_equal(image.pixels, pixels)
        assert alpha is None or np.array_equal(image.alpha, alpha)
        assert notes == ""
        return
    assert (image.alpha is not None) == (with_alpha and target != "jpg")
    assert ("transparency" in notes) == (with_alpha and target == "jpg")
    assert ("16 bits became" in notes) == (depth == 16)
    if target == "avif" and depth == 16:
        assert image.bit_depth == 16
        close = np.abs(image.pixels.astype(int)[..., :channels] - pixels)
        assert np.median(close) < 65535 / 100


@pytest.mark.parametrize("unit", ["inch", "cm"])
@pytest.mark.parametrize("target", FORMATS)
def test_the_resolution_keeps_its_unit(tmp_path: Path, target: str, unit: Any) -> None:
    dpi = (300.0, 300.0) if unit == "inch" else (118 * 2.54, 118 * 2.54)
    metadata = Metadata(dpi=dpi, dpi_unit=unit)
    path, notes = carried(tmp_path, "tif", target, metadata)
    read = read_image(path).metadata
    if target in ("webp", "avif"):
        with Image.open(path) as picture:
            tags = picture.getexif()
        assert float(tags[282]) == (300 if unit == "inch" else 118)
        assert tags[296] == (2 if unit == "inch" else 3)
        return
    assert read.dpi == pytest.approx(dpi, rel=1e-3)
    assert target == "png" or read.dpi_unit == unit
    assert notes == ""


def _jpeg(tmp_path: Path, *segments: bytes, tail: bytes = b"") -> Path:
    buffer = io.BytesIO()
    Image.fromarray(gradient(24, 32)).save(buffer, "JPEG", quality=92)
    data = buffer.getvalue()
    path = tmp_path / "in.jpg"
    path.write_bytes(data[:2] + b"".join(segments) + data[2:] + tail)
    return path


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def test_extended_xmp_stays_in_jpeg_and_is_merged_elsewhere(tmp_path: Path) -> None:
    extension = XMP.replace(b"dc:source", b"dc:rights").replace(b"Archiv", b"A" * 100_000)
    metadata = Metadata(
        xmp=XMP.replace(
            b"<rdf:Description",
            b'<rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="'
            + b"0" * 32
            + b'"',
        )
    )
    from hypir_cli.images import xmp as packets

    metadata = Metadata(
        xmp=packets.renamed_extension(metadata.xmp, extension), xmp_extension=extension
    )
    same, _ = carried(tmp_path, "jpg", "jpg", metadata)
    kept = read_image(same).metadata
    assert (kept.xmp, kept.xmp_extension) == (metadata.xmp, extension)
    for target in ("png", "tif", "webp", "avif"):
        other, _ = carried(tmp_path, "jpg", target, metadata)
        packet = read_image(other).metadata.xmp
        assert b"A" * 100_000 in packet
        assert b"HasExtendedXMP" not in packet
        assert packet.count(b"</rdf:RDF>") == 1


@pytest.mark.parametrize(
    ("segments", "tail", "word"),
    [
        ([_segment(0xE2, b"MPF\0" + b"\0" * 40)], b"\xff\xd8" * 40, "further pictures"),
        ([_segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0")], b"", "gain map"),
        ([], b"ftypmp42" * 40, "after the picture"),
        ([_segment(0xEB, b"JP" + b"\0" * 30)], b"", "C2PA"),
        (
            [_segment(0xE1, jpeg.XMP_HEADER + XMP.replace(b"dc:source", b"GCamera:MotionPhoto"))],
            b"",
            "motion video",
        ),
        (
            [_segment(0xE1, jpeg.XMP_HEADER + XMP.replace(b"dc:source", b"hdrgm:Version"))],
            b"",
            "gain map",
        ),
        (
            [
                _segment(
                    0xED,
                    iptc.PHOTOSHOP_HEADER + b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"abcd",
                )
            ],
            b"",
            "Photoshop's layout",
        ),
    ],
)
def test_what_belongs_to_the_old_file_is_left_out_and_named(
    tmp_path: Path, segments: list[bytes], tail: bytes, word: str
) -> None:
    path = _jpeg(tmp_path, *segments, tail=tail)
    image = read_image(path)
    assert any(word in note for note in image.notes), image.notes
    write_image(tmp_path / "out.jpg", image.pixels, metadata=image.metadata)
    assert read_image(tmp_path / "out.jpg").notes == ()


def test_a_thumbnail_is_left_out_and_named(tmp_path: Path) -> None:
    block = full_exif()
    start = struct.unpack_from("<I", block, 4)[0]
    end = start + 2 + 12 * struct.unpack_from("<H", block, start)[0]
    with_thumbnail = block[:end] + struct.pack("<I", 8) + block[end + 4 :]
    write_image(tmp_path / "a.jpg", gradient(8, 8), metadata=Metadata(exif=with_thumbnail))
    image = read_image(tmp_path / "a.jpg")
    assert any("thumbnail" in note for note in image.notes)
    assert not exif_block.has_thumbnail(image.metadata.exif)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_too_long_for_jpeg_is_left_out_of_exif_and_named(
    tmp_path: Path, order: str
) -> None:
    long = {316: (ifd.ASCII, b"B" * 90_000 + b"\0"), 700: (ifd.BYTE, b"x" * 70_000)}
    block = exif_block.with_entries(full_exif(order=order), long)
    write_image(tmp_path / "a.png", gradient(24, 32), metadata=Metadata(exif=block))
    image = read_image(tmp_path / "a.png")
    notes = write_image(tmp_path / "b.jpg", image.pixels, metadata=image.metadata)
    assert any("left out of it: HostComputer, XMLPacket" in note for note in notes), notes
    read = read_image(tmp_path / "b.jpg").metadata
    assert exif_block.first_tags(read.exif) == exif_block.first_tags(block) - set(long)
    assert maker_note(read.exif) == maker_note(block)
    for text in (*TEXTS.values(), OWNER):
        assert text.encode() in read.exif
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif().get_ifd(0x8825)[1] == "N"


def test_a_maker_note_that_is_too_long_for_jpeg_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[272] = "Camera"
    exif.get_ifd(0x8769)[0x927C] = b"m" * 80_000
    Image.fromarray(gradient(8, 9)).save(tmp_path / "a.png", exif=exif)
    image = read_image(tmp_path / "a.png")
    notes = write_image(tmp_path / "b.jpg", image.pixels, metadata=image.metadata)
    assert any("MakerNote" in note for note in notes), notes
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.getexif()[272] == "Camera"


def test_the_time_of_a_pngs_last_change_is_named(tmp_path: Path) -> None:
    image = read_image(
        _png(tmp_path / "a.png", _chunk(b"tIME", struct.pack(">H5B", 2001, *range(1, 6))))
    )
    assert any("tIME" in note for note in image.notes)
    write_image(tmp_path / "b.png", image.pixels, metadata=image.metadata)
    assert read_image(tmp_path / "b.png").notes == ()


def save_tiff(path: Path, tags: list[tuple[Any, ...]], **options: bool) -> None:
    """A TIFF with these tags and no more than it needs beside them."""
    plain = {"photometric": "rgb", "metadata": None, "software": False}
    tifffile.imwrite(path, gradient(8, 8), extratags=tags, **plain, **options)


def test_sizes_are_brought_up_to_date(tmp_path: Path) -> None:
    packet = XMP.replace(
        b'dc:source="Archiv K\xc3\xb6ln"', b'tiff:ImageWidth="32" exif:PixelYDimension="24"'
    )
    write_image(tmp_path / "a.jpg", gradient(48, 64), metadata=Metadata(xmp=packet))
    read = read_image(tmp_path / "a.jpg").metadata.xmp
    assert b'tiff:ImageWidth="64" exif:PixelYDimension="48"' in read


@pytest.mark.parametrize(
    ("tag", "word"),
    [
        ((33550, 12, 3, (1.0, 1.0, 0.0), True), "GeoTIFF"),
        ((50706, 1, 4, b"\1\4\0\0", True), "DNG"),
        ((37724, 7, 12, b"Adobe Photos", True), "layers"),
        ((270, 2, 0, b'{"shape": [8, 8, 3]}\0', True), "layout"),
    ],
)
def test_tiff_tags_of_another_file_are_left_out_and_named(
    tmp_path: Path, tag: tuple[Any, ...], word: str
) -> None:
    save_tiff(tmp_path / "a.tif", [tag])
    image = read_image(tmp_path / "a.tif")
    assert any(word in note for note in image.notes)
    write_image(tmp_path / "b.tif", image.pixels, metadata=image.metadata)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tag[0] not in tiff.pages[0].tags


@pytest.mark.parametrize("source", ["tif", "II+"])
def test_document_tags_of_a_tiff_are_kept_as_they_are(tmp_path: Path, source: str) -> None:
    tags = [
        (269, 2, 0, "Karton Ü".encode() + b"\0", True),
        (285, 2, 0, b"recto\0", True),
        (18246, 3, 1, 4, True),
    ]
    save_tiff(tmp_path / "a.tif", tags, bigtiff=source == "II+")
    image = read_image(tmp_path / "a.tif")
    for target in FORMATS:
        write_image(tmp_path / f"b.{target}", image.pixels, metadata=image.metadata)
        assert "Karton Ü".encode() in (tmp_path / f"b.{target}").read_bytes(), target
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        kept = tiff.pages[0].tags
        assert (kept[285].value, kept[18246].value) == ("recto", 4)


def test_a_tiff_too_long_for_classic_offsets_is_bigtiff_with_all_it_says(tmp_path: Path) -> None:
    with open(tmp_path / "a.tif", "w+b") as file:
        write_tiff(file, gradient(8, 9), alpha=None, metadata=full_metadata(), classic_bytes=100)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.pages[0].asarray(), gradient(8, 9))
        assert tiff.pages[0].tags["ExifTag"].value["ExposureTime"] == (1, 250)
    read = read_image(tmp_path / "a.tif").metadata
    assert maker_note(read.exif)[1] == MAKER
    assert read.icc == srgb_profile()


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def _png(path: Path, *chunks: bytes) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(gradient(24, 32)).save(buffer, "PNG")
    data = buffer.getvalue()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize(
    "chunks",
    [
        [_chunk(b"cICP", bytes([12, 13, 0, 1]))],
        [_chunk(b"cICP", bytes([9, 16, 0, 1]))],
        [_chunk(b"gAMA", struct.pack(">I", 100000))],
        [_chunk(b"gAMA", struct.pack(">I", 45455)), _chunk(b"cHRM", P3)],
    ],
)
def test_colour_told_by_a_png_is_told_by_every_result(
    tmp_path: Path, chunks: list[bytes], target: str
) -> None:
    image = read_image(_png(tmp_path / "in.png", *chunks))
    assert image.metadata.color is not None
    path = tmp_path / f"out.{target}"
    write_image(path, image.pixels, metadata=image.metadata)
    read = read_image(path).metadata
    if target in ("png", "avif"):
        assert read.color == image.metadata.color
        return
    profile = ImageCms.ImageCmsProfile(io.BytesIO(read.icc))
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    red = Image.new("RGB", (1, 1), (200, 60, 60))
    converted = ImageCms.applyTransform(red, to_srgb)
    assert converted is not None
    assert converted.getpixel((0, 0)) != red.getpixel((0, 0))


def test_srgb_told_in_numbers_needs_no_profile() -> None:
    assert from_codes(1, 13) is None
    assert from_codes(1, 1) is None
    assert from_numbers(2.2, None) is None
    assert from_codes(255, 13) is None


@pytest.mark.parametrize("transfer", [1, 4, 5, 8, 13, 16, 17, 18])
def test_made_profiles_are_taken_by_the_colour_engine(transfer: int) -> None:
    code = from_codes(9, transfer)
    assert code is not None
    for grey in (False, True):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_of(code, grey=grey)))
        mode = "L" if grey else "RGB"
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        white = ImageCms.applyTransform(Image.new(mode, (1, 1), "white"), transform)
        assert white is not None
        assert min(white.getpixel((0, 0))) >= 253  # type: ignore[type-var]


@pytest.mark.parametrize(("bits", "codes"), [(8, (12, 13)), (10, (9, 16)), (12, (9, 18))])
def test_avif_keeps_its_codes_and_its_depth(
    tmp_path: Path, bits: int, codes: tuple[int, int]
) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    pixels = gradient(24, 32).astype(kind) * (2 ** (bits - 8) if bits > 8 else 1)
    data = imagecodecs.avif_encode(
        pixels,
        level=95,
        speed=8,
        bitspersample=bits,
        primaries=codes[0],
        transfer=codes[1],
        matrix=9,
    )
    (tmp_path / "a.avif").write_bytes(data)
    image = read_image(tmp_path / "a.avif")
    assert image.bit_depth == (8 if bits == 8 else 16)
    write_image(tmp_path / "b.avif", image.pixels, metadata=image.metadata)
    written = (tmp_path / "b.avif").read_bytes()
    assert boxes.color_codes(written) == codes
    assert boxes.bit_depth(written) == min(bits, 10)
    again = read_image(tmp_path / "b.avif")
    assert np.abs(again.pixels.astype(int) - image.pixels).mean() < image.pixels.max() / 50


def test_metadata_is_dropped_where_that_is_asked_for_but_colours_stay(tmp_path: Path) -> None:
    for target in FORMATS:
        path = tmp_path / f"a.{target}"
        assert (
            write_image(path, gradient(8, 8), metadata=full_metadata(), keep_metadata=False) == ()
        )
        read = read_image(path).metadata
        assert (read.exif, read.xmp, read.photoshop, read.comments) == (b"", b"", b"", ())
        assert read.icc == srgb_profile()


@pytest.mark.parametrize("suffix", ["gif", "bmp", "ppm", "jp2"])
def test_poor_formats_are_written_where_named_and_say_what_they_lose(
    tmp_path: Path, suffix: str
) -> None:
    notes = write_image(tmp_path / f"a.{suffix}", gradient(16, 16), metadata=full_metadata())
    assert any("metadata was left out" in note for note in notes)
    assert read_image(tmp_path / f"a.{suffix}").pixels.shape == (16, 16, 3)


def test_entries_are_added_to_a_block_without_moving_anything() -> None:
    for order in "<>":
        block = full_exif(order=order)
        longer = exif_block.with_entries(
            block, {269: (ifd.ASCII, b"name\0"), 270: (ifd.ASCII, b"no\0")}
        )
        assert longer[8 : len(block)] == block[8:]
        assert exif_block.first_tags(longer) == exif_block.first_tags(block) | {269}
        assert b"no\0" not in longer
        assert maker_note(longer) == maker_note(block)
        turned = exif_block.without_orientation(longer)
        assert len(turned) == len(longer)
