"""`hypir restore` as one call: find the images, load the model once, restore each, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.schema import to_dict
from hypir_cli.errors import HypirError
from hypir_cli.folder import Event, FolderReport, Job, Record, Restored, Shard
from hypir_cli.folder.compare import compare_path, write_compare
from hypir_cli.folder.events import Progress
from hypir_cli.folder.names import is_there
from hypir_cli.folder.report import PEAK_MEMORY, check_report_place
from hypir_cli.folder.scan import Unreadable
from hypir_cli.folder.worker import RunSettings
from hypir_cli.images import ImageData, Reading, on_white, read_image
from hypir_cli.images.atomic import require_writable
from hypir_cli.models.allocator import return_freed_memory
from hypir_cli.models.device import dtype_name, peak_memory, reset_peak_memory
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.history import History
from hypir_cli.restore.outcome import Outcome
from hypir_cli.restore.prompts import LoadDescriber, PromptBook, wants_model

logger = logging.getLogger(__name__)


def restore_folder(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    config: RestoreConfig,
    shard: Shard | None = None,
    load_describer: LoadDescriber | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    on_tiles: Progress | None = None,
    on_ready: Callable[[Engine], None] = lambda engine: None,
    load_engine: Callable[[RestoreConfig, Sequence[str] | None], Engine] | None = None,
    permits: Callable[[Path], bool] | None = None,
) -> FolderReport:
    """Restore files, folders and patterns into a file or folder.

    Args:
        inputs: What to restore.
        output: Where results go.
        config: All settings.
        shard: The part of the list this process takes; None is all.
        load_describer: Makes the captioning model that the prompt settings name, on a device.
        dry_run: Only say what would be done; loads no model.
        on_event: Told of every image that is started, done, skipped or failed.
        on_tiles: Told (tiles done, tiles in all) of the image at work.
        on_ready: Gets the engine once it is loaded, before the first image.
        load_engine: Makes the engine from the settings and the prompts that are known; None loads a new one.
        permits: Whether a file may be read or written; one that may not, a link that leads elsewhere, is reported like one that
            cannot be read. None permits all.

    Returns:
        What became of each image; failed ones are in it, not raised.

    Raises:
        HypirError: Nothing to restore, or a model cannot be loaded.
        ValueError: Prompts are to come from a captioning model, but there is no `load_describer`.
    """
    check_report_place(config.output.report, shard)
    if config.output.compare == "html" and Path(output).exists():
        require_writable(_page_path(Path(output)))
    settings = run_settings(config)
    found, jobs = settings.find_jobs(inputs, output)
    jobs, refused = _permitted(jobs, permits)
    run = partial(
        settings.run(jobs),
        shard=shard,
        unreadable=(*found.unreadable, *refused),
        left_out=found.left_out,
    )
    plan = run(None)
    finish = partial(run, report_path=config.output.report, on_event=on_event)
    history = _history(jobs, Path(output), config, shard)
    _warn_of_other_settings(plan, history)
    if dry_run:
        return finish(None)
    if not plan.count("planned"):
        return _compared(finish(None), config, Path(output))
    worker = Worker(
        config,
        jobs,
        load_describer=load_describer,
        on_tiles=on_tiles,
        load_engine=load_engine or Engine.load,
    )
    on_ready(worker.engine)
    made: list[str] = []
    tell = partial(_remember, made=made, on_event=on_event)
    try:
        report = finish(worker.restore, on_event=tell)
    finally:
        if history is not None:
            history.add(made)
        # What the run kept for its next image is of no use to what comes after.
        return_freed_memory()
    return _compared(report, config, Path(output))


def _permitted(
    jobs: Sequence[Job], permits: Callable[[Path], bool] | None
) -> tuple[list[Job], list[Unreadable]]:
    """The jobs whose files may be used, and the inputs of the others."""
    if permits is None:
        return list(jobs), []
    may = [all(map(permits, (job.input_path, *job.output_paths))) for job in jobs]
    reason = "it, or its result, lies outside the folders that may be used"
    return (
        [job for job, allowed in zip(jobs, may, strict=True) if allowed],
        [
            Unreadable(path=job.input_path, reason=reason)
            for job, allowed in zip(jobs, may, strict=True)
            if not allowed
        ],
    )


def _remember(event: Event, *, made: list[str], on_event: Callable[[Event], None]) -> None:
    """Note what was made, and pass the event on."""
    if event.kind == "done" and event.record is not None:
        made += event.record.outputs
    on_event(event)


def _history(
    jobs: Sequence[Job], output: Path, config: RestoreConfig, shard: Shard | None
) -> History | None:
    """What is known of the results in the output folder; None where the output is a single file."""
    if not output.is_dir() and all(path == output for job in jobs for path in job.output_paths):
        return None
    alone = shard is None or shard.count == 1
    part = "" if shard is None or alone else f".{shard.index + 1}-of-{shard.count}"
    return History(output, config, part=part)


def _warn_of_other_settings(plan: FolderReport, history: History | None) -> None:
    """Tell of results that stay although they were made otherwise."""
    if history is None:
        return
    there = [path for item in plan.records if item.status == "skipped" for path in item.outputs]
    count, words = history.differing(there)
    if count:
        logger.warning(
            "%d result(s) there were made with other settings (%s); --existing overwrite makes them anew.",
            count,
            "; ".join(words),
        )


class Worker:
    """Restores single images with a model that is loaded once.

    Args:
        config: All settings.
        jobs: Every image of the run; None when there are too many to look at beforehand.
        load_describer: Makes the captioning model, where prompts are to come from one.
        on_tiles: Told (tiles done, tiles in all) of the image at work.
        load_engine: Makes the engine from the settings and the prompts that are known.

    Raises:
        HypirError: A model cannot be loaded.
        ValueError: Prompts are to come from a captioning model, but there is no `load_describer`.
    """

    def __init__(
        self,
        config: RestoreConfig,
        jobs: Sequence[Job] | None,
        *,
        load_describer: LoadDescriber | None,
        on_tiles: Progress | None,
        load_engine: Callable[[RestoreConfig, Sequence[str] | None], Engine],
    ) -> None:
        self._config = config
        self._on_tiles = on_tiles
        describe = None
        if load_describer is not None and wants_model(config.prompt):
            describe = load_describer(config.prompt, config.runtime.device)
        self._prompts = PromptBook(config.prompt, describe=describe)
        known = None if self._prompts.needs_images else self._known_prompts(jobs)
        self.engine = load_engine(config, known)

    def restore(self, image: ImageData, job: Job) -> Restored:
        """The samples of one image and what the report says of them."""
        engine = self.engine
        prompt = self._prompts.prompt(job.input_path, relative=Path(job.relative_path), image=image)
        reset_peak_memory(engine.model.backbone.device)
        outcome = engine.restore(image, prompt=prompt, on_progress=self._on_tiles)
        return Restored(
            samples=outcome.samples,
            details=_details(engine, outcome, prompt),
            notes=tuple(dict.fromkeys(outcome.notes)),
        )

    def _known_prompts(self, jobs: Sequence[Job] | None) -> list[str] | None:
        """Every prompt the run can need, None where that is not known; one that cannot be read fails with its image later."""
        if jobs is None:
            in_files = self._config.prompt.dir is not None or self._config.prompt.caption != "none"
            return None if in_files else [self._config.prompt.text]
        known = [self._config.prompt.text]
        for job in jobs:
            try:
                known.append(self._prompts.prompt(job.input_path, relative=Path(job.relative_path)))
            except HypirError as error:
                logger.debug("no prompt for %s: %s", job.input_path, error.message)
        return known


def _details(engine: Engine, outcome: Outcome, prompt: str) -> Mapping[str, object]:
    times, backbone = outcome.times, engine.model.backbone
    return {
        "prompt": prompt,
        "seeds": outcome.seeds,
        "texture": outcome.texture,
        "textures_reached": outcome.textures_reached,
        "detail_gains": outcome.detail_gains,
        "device": str(backbone.device),
        "dtype": dtype_name(backbone.dtype),
        "int8": [choice.details() for choice in engine.model.int8],
        "tile": engine.limits.largest,
        "tiles_at_once": engine.limits.batch,
        "stages": {
            "encode": times.encode,
            "denoise": times.denoise,
            "decode": times.decode,
            "other": times.other,
        },
        PEAK_MEMORY: peak_memory(backbone.device),
    }


def run_settings(config: RestoreConfig) -> RunSettings:
    """What running over a list of images needs to know of the settings."""
    return RunSettings(
        output=config.output,
        num_jobs=config.runtime.jobs,
        samples=config.control.samples,
        reading=Reading(partial=config.input.partial, float_range=config.input.float_range),
        sidecars=config.prompt.caption == "sidecar",
        output_size=config.size.output_size,
        cluster=config.cluster,
        report=to_dict(config),
    )


def _compared(report: FolderReport, config: RestoreConfig, output: Path) -> FolderReport:
    """The report, once the comparisons that were asked for are made, those with results of earlier runs among them."""
    shown = [record for record in report.records if record.status in ("done", "skipped")]
    if config.output.compare == "side":
        _write_missing_pictures(shown)
    if config.output.compare == "html" and shown:
        _write_page(shown, _page_path(output))
    return report


def _page_path(output: Path) -> Path:
    """Where the page of comparisons goes."""
    return (output if output.is_dir() else output.parent) / "compare.html"


def _write_missing_pictures(records: Sequence[Record]) -> None:
    """Side-by-side pictures that an earlier run did not make."""
    for record in records:
        for after in map(Path, record.outputs):
            if is_there(compare_path(after)):
                continue
            try:
                before, result = read_image(record.input), read_image(after)
                shown = [on_white(image.pixels, image.alpha) for image in (before, result)]
                write_compare(after, before=shown[0], after=shown[1])
            except HypirError as error:
                logger.warning("no comparison of %s: %s", record.input, error.message)


def _write_page(records: Sequence[Record], page: Path) -> None:
    """A page with sliders beside the results."""
    from hypir_cli.folder.pages import ComparisonRow, write_comparison_page

    rows = [
        ComparisonRow(
            name=Path(record.input).name,
            before=Path(record.input),
            after=tuple(Path(path) for path in record.outputs),
        )
        for record in records
    ]
    for name, reason in write_comparison_page(page, rows):
        logger.warning("%s is not on the page: %s", name, reason)
