"""What the page says, as HTML: progress, errors, failures, the viewer's frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from hypir_cli.ui.desk import Desk
from hypir_cli.ui.gallery import FolderRun
from hypir_cli.ui.shelf import Shown
from hypir_cli.ui.worker import Task

_STATES = {
    "waiting": "waiting for other work",
    "running": "working",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


def status_html(desk: Desk, *, busy_with: Task | None) -> str:
    """How the work stands: a bar, the time left, what went wrong, what waits."""
    work = desk.current
    if work is None:
        return '<p class="hypir-soft">Nothing is being done.</p>'
    task = work.task
    parts = [f"<p><b>{escape(task.title)}</b>: {escape(_STATES[task.state])}{_time(task)}</p>"]
    if task.is_open:
        parts.append(f'<progress max="1" value="{task.fraction:.4f}" aria-label="done"></progress>')
    if task.state == "waiting" and busy_with is not None and busy_with is not task:
        parts.append(f'<p class="hypir-soft">first: {escape(busy_with.title)}</p>')
    if task.message:
        kind = "hypir-bad" if task.state == "failed" else "hypir-soft"
        parts.append(f'<p class="{kind}" role="status">{escape(task.message)}</p>')
    if work.run is not None:
        parts.append(_run_html(work.run))
    elif desk.shown is not None:
        parts += [f'<p class="hypir-soft">{escape(note)}</p>' for note in desk.shown.notes]
    parts += [
        f'<p class="hypir-soft">then: {escape(other.task.title)}</p>' for other in desk.waiting
    ]
    return "".join(parts)


def error_html(message: str, hint: str) -> str:
    """What is wrong, and what to do."""
    way_out = f' <span class="hypir-soft">{escape(hint)}</span>' if hint else ""
    return f'<p class="hypir-bad" role="alert">{escape(message)}{way_out}</p>'


def viewer_html(shown: Shown | None) -> str:
    """The before/after page in a frame, and the results to download."""
    if shown is None:
        return (
            '<p id="hypir-blank">Before and after appear here, under a slider. Click a place of the photograph to try that '
            "place alone.</p>"
        )
    links = "".join(
        f'<a class="hypir-download" href="{escape(address)}?download={quote(name)}" '
        f'download="{escape(name)}">Download {escape(name)}</a>'
        for name, address in shown.downloads
    )
    frame = f'<iframe id="hypir-viewer" src="{escape(shown.address)}" title="{escape(shown.title)}"></iframe>'
    return f"{frame}{links}"


def _run_html(run: FolderRun) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(run.counts.items()))
    ended = sum(run.counts.values())
    parts = [f"<p>{ended} of {run.total or '?'} images{': ' + counts if counts else ''}</p>"]
    if run.failures:
        parts.append(_list("Failed", run.failures, kind="hypir-bad"))
    if run.notes:
        parts.append(_list("Notes", run.notes[-20:], kind="hypir-soft"))
    return "".join(parts)


def _list(title: str, rows: Sequence[tuple[str, str]], *, kind: str) -> str:
    body = "".join(f"<li><b>{escape(name)}</b> {escape(text)}</li>" for name, text in rows)
    return f'<p class="{kind}">{title}</p><ul class="hypir-list">{body}</ul>'


def _time(task: Task) -> str:
    """The time left of running work, the time taken by work that is done."""
    if task.state == "done" and task.seconds is not None:
        return f" in {_minutes(task.seconds)}"
    left = task.seconds_left()
    return "" if left is None else f", about {_minutes(left)} left"


def _minutes(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
