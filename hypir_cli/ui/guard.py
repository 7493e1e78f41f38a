"""Who may talk to the page: this machine's own browser, at the page's own address, with the password where there is one."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
"""Content security policy: nothing is fetched from anywhere else."""
ROUTES = ("/", "/config", "/favicon.ico", "/manifest.json", "/theme.css")
"""Addresses that the page asks for."""
ROUTES_BELOW = (
    "/assets/",
    "/static/",
    "/hypir/file/",
    "/gradio_api/file=",
    "/gradio_api/heartbeat/",
    "/gradio_api/run/",
    "/gradio_api/upload",
)
"""Starts of the others. What else the page library serves (its proxy, its editor, its run history) is not answered."""


class Guard:
    """ASGI middleware that refuses foreign hosts, foreign origins, wrong passwords, and addresses that the page never asks for.

    A page of another site can make a browser send requests here; such requests carry that site's Origin, or, where the site's
    name was pointed at this machine (DNS rebinding), its name as Host.

    Args:
        app: What is guarded.
        hosts: Names under which the page is reached, without port.
        credentials: NAME:PASSWORD; None asks for none.
    """

    def __init__(self, app: App, *, hosts: frozenset[str], credentials: str | None) -> None:
        self._app = app
        self._hosts = hosts
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401, 403 or 404."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        if not self._from_here(headers):
            await refuse(send, 403, b"this page answers only its own address", scope=scope)
        elif not self._knows_password(headers):
            await refuse(send, 401, b"a name and a password are needed", scope=scope)
        elif not _is_known(scope["path"]):
            await refuse(send, 404, b"there is no such address", scope=scope)
        else:
            await self._app(scope, receive, _with_policy(send))

    def _from_here(self, headers: MutableMapping[str, bytes]) -> bool:
        host = headers.get("host", b"").decode("latin-1")
        if _name(f"//{host}") not in self._hosts:
            return False
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", b"none") in (b"none", b"same-origin")
        return urlsplit(origin.decode("latin-1")).netloc == host

    def _knows_password(self, headers: MutableMapping[str, bytes]) -> bool:
        if self._credentials is None:
            return True
        kind, _, encoded = headers.get("authorization", b"").partition(b" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        return kind.lower() == b"basic" and hmac.compare_digest(given, self._credentials.encode())


def _is_known(path: str) -> bool:
    return path in ROUTES or path.startswith(ROUTES_BELOW)


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _with_policy(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            extra = [
                (b"content-security-policy", POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


async def refuse(send: Send, status: int, reason: bytes, *, scope: Scope) -> None:
    """Answer a request with a status and a reason; close a socket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="hypir", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason})
