"""A web server on loopback with files of a folder, which can be told to stumble."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[[str], int]
"""Path asked for -> status to answer, 0 to serve it."""


class WebServer:
    """The server; `url` is its address."""

    def __init__(self, folder: Path) -> None:
        self.fault: Fault = lambda path: 0
        handler = functools.partial(_Handler, self, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


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
    server = WebServer(folder)
    try:
        yield server
    finally:
        server.close()
