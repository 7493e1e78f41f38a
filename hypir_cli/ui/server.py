"""Serve the page, and the pictures and downloads it refers to."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response

from hypir_cli.config.ui import LOOPBACK, UiConfig
from hypir_cli.errors import ConfigError, DeviceError
from hypir_cli.ui.access import Access
from hypir_cli.ui.desk import Studio
from hypir_cli.ui.engines import EngineCache
from hypir_cli.ui.guard import Guard
from hypir_cli.ui.shelf import ROUTE, Shelf
from hypir_cli.ui.uploads import Uploads
from hypir_cli.ui.worker import Worker

_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def serve(config: UiConfig, *, on_ready: Callable[[str], None] = lambda address: None) -> None:
    """Serve the page until interrupted.

    Args:
        config: All settings.
        on_ready: Told the address once the page answers.

    Raises:
        HypirError: A folder is missing, the address cannot be used, or the password is not set.
    """
    credentials = _credentials(config)
    access = Access(config.folders)
    listener = _listen(config)
    address = f"http://{_shown_host(config.host)}:{listener.getsockname()[1]}/"
    with _studio(access) as studio:
        app = build_app(studio, hosts=_hosts(config), credentials=credentials)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, ws="none")
        )
        threading.Thread(
            target=_announce, args=(server, address, config, on_ready), daemon=True
        ).start()
        server.run(sockets=[listener])


def build_app(studio: Studio, *, hosts: frozenset[str], credentials: str | None) -> FastAPI:
    """The web application.

    Args:
        studio: What all desks share.
        hosts: Names under which the page is reached.
        credentials: NAME:PASSWORD; None asks for none.
    """
    os.environ.update(_QUIET)  # read when Gradio is imported
    dropped = studio.folder / "dropped"  # goes when the page ends
    os.environ["GRADIO_TEMP_DIR"] = str(dropped)
    import gradio as gr

    from hypir_cli.ui.page import Page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route(ROUTE + "/{token}", partial(hand_out, studio))
    gr.mount_gradio_app(
        app,
        Page(studio).build(),
        path="/",
        show_error=False,
        ssr_mode=False,
        footer_links=[],
        allowed_paths=[],
        theme=_theme(),
        css=_asset("page.css"),
        head=f"<script>{_asset('page.js')}</script>",
    )
    app.add_middleware(Uploads, folder=dropped)
    app.add_middleware(Guard, hosts=hosts, credentials=credentials)
    return app


def _theme() -> Any:
    """Fonts of the machine, and grey text that can be read."""
    import gradio as gr

    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_sm,
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )


def hand_out(studio: Studio, token: str, download: str | None = None) -> Response:
    """The file of an address; none where it has gone, or leads elsewhere by now.

    Args:
        studio: What all desks share.
        token: End of the address.
        download: Name under which the browser saves it; None shows it.
    """
    path = studio.shelf.find(token)
    allowed = Access([*studio.access.roots, studio.folder])
    if path is None or not path.is_file() or not allowed.allows(path):
        return PlainTextResponse("there is no such file any more", status_code=404)
    return FileResponse(path, filename=download) if download else FileResponse(path)


@contextlib.contextmanager
def _studio(access: Access) -> Iterator[Studio]:
    folder = Path(tempfile.mkdtemp(prefix="hypir-ui-"))
    worker = Worker()
    try:
        yield Studio(
            access=access,
            folder=folder,
            shelf=Shelf(folder),
            worker=worker,
            engines=EngineCache(),
        )
    finally:
        worker.close()
        shutil.rmtree(folder, ignore_errors=True)


def _credentials(config: UiConfig) -> str | None:
    if config.auth_env is None:
        return None
    value = os.environ.get(config.auth_env, "")
    name, _, password = value.partition(":")
    if not name or not password:
        raise ConfigError(
            f"the environment variable {config.auth_env} does not hold NAME:PASSWORD.",
            hint=f"export {config.auth_env}=name:password",
        )
    return value


def _hosts(config: UiConfig) -> frozenset[str]:
    """Names by which the page may be called."""
    names = set(LOOPBACK) | {config.host.lower()}
    if config.host in ("0.0.0.0", "::"):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower(), *_own_addresses()}
    return frozenset(names)


def _own_addresses() -> set[str]:
    with contextlib.suppress(OSError):
        return {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    return set()


def _listen(config: UiConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise DeviceError(
            f"cannot serve on {config.host} port {config.port}: {error.strerror}.",
            hint="choose another with --port, or --port 0 for any that is free",
        ) from error
    return listener


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _announce(
    server: uvicorn.Server, address: str, config: UiConfig, on_ready: Callable[[str], None]
) -> None:
    while not server.started and not server.should_exit:
        threading.Event().wait(0.05)
    on_ready(address)
    if config.open_browser:
        webbrowser.open(address)


def _asset(name: str) -> str:
    return (resources.files("hypir_cli.ui") / "assets" / name).read_text(encoding="utf-8")
