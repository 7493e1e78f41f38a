"""Which files a request may name: those that were dropped on the page. The page library looks after that only in pages that it serves
itself, and would fetch addresses of other machines that a request made by hand calls a dropped file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypir_cli.ui.guard import App, Receive, Scope, Send, refuse

ACTS = "/gradio_api/run/"
"""Start of the addresses where the page says what the user did."""
FILES = "/gradio_api/file="
"""Start of the addresses of files of the page library."""
MAX_BYTES = 1_000_000
"""Largest message about what the user did; a photograph comes by another way."""


class Uploads:
    """ASGI middleware that refuses requests for files other than those in one folder, and acts on them.

    Args:
        app: What is guarded.
        folder: Where the page library keeps what was dropped, and the pictures that it shows.
    """

    def __init__(self, app: App, *, folder: Path) -> None:
        self._app = app
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403 or 413."""
        path = str(scope.get("path", ""))
        if path.startswith(FILES) and not self._holds(path.removeprefix(FILES)):
            await refuse(send, 403, b"that file was not dropped here", scope=scope)
        elif path.startswith(ACTS):
            await self._act(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _act(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            await refuse(send, 413, b"that is too long", scope=scope)
        elif not self._may(body):
            await refuse(send, 403, b"that file was not dropped here", scope=scope)
        else:
            await self._app(scope, _again(body, receive), send)

    def _may(self, body: bytes) -> bool:
        """Whether everything that a message calls a file lies in the folder."""
        try:
            return all(map(self._holds, _paths(json.loads(body))))
        except (ValueError, RecursionError):
            return False

    def _holds(self, path: object) -> bool:
        if not isinstance(path, str) or not Path(path).is_absolute():
            return False
        try:
            return Path(path).resolve().is_relative_to(self._folder)
        except (OSError, ValueError, RuntimeError):
            return False


def _paths(content: Any) -> Iterator[object]:
    """Whatever stands where the page library looks for the path of a file."""
    if isinstance(content, dict):
        if "path" in content:
            yield content["path"]
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from _paths(part)


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None where it is too long or breaks off."""
    body: bytes = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if message["type"] != "http.request" or len(body) > MAX_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Any:
        return messages.pop() if messages else await receive()

    return receiving
