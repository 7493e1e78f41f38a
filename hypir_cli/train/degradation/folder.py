"""Degrade a folder of clean photographs, for tests and comparisons: the engine behind `hypir degrade`.

Always on one CPU thread (sums over pixels depend on how threads share them) and with draws that follow from the seed and the
relative path alone: the same command gives the same bytes, whatever else lies in the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hypir_cli import __version__
from hypir_cli.config.degradation import DegradationConfig
from hypir_cli.config.schema import to_dict
from hypir_cli.errors import InputError, as_hypir_error
from hypir_cli.images import READABLE_SUFFIXES, atomic_file, write_image
from hypir_cli.images.atomic import require_writable
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.photos import Photo, read_photo
from hypir_cli.train.degradation import DegradationParameters, Degrader

logger = logging.getLogger(__name__)
RECORD_NAME = "degradation.json"
"""File beside the results that says how each was made."""

OnFile = Callable[[str, str], None]
"""Called after each file with its relative path and the reason it failed, empty if it did not."""


@dataclass(frozen=True, kw_only=True)
class DegradeReport:
    """What became of a folder."""

    written: tuple[str, ...]
    """Relative paths of the files made."""
    failed: dict[str, str]
    """Reason by relative path of the files that could not be read, degraded or written, and of folders that could not be listed."""


def degrade_folder(
    source: Path,
    target: Path,
    *,
    config: DegradationConfig,
    preset: str,
    seed: int,
    on_file: OnFile | None = None,
) -> DegradeReport:
    """Degraded PNG copies of every image under `source`, in the same tree under `target`, and a JSON of what was drawn.

    Args:
        source: Folder (searched to the bottom) or one image.
        target: Folder for the results, made if missing.
        config: The pipeline.
        preset: What the record says the settings started from.
        seed: Seed of the draws, at least 0.
        on_file: Progress.

    Whatever goes wrong with one image is that image's failure; the rest go on.

    Raises:
        InputError: No images, `target` is the source folder itself, or it cannot be written.
    """
    require_writable(target / RECORD_NAME)
    root, files, failed = _find_images(source, target)
    report = on_file or _silent
    for relative, reason in failed.items():
        report(relative, reason)
    degrader = Degrader(config)
    records: dict[str, dict[str, Any]] = {}
    for file, name in zip(files, output_names(files), strict=True):
        relative = file.as_posix()
        try:
            photo = read_photo(root / file, name=str(root / file))
            with _one_thread():
                drawn, degraded = _degrade(photo, degrader, path_key(file, seed=seed))
            write_image(target / name, degraded)
        except Exception as error:
            logger.debug("%s failed", root / file, exc_info=error)
            failed[relative] = as_hypir_error(error, subject=str(root / file)).message
        else:
            records[name] = {"source": relative, "parameters": to_dict(drawn)}
        report(relative, failed.get(relative, ""))
    _write_record(target, config=config, preset=preset, seed=seed, files=records, failed=failed)
    return DegradeReport(written=tuple(records), failed=failed)


def _silent(relative: str, reason: str) -> None:
    pass


def path_key(relative: PurePath, *, seed: int) -> SampleKey:
    """The key of a file: its number is a hash of its relative path, the same on every system."""
    digest = hashlib.sha256(relative.as_posix().encode("utf-8", "surrogateescape")).digest()
    return SampleKey(seed, 0, int.from_bytes(digest[:6], "big"))


def output_names(files: Sequence[PurePath]) -> list[str]:
    """Relative .png paths, all different: where two could meet (`a.jpg`, `a.png`), the old suffix stays in the name."""
    plain = [file.with_suffix(".png").as_posix() for file in files]
    full = [f"{file.as_posix()}.png" for file in files]
    uses, reserved = Counter(plain), set(full)
    return [
        name if uses[name] == 1 and name not in reserved else longer
        for name, longer in zip(plain, full, strict=True)
    ]


def _find_images(source: Path, target: Path) -> tuple[Path, list[PurePath], dict[str, str]]:
    """The folder that paths are relative to, the images in it, sorted, and the folders that could not be listed."""
    failed: dict[str, str] = {}
    if source.is_file():
        root, files = source.parent, [PurePath(source.name)]
    else:
        root = source
        files = sorted(_walk(source, leave_out=target.resolve(), failed=failed))
    if root.resolve() == target.resolve():
        raise InputError(
            f"the output {target} is the folder of the input; its images would be overwritten.",
            hint="choose another output folder",
        )
    if not files:
        reasons = f" ({'; '.join(failed.values())})" if failed else ""
        raise InputError(f"there are no images in {source}{reasons}.", hint="check the path")
    return root, files, failed


def _walk(folder: Path, *, leave_out: Path, failed: dict[str, str]) -> list[PurePath]:
    def unlistable(error: OSError) -> None:
        place = Path(str(error.filename))
        failed[place.relative_to(folder).as_posix()] = f"cannot list {place}: {error.strerror}."

    files = []
    for parent, folders, names in os.walk(folder, onerror=unlistable):
        folders[:] = [name for name in folders if Path(parent, name).resolve() != leave_out]
        inside = PurePath(parent).relative_to(folder)
        files += [
            inside / name
            for name in names
            if PurePath(name).suffix.lower() in READABLE_SUFFIXES and not name.startswith(".")
        ]
    return files


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _degrade(
    photo: Photo, degrader: Degrader, key: SampleKey
) -> tuple[DegradationParameters, NDArray[np.uint8]]:
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255.0
    degraded = degrader.degrade(image, [key])[0].permute(1, 2, 0)
    return degrader.draw(key), (degraded * 255.0).round().byte().numpy()


def _write_record(
    target: Path,
    *,
    config: DegradationConfig,
    preset: str,
    seed: int,
    files: dict[str, dict[str, Any]],
    failed: dict[str, str],
) -> None:
    record = {
        "hypir_version": __version__,
        "preset": preset,
        "seed": seed,
        "settings": to_dict(config),
        "files": files,
        "failed": failed,
    }
    with atomic_file(target / RECORD_NAME) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
