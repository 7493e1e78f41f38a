"""What a text that names a file or folder is: a local path, a URL, or a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

MANIFEST_SUFFIX = ".parquet"
"""Ending of a manifest's name."""
STATE_FOLDER = ".hypir"
"""Hidden folder in the output, in which each manifest has a folder for what its shards came to."""


def is_url(text: str | Path) -> bool:
    """Whether a text names something that is not a local path; `file://` is local."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", str(text))
    return match is not None and match[1].lower() != "file"


def are_local(inputs: Iterable[str], output: str) -> bool:
    """Whether inputs and output are files and folders of this machine, none of them a manifest."""
    inputs = list(inputs)
    return not any(map(is_manifest, inputs)) and not any(map(is_url, (*inputs, output)))


def local_text(text: str) -> str:
    """The path of a `file://` URL; any other text as it is."""
    if not text.lower().startswith("file://"):
        return text
    return url2pathname(unquote(urlsplit(text).path))


def is_manifest(text: str | Path) -> bool:
    """Whether a name is that of a manifest."""
    return str(text).lower().endswith(MANIFEST_SUFFIX)
