"""Which files belong together: the same path below their folders, whatever the extension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hypir_cli.errors import InputError
from hypir_cli.folder.names import same_letters
from hypir_cli.folder.scan import find_images
from hypir_cli.images import ImageData, read_image, to_float


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that could not be measured."""

    what: str
    """What went wrong, naming the file or the metric."""
    hint: str = ""
    """What to do about it."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Files that belong together."""

    keys: tuple[str, ...]
    """Names of the images (relative path without extension) that all folders have, in natural order."""
    restored: Mapping[str, Mapping[str, Path]]
    """Method -> image -> file."""
    gt: Mapping[str, Path] = field(default_factory=dict)
    """Image -> clean file; empty without GT."""
    lq: Mapping[str, Path] = field(default_factory=dict)
    """Image -> input file; empty without LQ."""
    problems: tuple[Problem, ...] = ()
    """Images left out because a partner is missing."""
    total: int = 0
    """Images there are, with those that were left out."""


def images_by_key(folder: Path) -> dict[str, Path]:
    """Relative path without extension -> file, in natural order; a single file is a set of one.

    Raises:
        InputError: No such folder, no image in it, or two images of one name.
    """
    found: dict[str, Path] = {}
    for item in find_images([folder]).images:
        key = same_letters(item.relative.with_suffix("").as_posix())
        if key in found:
            raise InputError(
                f"{found[key]} and {item.path} have the same name but for the extension, so their "
                "partners cannot be told apart.",
                hint="keep one of them, or rename it together with its partners",
            )
        found[key] = item.path
    return found


def pair(methods: Mapping[str, Path], *, gt: Path | None = None, lq: Path | None = None) -> Pairing:
    """Match the images of all folders.

    Args:
        methods: Name -> folder of restored images.
        gt: Folder of clean images.
        lq: Folder of inputs.

    Raises:
        InputError: A folder is missing or empty, or no image is in all of them.
    """
    restored = {name: images_by_key(folder) for name, folder in methods.items()}
    references = {"GT": gt, "LQ": lq}
    others = {name: images_by_key(folder) for name, folder in references.items() if folder}
    folders = {**methods, **{name: folder for name, folder in references.items() if folder}}
    if all(path.is_file() for path in folders.values()):
        restored, others = _renamed(restored), _renamed(others)
    sets = {**restored, **others}
    every = list(dict.fromkeys(key for found in sets.values() for key in found))
    keys = tuple(key for key in every if all(key in found for found in sets.values()))
    problems = tuple(
        _missing(key, name, folder=folders[name], sets=sets)
        for key in every
        for name, found in sets.items()
        if key not in found
    )
    if not keys:
        raise InputError(
            f"no image of {', '.join(map(str, folders.values()))} has a partner in all of them.",
            hint="images belong together when their paths below the folders agree but for the extension",
        )
    return Pairing(
        keys=keys,
        restored=restored,
        gt=others.get("GT", {}),
        lq=others.get("LQ", {}),
        problems=problems,
        total=len(every),
    )


def read_rgb(path: Path) -> Tensor:
    """One image as RGB, (1, 3, H, W), float32 0..1; transparent parts on white, grey as three equal channels.

    Raises:
        InputError: The file cannot be read.
    """
    image = read_image(path)
    pixels = to_float(image.pixels)
    if image.alpha is not None:
        opacity = to_float(image.alpha)[..., None]
        pixels = pixels * opacity + (1 - opacity)
    if image.is_grey:
        pixels = np.repeat(pixels, 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


def size_text(image: Tensor | ImageData) -> str:
    """Width x height, as users write it."""
    height, width = image.shape[-2:] if isinstance(image, Tensor) else (image.height, image.width)
    return f"{width}x{height}"


def _renamed(sets: Mapping[str, Mapping[str, Path]]) -> dict[str, dict[str, Path]]:
    """Single files belong together whatever their names."""
    return {name: {"image": next(iter(found.values()))} for name, found in sets.items()}


def _missing(
    key: str, name: str, *, folder: Path, sets: Mapping[str, Mapping[str, Path]]
) -> Problem:
    owner = next(found[key] for found in sets.values() if key in found)
    return Problem(
        what=f"{owner} has no partner in {folder} ({name}); it was left out.",
        hint=f"expected {folder / key} with any image extension",
    )
