"""One shard of a manifest, restored: the unit of work that a loop, a job array and a Ray cluster all use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypir_cli.config.places import is_url
from hypir_cli.config.restore import PromptConfig, RestoreConfig
from hypir_cli.config.schema import to_dict
from hypir_cli.errors import ConfigError, HypirError
from hypir_cli.folder import Event, FolderReport, RestoreOne, Shard, run_folder, urls
from hypir_cli.folder.manifest import Manifest, Row
from hypir_cli.folder.report import Record
from hypir_cli.folder.shard_state import ShardResult, ShardStates
from hypir_cli.folder.staging import StagedCopies
from hypir_cli.images import Reading
from hypir_cli.restore.engine import Engine
from hypir_cli.restore.folder import Worker, load_new_engine, result_pixels
from hypir_cli.restore.prompts import Describe, wants_model
from hypir_cli.restore.restorer import Progress

REMOTE_JOBS = 4
"""Images at least that are fetched and delivered at a time where they live in a store: an answer takes longer than a disk's."""

LoadDescriber = Callable[[PromptConfig, str], Describe]
"""Makes the captioning model that prompt settings name, on a device."""


class LazyWorker:
    """Loads the model when the first image needs it, so that a rerun with nothing to do loads none.

    Args:
        config: All settings.
        load_describer: Makes the captioning model, where prompts are to come from one.
        on_tiles: Told (tiles done, tiles in all) of the image at work.
        on_ready: Gets the engine once it is loaded.
    """

    def __init__(
        self,
        config: RestoreConfig,
        *,
        load_describer: LoadDescriber | None = None,
        on_tiles: Progress | None = None,
        on_ready: Callable[[Engine], None] = lambda engine: None,
    ) -> None:
        self.config = config
        self._load_describer = load_describer
        self._on_tiles = on_tiles
        self._on_ready = on_ready
        self._worker: Worker | None = None

    def load(self) -> RestoreOne:
        """What restores an image; the model is loaded when this returns.

        Raises:
            HypirError: A model cannot be loaded.
            ValueError: Prompts are to come from a captioning model, but there is no `load_describer`.
        """
        if self._worker is None:
            describe, prompt = None, self.config.prompt
            if self._load_describer is not None and wants_model(prompt):
                describe = self._load_describer(prompt, self.config.runtime.device)
            self._worker = Worker(
                self.config,
                None,
                describe=describe,
                on_tiles=self._on_tiles,
                load_engine=load_new_engine,
            )
            self._on_ready(self._worker.engine)
        return self._worker.restore


def restore_shard(
    manifest: Manifest,
    index: int,
    *,
    worker: LazyWorker,
    on_event: Callable[[Event], None] = lambda event: None,
) -> ShardResult:
    """Restore what is missing of one shard; doing it again changes nothing.

    A shard with a marker is passed over. One that an earlier run came to the end of is begun again with the images that
    failed. One that was cut short, or never begun, asks the store for each result first (`--existing skip`).

    Args:
        manifest: The list.
        index: Which shard, from 0.
        worker: Restores, and has the settings.
        on_event: Told of every image that is started, done, skipped or failed.

    Returns:
        What became of its images; failed ones are in it, not raised.

    Raises:
        ConfigError: Results are there, and `--existing error` was asked for.
        HypirError: The manifest or the shard's state cannot be read or written, or a model cannot be loaded.
    """
    states = ShardStates(manifest)
    again = worker.config.output.existing == "overwrite"
    if not again and states.is_finished(index):
        return ShardResult(index=index, skipped=manifest.shard_size(index))
    rows = manifest.shard(index)
    known = set() if again else states.done_urls(index)
    report = restore_rows(rows, worker=worker, done=known, on_event=on_event)
    states.save(index, report.records)
    return ShardResult(
        index=index,
        done=report.count("done"),
        skipped=report.count("skipped"),
        failed=report.failed,
    )


def broken_shard(manifest: Manifest, index: int, error: HypirError) -> ShardResult:
    """The result of a shard that could not be worked through as a whole."""
    record = Record(
        input=f"{manifest.place} shard {index}",
        outputs=(),
        status="failed",
        reason=error.message,
        hint=error.hint or "run again: a shard without a marker is taken up",
    )
    return ShardResult(index=index, failed=(record,))


def restore_rows(
    rows: Sequence[Row],
    *,
    worker: LazyWorker,
    done: set[str] | frozenset[str] = frozenset(),
    shard: Shard | None = None,
    dry_run: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
) -> FolderReport:
    """Restore the rows whose results are not there, reading ahead and writing behind.

    Args:
        rows: The images.
        worker: Restores, and has the settings.
        done: URLs of inputs that are known to be done; the store is not asked for their results, nor for any others'.
        shard: The part of the whole that these rows are, for the report.
        dry_run: Only say what would be done.
        on_event: Told of every image that is started, done, skipped or failed.

    Raises:
        ConfigError: Results are there, and `--existing error` was asked for; or a page is to be made of a store's images.
        HypirError: A store does not answer, or a model cannot be loaded.
    """
    config = worker.config
    if config.output.compare == "html":
        raise ConfigError(
            "a page of comparisons is made of local folders alone.", hint="use --compare side"
        )
    there = _there(rows, config, done)
    todo = [row for row in rows if row.url not in there]
    skipped = [_record(row, "skipped") for row in rows if row.url in there]
    if dry_run or not todo:
        planned = [_record(row, "planned") for row in todo]
        return FolderReport(
            records=(*skipped, *planned), shard=shard or Shard(), settings=to_dict(config)
        )
    remote = any(is_url(place) for row in todo for place in (row.url, *row.output_urls))
    num_jobs = max(config.runtime.jobs, REMOTE_JOBS) if remote else config.runtime.jobs
    restore_one = worker.load()
    with StagedCopies(
        todo, ahead=2 * num_jobs, sidecars=config.prompt.caption == "sidecar"
    ) as staging:
        report = run_folder(
            staging.jobs,
            restore_one,
            existing="overwrite" if config.output.existing == "overwrite" else "skip",
            quality=config.output.quality,
            keep_metadata=config.output.metadata == "keep",
            compare=config.output.compare == "side",
            num_jobs=num_jobs,
            reading=Reading(partial=config.input.partial, float_range=config.input.float_range),
            settings=to_dict(config),
            output_pixels=lambda height, width: result_pixels(config, height, width),
            staging=staging,
            on_event=on_event,
        )
    order = {row.url: number for number, row in enumerate(rows)}
    records = sorted((*skipped, *report.records), key=lambda record: order[record.input])
    return replace(report, records=tuple(records), shard=shard or Shard())


def _there(rows: Sequence[Row], config: RestoreConfig, done: set[str] | frozenset[str]) -> set[str]:
    """Inputs that need nothing."""
    if done or config.output.existing == "overwrite":
        return {row.url for row in rows if row.url in done}
    found = urls.all_exist(row.output_urls for row in rows)
    there = {row.url for row, is_there in zip(rows, found, strict=True) if is_there}
    if there and config.output.existing == "error":
        first = next(row for row in rows if row.url in there)
        raise ConfigError(
            f"{len(there)} result(s) are there already, the first is {first.output_urls[0]}.",
            hint="use --existing skip to go on where a run ended, or --existing overwrite",
        )
    return there


def _record(row: Row, status: str) -> Record:
    return Record(
        input=row.url,
        outputs=row.output_urls,
        status="skipped" if status == "skipped" else "planned",
        reason="the result is there" if status == "skipped" else "",
    )
