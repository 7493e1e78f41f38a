"""An S3-compatible server on loopback that can be told to stumble: errors, slow answers, a log of what was asked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = Callable[[str, str, int], "int | float | None"]
"""(method, path, how often this was asked before) -> a status to answer, seconds to wait (as a float), or None."""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "archive"


class _Silent(WSGIRequestHandler):
    def log(self, *words: object) -> None:
        pass


class ObjectStore:
    """The server; `endpoint` is its address."""

    def __init__(self) -> None:
        self.fault: Fault = lambda method, path, before: None
        self.requests: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent
        )
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        # Servers of one process share their buckets.
        reset = Request(f"{self.endpoint}/moto-api/reset", method="POST")
        urlopen(reset).close()
        self._client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def close(self) -> None:
        self._client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this server."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    def put(self, key: str, content: bytes) -> str:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def put_folder(self, folder: Path, prefix: str) -> str:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def content(self, prefix: str) -> dict[str, bytes]:
        """Bytes by key below a prefix, hidden folders left out."""
        found = {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{prefix}/"
        )
        for entry in (entry for page in pages for entry in page.get("Contents", [])):
            key = str(entry["Key"]).removeprefix(f"{prefix}/")
            if not key.startswith("."):
                body = self._client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"]
                found[key] = body.read()
        return found

    def count(self, method: str, prefix: str, *, hidden: bool = False) -> Counter[str]:
        """How often each key below a prefix was asked for with a method."""
        start = f"/{BUCKET}/{prefix}/"
        return Counter(
            {
                path.removeprefix(start): number
                for (verb, path), number in self.requests.items()
                if verb == method and path.startswith(start) and (hidden or "/." not in path)
            }
        )

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            before = self.requests[method, path]
            self.requests[method, path] += 1
        fault = self.fault(method, path, before)
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{fault} Broken", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return []
        return self._app(environ, start)  # type: ignore[no-any-return]


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server that is closed at the end."""
    S3FileSystem.clear_instance_cache()  # they remember the address of an earlier test's server
    store = ObjectStore()
    try:
        yield store
    finally:
        store.close()
