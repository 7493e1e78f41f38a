"""Caption many images: find them, skip what is done, write prompts safely, name what fails and go on."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from hypir_cli.caption.models.base import Captioner, CaptionInput, Outcome
from hypir_cli.errors import HypirError, InputError, as_hypir_error
from hypir_cli.folder.events import Progress, silent
from hypir_cli.folder.prompt_table import PromptTable
from hypir_cli.folder.scan import Found
from hypir_cli.folder.sidecar import sidecar_path
from hypir_cli.images import atomic_file, picture_on_white, read_image

logger = logging.getLogger(__name__)
_EVERYONES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Reasons for which no prompt can be written."""

Existing = Literal["skip", "overwrite", "error"]
Prepare = Callable[[Image.Image], Image.Image]
"""Something done to an image before it is captioned, e.g. a quick restoration."""


class PromptStore(Protocol):
    """Where prompts go."""

    @property
    def apart(self) -> bool:
        """Whether every prompt has a file of its own, which may fail alone."""
        ...

    def __contains__(self, image_path: Path | str) -> bool:
        """Whether an image has a prompt; a text is a URL."""
        ...

    def add(self, prompts: Sequence[tuple[Path | str, str]]) -> None:
        """Keep prompts; they are on disk when this returns."""
        ...

    def close(self) -> None:
        """Finish the files."""
        ...


class SidecarStore:
    """One text file per image, beside it or in a tree of its own.

    Args:
        images: All images of the run; those that share a stem in one folder get files by their whole names.
        out: Folder of the text tree; None writes beside the images.
    """

    def __init__(self, images: Sequence[Found], *, out: Path | None) -> None:
        self._places = {item.path: out / item.relative if out else item.path for item in images}
        stems = Counter(place.with_suffix("") for place in self._places.values())
        self._shared = {stem for stem, count in stems.items() if count > 1}

    @property
    def apart(self) -> bool:
        """True: one file per image."""
        return True

    def __contains__(self, image_path: Path | str) -> bool:
        return self.path_of(image_path).is_file()

    def path_of(self, image_path: Path | str) -> Path:
        """The text file of an image."""
        place = self._places[Path(image_path)]
        return sidecar_path(place, whole_name=place.with_suffix("") in self._shared)

    def add(self, prompts: Sequence[tuple[Path | str, str]]) -> None:
        """Write each file atomically."""
        for image_path, prompt in prompts:
            with atomic_file(self.path_of(image_path)) as file:
                file.write(f"{prompt}\n".encode())

    def close(self) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class CaptionSummary:
    """What a run did."""

    written: int = 0
    """Images that got a prompt."""
    skipped: int = 0
    """Images that had one."""
    failures: list[tuple[Path | str, HypirError]] = field(default_factory=list)
    """Images without one, and why."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Pictures passed over because their format is not read: count by suffix."""


def open_store(
    form: Literal["sidecar", "jsonl", "parquet"],
    *,
    images: Sequence[Found],
    out: Path | None,
) -> PromptStore:
    """The place that settings name.

    Raises:
        InputError: What is at `out` is something else.
    """
    if form == "sidecar":
        return SidecarStore(images, out=out)
    if out is None:
        raise ValueError(f"{form} needs a file")
    return PromptTable(out, form=form)


def caption_images(
    images: Sequence[Path],
    captioner: Captioner,
    store: PromptStore,
    *,
    batch: int = 4,
    existing: Existing = "skip",
    prepare: Prepare | None = None,
    on_progress: Progress = silent,
) -> CaptionSummary:
    """Give every image a prompt; a bad image is reported and the rest go on.

    Args:
        images: Files to caption.
        captioner: Who does it.
        store: Where prompts go; closed at the end, also after an interrupt.
        batch: Images per call.
        existing: What to do with images that have a prompt.
        prepare: Applied to each image first; a `HypirError` of it fails that image.
        on_progress: Told after each batch.

    Raises:
        InputError: `existing` is "error" and a prompt is there; or prompts cannot be written.
        HypirError: The captioner as a whole failed; what was finished stays.
    """
    waiting = _without_existing(images, store, existing=existing)
    written = 0
    failures: list[tuple[Path | str, HypirError]] = []
    try:
        for start in range(0, len(waiting), batch):
            finished: list[tuple[Path | str, str]] = []
            outcomes = _caption_batch(waiting[start : start + batch], captioner, prepare)
            for path, outcome in outcomes:
                if isinstance(outcome, str):
                    finished.append((path, outcome))
                else:
                    failures.append((path, outcome))
            lost = _keep(store, finished)
            failures += lost
            written += len(finished) - len(lost)
            on_progress(written + len(failures), len(waiting))
    finally:
        store.close()
    return CaptionSummary(written=written, skipped=len(images) - len(waiting), failures=failures)


def _keep(
    store: PromptStore, prompts: Sequence[tuple[Path | str, str]]
) -> list[tuple[Path | str, HypirError]]:
    """Keep prompts; those whose own file cannot be written are that image's failure, a full disk is everyone's."""
    if not store.apart:
        store.add(prompts)
        return []
    lost: list[tuple[Path | str, HypirError]] = []
    for path, prompt in prompts:
        try:
            store.add([(path, prompt)])
        except InputError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _EVERYONES:
                raise
            lost.append((path, error))
    return lost


def load_for_captioning(path: Path) -> Image.Image:
    """An image as captioners take it: RGB, 8 bits, upright, transparency over white.

    Raises:
        InputError: It cannot be read.
    """
    return picture_on_white(read_image(path)).convert("RGB")


def _without_existing(
    images: Sequence[Path], store: PromptStore, *, existing: Existing
) -> list[Path]:
    if existing == "overwrite":
        return list(images)
    done = [path for path in images if path in store]
    if done and existing == "error":
        raise InputError(
            f"{len(done)} images have a prompt already, the first is {done[0]}.",
            hint="choose --existing skip or overwrite, or another --out",
        )
    known = set(done)
    return [path for path in images if path not in known]


def _caption_batch(
    paths: Sequence[Path], captioner: Captioner, prepare: Prepare | None
) -> list[tuple[Path, Outcome]]:
    opened = list(_opened(paths, prepare))
    readable = [item for item in opened if isinstance(item, CaptionInput)]
    answers = iter(_answers(readable, captioner))
    return [
        (path, next(answers) if isinstance(item, CaptionInput) else item)
        for path, item in zip(paths, opened, strict=True)
    ]


def _opened(paths: Sequence[Path], prepare: Prepare | None) -> Iterator[CaptionInput | HypirError]:
    for path in paths:
        try:
            image = load_for_captioning(path)
            yield CaptionInput(image=prepare(image) if prepare else image, path=path)
        except Exception as error:
            logger.debug("%s cannot be shown", path, exc_info=error)
            yield as_hypir_error(error, subject=str(path))


def _answers(inputs: Sequence[CaptionInput], captioner: Captioner) -> Sequence[Outcome]:
    """What the captioner says of each image; an error that nobody foresaw is that of every image at hand."""
    try:
        return captioner.caption(inputs) if inputs else []
    except HypirError:
        raise
    except Exception as error:
        logger.debug("captioning failed", exc_info=error)
        return [as_hypir_error(error, subject=str(item.path)) for item in inputs]
