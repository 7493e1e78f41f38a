"""A headless Chromium for the tests of pages, where the machine has one; in CI it must."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --disable-dev-shm-usage --disable-default-apps --window-size=1200,1000"
)
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DRIVER = shutil.which("chromedriver")
IN_CI = os.environ.get("CI", "").lower() == "true"
MISSING = CHROMIUM is None or DRIVER is None
"""Whether there is no browser here."""


@contextmanager
def chromium(downloads: Path, *, requests: bool = False) -> Iterator[Chrome]:
    """A browser without a network that keeps its console's messages, and on demand what it asked for."""
    assert CHROMIUM is not None
    assert DRIVER is not None, "install chromium and chromium-driver"
    options = Options()
    for flag in (*_FLAGS.split(), _NO_NETWORK):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    logs = {"browser": "ALL", **({"performance": "ALL"} if requests else {})}
    options.set_capability("goog:loggingPrefs", logs)
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def console_errors(driver: Chrome) -> list[str]:
    """What the page complained about."""
    read_log: Callable[[str], list[dict[str, str]]] = driver.get_log
    return [
        entry["message"] for entry in read_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ]


def requested(driver: Chrome) -> list[str]:
    """Every address asked for since the last call, by pages, frames and scripts."""
    read_log: Callable[[str], list[dict[str, str]]] = driver.get_log
    messages = [json.loads(entry["message"])["message"] for entry in read_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
