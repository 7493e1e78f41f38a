"""Which image formats there are: their suffixes, how a file's first bytes tell them apart, which can be written."""

from __future__ import annotations

from typing import Literal

ImageFormat = Literal["png", "jpg", "webp", "tiff", "avif"]
"""Formats that can be written."""

MAX_PIXELS = 400_000_000
"""Pixels above which a file is taken for a decompression bomb or a mistake; decoding one needs up to 8 bytes per pixel."""

SNIFF_BYTES = 32
"""Bytes from the start of a file that `sniff` wants to see."""

_WRITTEN: dict[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
}

READABLE_SUFFIXES = frozenset(
    [*_WRITTEN, ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"]
)
"""Lower-case suffixes that make a file in a folder count as an image."""

_OTHER_PICTURES = """
heic heif hif jxl exr hdr psd psb xcf kra tga pcx svg ico jxr wdp hdp jpf jpx j2c jpc sgi dds qoi djvu pict pct jng fits dcm
dng cr2 cr3 crw nef nrw arw sr2 srf orf rw2 raf pef srw 3fr erf kdc dcr mrw mef iiq x3f rwl raw
"""
PICTURE_SUFFIXES = frozenset(f".{name}" for name in _OTHER_PICTURES.split())
"""Lower-case suffixes of other files that hold pictures; in a folder those that are not read are counted and named."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"jP  \r\n", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    *((0, b"P" + kind, "PPM") for kind in (b"1", b"2", b"3", b"4", b"5", b"6")),
)


def sniff(head: bytes) -> str | None:
    """Format told by a file's first `SNIFF_BYTES` bytes, None where they are no image's."""
    for offset, signature, name in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return name
    return None


def format_of_suffix(suffix: str) -> ImageFormat | None:
    """Format that a file of this suffix is written in, None where it cannot be written."""
    return _WRITTEN.get(suffix.lower())


def is_lossless(suffix: str) -> bool:
    """Whether files of this suffix are written so that every sample can be read back."""
    return format_of_suffix(suffix) in ("png", "tiff")


def output_suffix(
    input_suffix: str, image_format: Literal["same"] | ImageFormat, *, lossless: bool = False
) -> str:
    """Suffix of a result: the input's own for `same` where that can be written (and, if asked, loses nothing), else PNG's."""
    if image_format != "same":
        return f".{image_format}"
    if format_of_suffix(input_suffix) is None or (lossless and not is_lossless(input_suffix)):
        return ".png"
    return input_suffix
