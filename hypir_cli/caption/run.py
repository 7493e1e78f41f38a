"""`hypir caption` as one call: find the images, load the captioner, restore first if asked, write the prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hypir_cli.caption.by_url import by_url
from hypir_cli.caption.images import (
    CaptionSummary,
    Prepare,
    caption_images,
    open_store,
)
from hypir_cli.caption.models.registry import build_captioner
from hypir_cli.config.caption import CaptionConfig
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.folder.copies import LocalCopies, local_copies
from hypir_cli.folder.events import Progress, silent
from hypir_cli.folder.scan import find_images


def caption_folder(
    inputs: Sequence[str | Path],
    *,
    config: CaptionConfig,
    api_key: str | None = None,
    load_restorer: Callable[[RestoreConfig], Prepare] | None = None,
    on_progress: Progress = silent,
) -> CaptionSummary:
    """Caption files, folders and patterns.

    Args:
        inputs: What to caption; what is named by URL is on the local disk for as long as this takes.
        config: All settings.
        api_key: Key of the endpoint; None takes it from the environment.
        load_restorer: Makes what each image goes through first, with `pre_restore`.
        on_progress: Told (images done, images to do) after each batch.

    Returns:
        What was done; images that failed are in it, not raised.

    Raises:
        HypirError: Nothing to caption, or the captioner, the restorer or the output cannot be used.
        ValueError: `pre_restore` without `load_restorer`.
    """
    if config.pre_restore and load_restorer is None:
        raise ValueError("pre_restore needs load_restorer")
    with local_copies() as copies:
        return _caption(
            [copies.path(str(text)) for text in inputs],
            copies,
            config=config,
            api_key=api_key,
            load_restorer=load_restorer,
            on_progress=on_progress,
        )


def _caption(
    inputs: Sequence[str],
    copies: LocalCopies,
    *,
    config: CaptionConfig,
    api_key: str | None,
    load_restorer: Callable[[RestoreConfig], Prepare] | None,
    on_progress: Progress,
) -> CaptionSummary:
    found = find_images(inputs)
    images = found.images
    store = by_url(open_store(config.to, images=images, out=config.out), copies, out=config.out)
    captioner = build_captioner(config.captioner, api_key=api_key)
    summary = caption_images(
        [item.path for item in images],
        captioner,
        store,
        batch=config.batch,
        existing=config.existing,
        prepare=load_restorer(config.restore) if config.pre_restore and load_restorer else None,
        on_progress=on_progress,
    )
    failures = [*summary.failures, *((item.path, item.error()) for item in found.unreadable)]
    named = [(copies.url_of(Path(path)) or path, error) for path, error in failures]
    for _, error in named:
        error.message = copies.in_words(error.message)
    return replace(summary, failures=named, left_out=found.left_out)
