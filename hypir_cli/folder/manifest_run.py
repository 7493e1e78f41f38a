"""A manifest, or inputs and outputs by URL, worked through by this process or by a Ray cluster, and reported like a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hypir_cli.config.places import STATE_FOLDER, is_manifest
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import urls
from hypir_cli.folder.events import Event
from hypir_cli.folder.listing import output_folder, plan_rows
from hypir_cli.folder.manifest import Manifest, Plan, write_manifest
from hypir_cli.folder.report import FolderReport, Record, Status, check_report_place
from hypir_cli.folder.shard import Shard
from hypir_cli.folder.shard_run import broken_shard, run_rows, run_shard
from hypir_cli.folder.shard_state import ShardProgress, ShardResult, ShardStates
from hypir_cli.folder.worker import ImageWorker, RunSettings

FAILURES_KEPT = 10_000
"""Failed images whose records a report holds; further ones are counted, and stand in the shards' own files."""
DIRECT_SHARDS_OF = 100
"""Images per shard where a cluster gets inputs that nobody planned."""


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Who is told what."""

    on_event: Callable[[Event], None] = lambda event: None
    """Every image that is started, done, skipped or failed; a cluster's are told by shard alone."""
    on_shard: Callable[[ShardProgress], None] = lambda progress: None
    """Every shard that has ended."""


def planned_by(settings: RunSettings, inputs: Sequence[str], output: str) -> Plan:
    """The plan that a command's settings imply."""
    return Plan(
        output=output_folder(inputs, output),
        samples=settings.samples,
        format=settings.output.format,
        suffix=settings.output.suffix,
        lossless=settings.lossless,
    )


def run_urls(
    inputs: Sequence[str],
    output: str | None,
    *,
    worker: ImageWorker,
    shard: Shard | None = None,
    dry_run: bool = False,
    listeners: Listeners | None = None,
) -> FolderReport:
    """Work through a manifest, or inputs and outputs of which some are URLs.

    Args:
        inputs: One manifest; or files, folders and patterns.
        output: Where results go; a manifest says so itself, and needs none.
        worker: What is done to each image, and the settings.
        shard: The part that this process takes; None is all.
        dry_run: Only say what would be done.
        listeners: Who is told what.

    Returns:
        What became of the images: of a manifest the failed ones, and the number of the others.

    Raises:
        HypirError: Nothing to do, settings that contradict the manifest, or a store or a model that fails for good.
    """
    listeners = listeners or Listeners()
    part, settings = shard or Shard(), worker.settings
    check_report_place(settings.output.report, part)
    if is_manifest(inputs[0]):
        manifest = Manifest(inputs[0])
        _check_fits(manifest, inputs, output, settings)
    else:
        if output is None:
            raise ConfigError("there is no output.", hint="give INPUT... OUTPUT")
        plan = planned_by(settings, inputs, output)
        rows = plan_rows(inputs, output, plan=plan)
        if settings.cluster.engine == "local" or dry_run:
            report = run_rows(
                part.take(list(rows)),
                worker=worker,
                shard=part,
                dry_run=dry_run,
                on_event=listeners.on_event,
            )
            return _written(report, settings)
        place = urls.join(urls.join(plan.output, STATE_FOLDER), "inputs.parquet")
        manifest = write_manifest(place, rows, plan=plan, shards_of=DIRECT_SHARDS_OF)
    tally = _Tally(settings, part)
    mine = part.take(range(manifest.num_shards))
    todo = _unfinished(manifest, mine, settings, tally)
    if dry_run:
        tally.counts["planned"] += sum(map(manifest.shard_size, todo))
        return _written(tally.report(), settings)
    if settings.cluster.engine == "ray":
        from hypir_cli.folder.ray_engine import ray_results

        results = ray_results(manifest, todo, worker=worker)
    else:
        results = _local_results(manifest, todo, worker, listeners)
    try:
        for result in results:
            tally.add(result)
            listeners.on_shard(ShardProgress(result=result, finished=tally.shards, total=len(todo)))
    except KeyboardInterrupt:
        _written(tally.report(interrupted=True), settings)
        raise
    return _written(tally.report(), settings)


def _local_results(
    manifest: Manifest, todo: Iterable[int], worker: ImageWorker, listeners: Listeners
) -> Iterator[ShardResult]:
    """Shard after shard in this process; one whose state cannot be kept does not stop the others."""
    for index in todo:
        try:
            yield run_shard(manifest, index, worker=worker, on_event=listeners.on_event)
        except InputError as error:
            yield broken_shard(manifest, index, error)


def _unfinished(
    manifest: Manifest, mine: Sequence[int], settings: RunSettings, tally: _Tally
) -> list[int]:
    """Shards without a marker; the others are counted as skipped."""
    if settings.output.existing == "overwrite":
        return list(mine)
    finished = ShardStates(manifest).finished()
    if finished and settings.output.existing == "error":
        raise ConfigError(
            f"{len(finished)} shard(s) of {manifest.place} are done already.",
            hint="use --existing skip to go on where a run ended, or --existing overwrite",
        )
    tally.counts["skipped"] += sum(
        manifest.shard_size(index) for index in mine if index in finished
    )
    return [index for index in mine if index not in finished]


def _check_fits(
    manifest: Manifest, inputs: Sequence[str], output: str | None, settings: RunSettings
) -> None:
    """Refuse what the manifest decides otherwise."""
    plan = manifest.plan
    if len(inputs) > 1:
        raise ConfigError(
            "a manifest is worked through on its own, without other inputs.",
            hint="plan them together: hypir plan INPUT... OUTPUT",
        )
    if output is not None and urls.canonical(output) != urls.canonical(plan.output):
        raise ConfigError(
            f"{manifest.place} was planned for the output {plan.output}, not {output}.",
            hint="leave the output out, or plan anew",
        )
    if settings.lossless and not plan.lossless and plan.format == "same":
        raise ConfigError(
            f"{manifest.place} was planned with results that may lose a little everywhere.",
            hint="plan anew with --lossless, or with the --format that you want",
        )
    asked: dict[str, object] = {"samples": settings.samples, "format": settings.output.format}
    asked |= {"suffix": settings.output.suffix}
    defaults = {"samples": plan.samples, "format": "same", "suffix": ""}
    for name, value in asked.items():
        if value not in (getattr(plan, name), defaults[name]):
            raise ConfigError(
                f"{manifest.place} was planned with {name} {getattr(plan, name)!r}, not {value!r}.",
                hint=f"leave --{name} out, or plan anew with it",
            )


@dataclass
class _Tally:
    """Counts of a run whose images are too many to keep a record of each."""

    settings: RunSettings
    part: Shard
    counts: Counter[Status] = field(default_factory=Counter)
    failed: list[Record] = field(default_factory=list)
    shards: int = 0

    def add(self, result: ShardResult) -> None:
        self.shards += 1
        self.counts["done"] += result.done
        self.counts["skipped"] += result.skipped
        room = FAILURES_KEPT - len(self.failed)
        self.failed += result.failed[:room]
        self.counts["failed"] += len(result.failed[room:])

    def report(self, *, interrupted: bool = False) -> FolderReport:
        return FolderReport(
            records=tuple(self.failed),
            shard=self.part,
            interrupted=interrupted,
            settings=self.settings.report,
            counted=dict(self.counts),
        )


def _written(report: FolderReport, settings: RunSettings) -> FolderReport:
    if settings.output.report is not None:
        report.write(settings.output.report)
    return report
