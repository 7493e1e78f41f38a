"""Web servers on loopback: of any handler, and one with files of a folder, which can be told to stumble."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[[str], int]
"""Path asked for -> status to answer, 0 to serve it."""


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server that answers with such handlers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietHandler(BaseHTTPRequestHandler):
    """Answers with whole bodies, and writes no log."""

    def send(self, content: bytes, *, status: int = 200, headers: Mapping[str, str]) -> None:
        """One answer; the length is said, and nothing but headers follows where they are all that is asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        pass


@dataclass
class WebServer:
    """A server of files."""

    url: str = ""
    fault: Fault = lambda path: 0


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, owner: WebServer, *arguments: object, directory: str) -> None:
        self._owner = owner
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def send_head(self):  # type: ignore[no-untyped-def]
        fault = self._owner.fault(self.path)
        if fault:
            self.send_error(fault)
            return None
        return super().send_head()

    def log_message(self, format: str, *words: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    owner = WebServer()
    with serving(functools.partial(_Handler, owner, directory=str(folder))) as owner.url:
        yield owner
