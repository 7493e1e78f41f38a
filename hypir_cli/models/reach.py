"""Downloads that fail soon where there is no network.

The libraries' own clients retry for minutes. Here the hub is asked once, for a few seconds; where it does not answer, or
HF_HUB_OFFLINE is set, no connection is tried at all. Weights that are in the caches load either way.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import urllib.request
from collections.abc import Iterator
from typing import NoReturn
from urllib.error import HTTPError, URLError

from huggingface_hub import constants

ANSWER = 5.0
"""Seconds that the hub has for its answer."""
SILENCE = 60.0
"""Seconds without a byte after which a download that has begun is given up."""


@contextlib.contextmanager
def limited_network(timeout: float = SILENCE) -> Iterator[None]:
    """Connections opened inside end after `timeout` seconds of silence, or at once where there is no network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        if is_offline(timeout):
            with _refused_network():
                yield
        else:
            yield
    finally:
        socket.setdefaulttimeout(before)


def is_offline(timeout: float = ANSWER) -> bool:
    """Whether the user asked for no network, or the hub does not answer in time."""
    asked = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if asked or constants.HF_HUB_OFFLINE:
        return True
    return not _reaches(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT, min(timeout, ANSWER))


@functools.cache
def _reaches(url: str, timeout: float) -> bool:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def _refused_network() -> Iterator[None]:
    """Downloads by torch.hub, pyiqa and the hub's client fail at once instead of trying."""
    opener = urllib.request.build_opener(_Refusal())
    before_opener = urllib.request._opener  # type: ignore[attr-defined]
    before_flag = constants.HF_HUB_OFFLINE
    urllib.request.install_opener(opener)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        urllib.request._opener = before_opener  # type: ignore[attr-defined]
        constants.HF_HUB_OFFLINE = before_flag


class _Refusal(urllib.request.BaseHandler):
    """Answers every request with an error."""

    handler_order = 0

    def default_open(self, request: urllib.request.Request) -> NoReturn:
        raise URLError(f"no network; not in the cache: {request.full_url}")
