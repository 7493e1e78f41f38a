"""What the page says, as HTML: progress, errors, failures, the viewer's frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hypir_cli.ui.desk import Desk
from hypir_cli.ui.gallery import FolderRun
from hypir_cli.ui.photo import Shown
from hypir_cli.ui.worker import Task

_STATES = {
    "waiting": "waiting for other work",
    "running": "working",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


def status_html(desk: Desk, *, busy_with: Task | None) -> str:
    """How the work stands: a bar, the time left, what went wrong."""
    task = desk.task
    if task is None:
        return '<p class="hypir-soft">Nothing is being done.</p>'
    parts = [f"<p><b>{escape(task.title)}</b>: {escape(_STATES[task.state])}{_left(task)}</p>"]
    if task.is_open:
        parts.append(f'<progress max="1" value="{task.fraction:.4f}" aria-label="done"></progress>')
    if task.state == "waiting" and busy_with is not None and busy_with is not task:
        parts.append(f'<p class="hypir-soft">first: {escape(busy_with.title)}</p>')
    if task.message:
        kind = "hypir-bad" if task.state == "failed" else "hypir-soft"
        parts.append(f'<p class="{kind}" role="status">{escape(task.message)}</p>')
    if desk.run is not None:
        parts.append(_run_html(desk.run))
    elif desk.shown is not None:
        parts += [f'<p class="hypir-soft">{escape(note)}</p>' for note in desk.shown.notes]
    return "".join(parts)


def error_html(message: str, hint: str) -> str:
    """What is wrong, and what to do."""
    way_out = f' <span class="hypir-soft">{escape(hint)}</span>' if hint else ""
    return f'<p class="hypir-bad" role="alert">{escape(message)}{way_out}</p>'


def viewer_html(shown: Shown | None) -> str:
    """The before/after page in a frame, and the results to download."""
    if shown is None:
        return ""
    links = "".join(
        f'<a class="hypir-download" href="{escape(address)}?download={escape(name)}" '
        f'download="{escape(name)}">Download {escape(name)}</a>'
        for name, address in shown.downloads
    )
    frame = f'<iframe id="hypir-viewer" src="{escape(shown.address)}" title="{escape(shown.title)}"></iframe>'
    return f"{links}{frame}"


def _run_html(run: FolderRun) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(run.counts.items()))
    ended = sum(run.counts.values())
    parts = [f"<p>{ended} of {run.total or '?'} images{': ' + counts if counts else ''}</p>"]
    if run.failures:
        parts.append(_table("Failed", run.failures, kind="hypir-bad"))
    if run.notes:
        parts.append(_table("Notes", run.notes[-20:], kind="hypir-soft"))
    return "".join(parts)


def _table(title: str, rows: Sequence[tuple[str, str]], *, kind: str) -> str:
    body = "".join(
        f'<tr><td>{escape(name)}</td><td class="{kind}">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f'<table class="hypir-list"><caption>{title}</caption>{body}</table>'


def _left(task: Task) -> str:
    seconds = task.seconds_left()
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {minutes} min {rest:02d} s left" if minutes else f", about {rest} s left"
