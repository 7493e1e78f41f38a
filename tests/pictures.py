"""Small pictures and awkward image files for the tests of reading, writing and folders."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

EXAMPLES = Path(__file__).parent.parent / "examples"
PHOTOS = EXAMPLES / "photos"
"""Public photographs."""


def noise(*shape: int, dtype: type[Any] = np.uint8, seed: int = 0) -> NDArray[Any]:
    """Random samples over the type's full range."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    """A smooth colour picture that survives JPEG within a few levels."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 128 + 0 * x]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


@functools.cache  # it holds the time of its making
def srgb_profile() -> bytes:
    """A small RGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(*, orientation: int = 1, size: tuple[int, int] | None = None) -> bytes:
    """An Exif block with a camera name, an exposure time and a GPS direction."""
    exif = Image.Exif()
    exif[0x010F] = "Testcam"
    exif[0x0112] = orientation
    details = exif.get_ifd(0x8769)
    details[0x829A] = 0.004
    details[0x9286] = b"ASCII\x00\x00\x00a comment"
    if size is not None:
        details[0xA002], details[0xA003] = size[1], size[0]
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


def parsed(exif: bytes) -> dict[str, Any]:
    """The parts of an Exif block that the tests look at."""
    block = Image.Exif()
    block.load(exif)
    details = block.get_ifd(0x8769)
    return {
        "make": block.get(0x010F),
        "orientation": block.get(0x0112),
        "exposure": float(details[0x829A]) if 0x829A in details else None,
        "comment": details.get(0x9286),
        "size": (details.get(0xA003), details.get(0xA002)),
        "gps": block.get_ifd(0x8825).get(1),
    }


def robust_folder(folder: Path) -> tuple[set[str], set[str]]:
    """Fill a folder with every kind of difficult file; the names of the good and of the bad ones."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(gradient(24, 32))
    picture.save(folder / "whole.jpg", quality=95)
    data = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) * 2 // 3])
    (folder / "text.png").write_text("these are words\n", encoding="utf-8")
    (folder / "empty.webp").write_bytes(b"")
    picture.crop((0, 0, 1, 1)).save(folder / "one pixel.png")
    Image.fromarray(noise(8, 30000, 3)).save(folder / "strip.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    palette = picture.quantize(8)
    palette.save(folder / "palette.png", transparency=0)
    tifffile.imwrite(folder / "grey16.tif", noise(20, 30, dtype=np.uint16))
    frames = [Image.fromarray(noise(9, 9, seed=index)).quantize() for index in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    picture.save(folder / "rotated.jpg", exif=exif_block(orientation=6), quality=95)
    picture.save(folder / "Müll 写真 ☂.png")
    (folder / "notes.txt").write_text("not an image\n", encoding="utf-8")
    (folder / "below").mkdir()
    (folder / "below" / "loop").symlink_to(folder, target_is_directory=True)
    picture.save(folder / "below" / "deep.png")
    (folder / "broken link.png").symlink_to(folder / "nowhere.png")
    bad = {"truncated.jpg", "text.png", "empty.webp"}
    good = {
        "whole.jpg",
        "one pixel.png",
        "strip.png",
        "cmyk.jpg",
        "palette.png",
        "grey16.tif",
        "animated.gif",
        "rotated.jpg",
        "Müll 写真 ☂.png",
        "below/deep.png",
    }
    return good, bad
