"""Which image formats there are: their suffixes, how a file's first bytes tell them apart, which can be written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

ImageFormat = Literal["png", "jpg", "webp", "tiff", "avif", "gif", "bmp", "ppm", "jp2"]
"""Formats that can be written; the last four only to a file that is named so."""

MAX_SIDE: dict[ImageFormat, int] = {"jpg": 65500, "webp": 16383, "avif": 65536, "gif": 65535}
"""Longest side in pixels of the formats that have a limit."""

MAX_PIXELS = 400_000_000
"""Pixels above which a file is taken for a decompression bomb or a mistake; decoding one needs up to 8 bytes per pixel."""

SNIFF_BYTES = 64
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
_WRITTEN_IF_NAMED: dict[str, ImageFormat] = {
    ".gif": "gif",
    ".bmp": "bmp",
    ".ppm": "ppm",
    ".jp2": "jp2",
}
"""What a result is only when the user names a file so: poor formats for photographs."""

RAW_SUFFIXES = frozenset(
    f".{name}"
    for name in [
        "dng",
        "cr2",
        "cr3",
        "crw",
        "nef",
        "nrw",
        "arw",
        "sr2",
        "srf",
        "orf",
        "rw2",
        "raf",
        "pef",
        "srw",
        "3fr",
        "erf",
        "kdc",
        "dcr",
        "mrw",
        "mef",
        "iiq",
        "x3f",
        "rwl",
    ]
)
"""Lower-case suffixes of cameras' raw files; most are TIFFs by their first bytes."""

_BY_PACKAGE = {
    "pi_heif": frozenset([".heic", ".heif", ".hif"]),
    "rawpy": RAW_SUFFIXES,
    "OpenEXR": frozenset([".exr"]),
}
"""Package -> suffixes that can be read where it is installed."""

READABLE_SUFFIXES = frozenset(
    [
        *_WRITTEN,
        ".bmp",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jpf",
        ".jpx",
        ".j2c",
        ".jpc",
        ".jxl",
    ]
).union(*(names for package, names in _BY_PACKAGE.items() if find_spec(package)))
"""Lower-case suffixes that make a file in a folder count as an image."""

_OTHER_PICTURES = (
    "hdr psd psb xcf kra tga pcx svg ico jxr wdp hdp sgi dds qoi djvu pict pct jng fits dcm raw"
)
PICTURE_SUFFIXES = frozenset(f".{name}" for name in _OTHER_PICTURES.split()).union(
    *_BY_PACKAGE.values()
)
"""Lower-case suffixes of other files that hold pictures; in a folder those that are not read are counted and named."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypcrx ", "RAW"),
    (0, b"FUJIFILMCCD-RAW", "RAW"),
    (0, b"IIU\x00", "RAW"),
    (0, b"IIRO", "RAW"),
    (0, b"IIRS", "RAW"),
    (0, b"MMOR", "RAW"),
    (6, b"HEAPCCDR", "RAW"),
    (0, b"FOVb", "RAW"),
    (0, b"\x00MRM", "RAW"),
    (8, b"CR\x02", "RAW"),
    (0, b"\xff\x0a", "JXL"),
    (4, b"JXL \r\n", "JXL"),
    (0, b"\x76\x2f\x31\x01", "EXR"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"jP  \r\n", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    *((0, b"P" + kind, "PPM") for kind in (b"1", b"2", b"3", b"4", b"5", b"6")),
)


_HEIF_BRANDS = (
    *(b"avif", b"avis", b"mif1", b"mif2", b"msf1", b"heic", b"heix", b"heim", b"heis"),
    *(b"hevc", b"hevx", b"hevm", b"hevs", b"jpeg", b"heif"),
)


def sniff(head: bytes) -> str | None:
    """Format told by a file's first `SNIFF_BYTES` bytes, None where they are no image's."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        brands = head[8 : int.from_bytes(head[:4], "big")]
        return "AVIF" if b"avif" in brands or b"avis" in brands else "HEIF"
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


def format_of_name(path: Path) -> ImageFormat | None:
    """Format that a file named by the user is written in, None where its suffix is none of a format that can be written."""
    suffix = path.suffix.lower()
    return _WRITTEN.get(suffix) or _WRITTEN_IF_NAMED.get(suffix)


def is_picture_name(path: Path) -> bool:
    """Whether a name ends like a picture's, of whatever format."""
    suffix = path.suffix.lower()
    return suffix in READABLE_SUFFIXES or suffix in PICTURE_SUFFIXES


def fits(image_format: ImageFormat, height: int, width: int) -> bool:
    """Whether a format can hold a picture of that size."""
    return max(height, width) <= MAX_SIDE.get(image_format, 2**31 - 1)


def output_suffix(
    input_suffix: str, image_format: Literal["same"] | ImageFormat, *, lossless: bool = False
) -> str:
    """Suffix of a result: the input's own for `same` where that can be written (and, if asked, loses nothing), else PNG's."""
    if image_format != "same":
        return f".{image_format}"
    if format_of_suffix(input_suffix) is None or (lossless and not is_lossless(input_suffix)):
        return ".png"
    return input_suffix
