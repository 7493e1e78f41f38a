"""TIFF files: which page is the picture, its samples at full depth, and what its directories say."""

from __future__ import annotations

from typing import IO, Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from hypir_cli.errors import InputError
from hypir_cli.images import ifd, iptc
from hypir_cli.images.data import Metadata, Pixels, quantize, to_8bit

XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG = 700, 33723, 34377, 34675
_LAYERS_TAG, _DESCRIPTION = 37724, 270
_RESOLUTION, _RESOLUTION_UNIT, _CENTIMETRE = (282, 283), 296, 3
_SPANS = (
    (254, 267),
    (277, 282),
    (286, 288),
    (290, 294),
    (320, 329),
    (338, 348),
    (512, 522),
    (529, 533),
)
STRUCTURE = frozenset(
    {273, 284, 301, 317, 330, 332, 333, 334, 336, 351, 559, 37393}.union(
        *(range(*span) for span in _SPANS)
    )
)
"""Tags that describe how pixels are stored, and so are another file's."""
_ELSEWHERE = frozenset(
    [XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, ICC_TAG, _LAYERS_TAG, ifd.EXIF_IFD, ifd.GPS_IFD]
)
_GEOGRAPHIC = frozenset([33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113])
"""GeoTIFF and GDAL: true of the size and grid of the old picture."""
_RAW_TAGS = range(50706, 52000)
"""DNG's own tags, which would make a reader take the result for a camera's raw file."""
_LAYOUT_TEXTS = (b'{"shape"', b"ImageJ=", b"<?xml", b"<OME", b"shape=(")
"""Beginnings of descriptions that programs write about the arrangement of a file's pages."""
_REDUCED, _MASK = 1, 4
_MOST_PAGES = 64
"""Pages looked at to find the picture."""
_SEPARATED = 5
_GREY_WHITE_IS_ZERO = 0
_DEEP_PHOTOMETRICS = (0, 1, 2)
"""White-is-zero grey, black-is-zero grey, RGB."""
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_BAND = 64


def main_page(tiff: tifffile.TiffFile) -> tuple[tifffile.TiffPage, list[str]]:
    """The page that is the picture, not its thumbnail or mask, and notes on the others."""
    pages = [tiff.pages[index] for index in range(min(len(tiff.pages), _MOST_PAGES))]
    for page in list(pages):
        if page.subfiletype & _REDUCED:
            pages += [part for part in page.pages or () if isinstance(part, tifffile.TiffPage)]
    whole = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
    chosen = (whole or pages)[0]
    if len(whole) > 1:
        return chosen, ["only the first page is used"]
    return chosen, ["its thumbnail was left out"] if len(pages) > 1 else []


def is_deep(page: tifffile.TiffPage) -> bool:
    """Whether a page is grey or RGB with more than 8 bits, which Pillow would cut down."""
    return (
        page.dtype is not None
        and page.dtype.itemsize > 1
        and page.photometric in _DEEP_PHOTOMETRICS
    )


def read_deep(
    page: tifffile.TiffPage, *, float_range: tuple[float, float] | None = None
) -> tuple[Pixels, Pixels | None, list[str]]:
    """Pixels (H, W, C), alpha (H, W) or None, and notes of a page for which `is_deep` holds.

    Raises:
        InputError: NaN or infinite samples, or samples of a type that is not an image's.
    """
    samples = page_samples(page)
    integers, notes = _to_16bit(samples, bits=page.bitspersample, float_range=float_range)
    return *_pixels_and_alpha(page, integers), notes


def _pixels_and_alpha(
    page: tifffile.TiffPage, samples: NDArray[Any]
) -> tuple[Pixels, Pixels | None]:
    """Grey or RGB with black at 0, and alpha, which the pixels are not multiplied by."""
    channels = _num_colors(page)
    pixels = np.ascontiguousarray(samples[..., :channels])
    if page.photometric == _GREY_WHITE_IS_ZERO:
        pixels = np.invert(pixels)
    kind = page.extrasamples[0] if page.extrasamples else 0
    if kind not in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA):
        return pixels, None
    alpha = np.ascontiguousarray(samples[..., channels])
    return (_unmultiplied(pixels, alpha) if kind == _ASSOCIATED_ALPHA else pixels), alpha


def _num_colors(page: tifffile.TiffPage) -> int:
    return 3 if page.photometric == 2 else 1


def page_samples(page: tifffile.TiffPage) -> NDArray[Any]:
    """Samples of a page as stored, (H, W, channels)."""
    samples: NDArray[Any] = page.asarray()
    if samples.ndim == 2:
        return samples[:, :, None]
    return np.moveaxis(samples, 0, -1) if page.axes.startswith("S") else samples


def is_plain(page: tifffile.TiffPage) -> bool:
    """Whether a page is grey or RGB with 8-bit samples."""
    return bool(
        page.bitspersample == 8
        and page.photometric in _DEEP_PHOTOMETRICS
        and page.dtype == np.uint8
    )


def read_plain(page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None, list[str]]:
    """Pixels, alpha and notes of a page for which `is_plain` holds."""
    samples = page_samples(page)
    pixels, alpha = _pixels_and_alpha(page, samples)
    if pixels.dtype != np.uint8:
        pixels = to_8bit(pixels)
    return pixels, alpha, _further(samples, _num_colors(page) + (alpha is not None))


def is_print(page: tifffile.TiffPage) -> bool:
    """Whether a page holds inks in a form that Pillow does not read: with alpha or spot colours, or more than 8 bits."""
    if page.photometric != _SEPARATED or page.dtype is None or page.dtype.kind != "u":
        return False
    deep = bool(page.dtype.itemsize > 1)
    return bool(page.samplesperpixel > 4 or (page.samplesperpixel == 4 and deep))


def read_print(page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None, list[str]]:
    """Inks (H, W, 4) of 8 bits, alpha and notes of a page for which `is_print` holds."""
    samples, notes = page_samples(page), []
    if samples.dtype.itemsize > 1:
        samples = (samples.astype(np.uint64) * 255 // np.iinfo(samples.dtype).max).astype(np.uint8)
        notes.append("its inks were read with 8 bits")
    inks = np.ascontiguousarray(samples[..., :4])
    kinds = list(page.extrasamples or ())
    found = [index for index, kind in enumerate(kinds) if kind in (1, 2)]
    alpha = np.ascontiguousarray(samples[..., 4 + found[0]]) if found else None
    return inks, alpha, [*notes, *_further(samples, 4 + bool(found))]


def _further(samples: NDArray[Any], used: int) -> list[str]:
    return ["its further channels were left out"] if samples.shape[2] > used else []


def from_floats(
    samples: NDArray[Any], *, float_range: tuple[float, float] | None = None
) -> tuple[NDArray[np.uint16], list[str]]:
    """Float samples as 16 bits, and notes. They count from 0 (black) to 1 (white) unless a range is told; the rest is clipped.

    Raises:
        InputError: NaN or infinite samples.
    """
    if not np.isfinite(samples).all():
        count = int(samples.size - np.isfinite(samples).sum())
        raise InputError(
            f"{count} of its samples are NaN or infinite.",
            hint="replace them in the program that made the file, and save it again",
        )
    black, white = float_range or (0.0, 1.0)
    low, high = float(samples.min(initial=black)), float(samples.max(initial=white))
    notes = []
    if low < black or high > white:
        notes.append(
            f"float samples from {low:.6g} to {high:.6g} were clipped to {black:g}..{white:g}"
            + (" (--float-range tells another scale)" if float_range is None else "")
        )
    result = np.empty(samples.shape, dtype=np.uint16)
    for start in range(0, len(samples), _BAND):
        band = (samples[start : start + _BAND].astype(np.float64) - black) / (white - black)
        result[start : start + _BAND] = quantize(band, 16)
    return result, notes


def read_metadata(file: IO[bytes], offset: int) -> tuple[Metadata, list[str]]:
    """What a page's directory and its sub-directories say beside the pixels, and notes on what is not carried on.

    Args:
        file: The whole TIFF.
        offset: Where the page's directory stands.

    Raises:
        ValueError: The directory is damaged.
    """
    header = ifd.read_header(file)
    main, _ = ifd.read_directory(file, header, offset)
    notes: list[str] = []
    subs: dict[int, list[ifd.Entry]] = {}
    for tag in (ifd.EXIF_IFD, ifd.GPS_IFD):
        entries = ifd.sub_directory(file, header, main, tag)
        entries.pop(ifd.INTEROP_IFD, None)
        if entries:
            subs[tag] = list(entries.values())
    kept = _kept(main, notes)
    told = [entry for entry in kept if entry.tag not in (*_RESOLUTION, _RESOLUTION_UNIT)]
    photoshop, more = iptc.kept_resources(_data(main, PHOTOSHOP_TAG))
    if more:
        notes.append(iptc.LEFT_OUT)
    if _LAYERS_TAG in main:
        notes.append("Photoshop's layers were left out")
    if not iptc.of_resources(photoshop):
        photoshop += iptc.as_resources(_data(main, IPTC_TAG))
    dpi, unit = _resolution(main, header)
    return (
        Metadata(
            exif=ifd.block(kept, subs, order=header.order) if told or subs else b"",
            xmp=_data(main, XMP_TAG).rstrip(b"\0"),
            icc=_data(main, ICC_TAG),
            photoshop=photoshop,
            dpi=dpi,
            dpi_unit=unit,
        ),
        notes,
    )


def _data(directory: ifd.Directory, tag: int) -> bytes:
    return directory[tag].data if tag in directory else b""


def _kept(main: ifd.Directory, notes: list[str]) -> list[ifd.Entry]:
    """Entries of a page's directory that are true of another file, too; notes get what was worth a word and is not."""
    kept = []
    for tag, entry in main.items():
        if tag in STRUCTURE or tag in _ELSEWHERE or entry.kind in (ifd.IFD, 16, 17, 18):
            continue
        if tag in _GEOGRAPHIC:
            notes.append("its place on the map (GeoTIFF) was left out")
        elif tag in _RAW_TAGS:
            notes.append("what it says as a camera's raw file (DNG) was left out")
        elif tag == _DESCRIPTION and entry.data.lstrip().startswith(_LAYOUT_TEXTS):
            notes.append("its description of another file's layout was left out")
        else:
            kept.append(entry)
    notes[:] = list(dict.fromkeys(notes))
    return kept


def _resolution(
    main: ifd.Directory, header: ifd.Header
) -> tuple[tuple[float, float] | None, Literal["inch", "cm"]]:
    """Dots per inch, and the unit they are told in; None where the numbers mean nothing."""
    unit = ifd.integer(main, _RESOLUTION_UNIT, header)
    values = [ifd.fraction(main, tag, header) for tag in _RESOLUTION]
    factor = 2.54 if unit == _CENTIMETRE else 1.0
    if unit == 1 or not all(value is not None and 1 < value * factor < 1e6 for value in values):
        return None, "inch"
    across, down = (float(value or 0) * factor for value in values)
    return (across, down), "cm" if unit == _CENTIMETRE else "inch"


def _to_16bit(
    samples: NDArray[Any], *, bits: int, float_range: tuple[float, float] | None
) -> tuple[NDArray[np.uint16], list[str]]:
    """Samples of any accepted type over the full 16-bit range."""
    if samples.dtype.kind == "f":
        return from_floats(samples, float_range=float_range)
    if samples.dtype != np.uint16:
        raise InputError(
            f"its samples are {samples.dtype}, which is no photograph's type.",
            hint="save it with 8 or 16 bits per sample",
        )
    if bits < 16:
        full = 2**bits - 1
        widened = samples.astype(np.uint32) * 65535 + full // 2
        return (widened // full).astype(np.uint16), [f"{bits} bits were widened to 16"]
    return samples.astype(np.uint16, copy=False), []


def _unmultiplied(pixels: Pixels, alpha: Pixels) -> NDArray[np.uint16]:
    """Colours with the factor that associated alpha put into them taken out."""
    result = np.empty(pixels.shape, dtype=np.uint16)
    for start in range(0, len(pixels), _BAND):
        opacity = np.maximum(alpha[start : start + _BAND, :, None], 1).astype(np.float64)
        quotient = pixels[start : start + _BAND] / opacity
        result[start : start + _BAND] = quantize(quotient, 16)
    return result
