"""One report of what several processes did, made by the first of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from hypir_cli.config.launcher import meeting_size
from hypir_cli.folder.report import FolderReport, Status
from hypir_cli.folder.shard import Shard

PATIENCE = timedelta(days=30)
"""How long the first process waits for the slowest; a launcher ends all of them when one dies."""


def gather_reports(
    report: FolderReport, *, environ: Mapping[str, str] | None = None
) -> FolderReport | None:
    """What all processes of torchrun or accelerate did, on the first of them.

    A process that ended with an error because one of its images failed would make its launcher stop the others in the
    middle. So every process waits here until all are through, and the first alone answers for what failed.

    Args:
        report: What this process did.
        environ: Where the launcher leaves its numbers; None takes this process's environment.

    Returns:
        The joint report; None on the other processes; the report itself where there are none.
    """
    size = meeting_size(os.environ if environ is None else environ)
    if size == 1:
        return report
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        first = distributed.get_rank() == 0
        reports: list[FolderReport] | None = [report] * size if first else None
        distributed.gather_object(report, reports)
    finally:
        distributed.destroy_process_group()
    return None if reports is None else joint_report(reports)


def joint_report(reports: Sequence[FolderReport]) -> FolderReport:
    """One report of parts that were dealt out to neighbours, the images in the order of the whole list."""
    size = len(reports)
    longest = max(len(report.records) for report in reports)
    records = [
        report.records[place]
        for place in range(longest)
        for report in reports
        if place < len(report.records)
    ]
    counted: Counter[Status] = Counter()
    for report in reports:
        counted.update(report.counted)
    part = reports[0].shard
    return FolderReport(
        records=tuple(records),
        shard=Shard(part.index // size, part.count // size),
        interrupted=any(report.interrupted for report in reports),
        settings=reports[0].settings,
        left_out=reports[0].left_out,
        counted=dict(counted),
    )
