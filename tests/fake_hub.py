"""A model hub on this machine: real HTTP, real answers for repositories that are there, gone, gated or broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests import web_server

COMMIT = "a" * 40


@dataclass
class FakeHub:
    """Repositories by id; a test may change them while the server runs."""

    repos: dict[str, Path] = field(default_factory=dict)
    """Folder with the files of each repository."""
    gated: set[str] = field(default_factory=set)
    """Repositories that ask for a licence to be accepted."""
    broken: set[str] = field(default_factory=set)
    """Repositories that answer with a server error."""
    url: str = ""
    downloads: list[str] = field(default_factory=list)
    """Files sent so far, as `repository:path`."""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve a hub on a free local port."""

    class Handler(_Handler):
        shared = hub

    with web_server.serving(Handler) as hub.url:
        yield hub


class _Handler(web_server.QuietHandler):
    shared: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        repo = "/".join(parts[2:4]) if parts[:2] == ["api", "models"] else "/".join(parts[:2])
        if repo in self.shared.broken:
            self.send(b"", status=400, headers={"X-Error-Message": "something broke"})
        elif repo in self.shared.gated:
            self.send(b"", status=403, headers={"X-Error-Code": "GatedRepo"})
        elif repo not in self.shared.repos:
            self.send(b"", status=404, headers={"X-Error-Code": "RepoNotFound"})
        elif parts[0] == "api":
            self._send_listing(repo, kind=parts[4] if len(parts) > 4 else "")
        else:
            self._send_file(repo, "/".join(parts[4:]))

    def _send_listing(self, repo: str, *, kind: str) -> None:
        root = self.shared.repos[repo]
        files = sorted(path for path in root.rglob("*") if path.is_file())
        names = {path.relative_to(root).as_posix(): path.stat().st_size for path in files}
        if kind == "tree":
            content: object = [
                {"type": "file", "path": name, "size": size, "oid": "0" * 40}
                for name, size in names.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in names]
            content = {"id": repo, "sha": COMMIT, "siblings": siblings, "tags": []}
        self.send(json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def _send_file(self, repo: str, name: str) -> None:
        path = self.shared.repos[repo] / name
        if not path.is_file():
            self.send(b"", status=404, headers={"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        if self.command == "GET":
            self.shared.downloads.append(f"{repo}:{name}")
        tag = hashlib.sha1(content).hexdigest()
        self.send(content, headers={"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
