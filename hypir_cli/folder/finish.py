"""Write what a restoration returned: alpha scaled along, metadata carried over, side-by-side pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.folder.compare import write_compare
from hypir_cli.folder.names import is_there
from hypir_cli.folder.scaling import resized
from hypir_cli.images import ImageData, Metadata, on_white, write_image
from hypir_cli.images.data import Pixels


@dataclass(frozen=True, kw_only=True)
class Source:
    """What of an input is still needed once it has been restored; its pixels only for side-by-side pictures."""

    size: tuple[int, int]
    """(height, width)."""
    alpha: Pixels | None
    """Opacity, (height, width)."""
    metadata: Metadata
    """Carried over to the results."""
    notes: tuple[str, ...]
    """What the reader had to decide."""
    pixels: Pixels | None
    """The pixels, or None to free their memory."""

    @classmethod
    def of(cls, image: ImageData, *, keep_pixels: bool) -> Source:
        """The part of an image to keep."""
        return cls(
            size=(image.height, image.width),
            alpha=image.alpha,
            metadata=image.metadata,
            notes=image.notes,
            pixels=image.pixels if keep_pixels else None,
        )


@dataclass(frozen=True, kw_only=True)
class Output:
    """How results are written."""

    quality: int | None = None
    """1..100 for lossy formats, None for each format's default."""
    keep_metadata: bool = True
    """Carry Exif, XMP and dpi over."""
    overwrite: bool = False
    """Replace results that are there; else those stay and only the missing ones are written."""


def save_samples(
    source: Source,
    samples: Sequence[Pixels],
    paths: Sequence[Path],
    *,
    output: Output,
) -> list[str]:
    """Write the samples of one image.

    Args:
        source: What is kept of the input.
        samples: (H, W, C), uint8 or uint16, one per path.
        paths: Files to write.
        output: How.

    Returns:
        What could not be kept, in words for the user.

    Raises:
        HypirError: A file cannot be written; earlier ones stay.
    """
    notes: list[str] = []
    for path, pixels in zip(paths, samples, strict=True):
        if is_there(path) and not output.overwrite:
            continue
        alpha = _scaled_alpha(source, pixels)
        written = write_image(
            path,
            pixels,
            alpha=alpha,
            metadata=source.metadata,
            quality=output.quality,
            keep_metadata=output.keep_metadata,
        )
        notes += [note for note in written if note not in notes]
        if source.pixels is not None:
            before = on_white(source.pixels, source.alpha)
            write_compare(path, before=before, after=on_white(pixels, alpha))
    return notes


def _scaled_alpha(source: Source, pixels: Pixels) -> Pixels | None:
    """The input's alpha at the result's size and depth."""
    if source.alpha is None:
        return None
    alpha = resized(source.alpha[:, :, None], (pixels.shape[0], pixels.shape[1]))[:, :, 0]
    if alpha.dtype == pixels.dtype:
        return alpha
    return alpha // 257 if pixels.dtype.itemsize == 1 else alpha.astype(pixels.dtype) * 257
