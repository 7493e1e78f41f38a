"""The page in a real browser: drop, try a place, restore, download; folders, cancelling, reload, and no request to elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import IN_CI, MISSING, chromium

pytestmark = [
    pytest.mark.slow,
    # In CI a missing browser is a failure of the set-up, not a reason to skip.
    pytest.mark.skipif(MISSING and not IN_CI, reason="no chromium and chromedriver here"),
]
ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "photos" / "coffee.jpg"
SECONDS = 120.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "named"
    folder.mkdir()
    (folder.parent / "secret.png").write_bytes(PHOTO.read_bytes())
    return folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """A real server, as a user starts it."""
    command = [sys.executable, "-m", "hypir_cli", "ui", str(place), "--port", "0", "--no-open"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + server.stdout.read()
        try:
            yield found[0]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def driver(place: Path, address: str) -> Iterator[Chrome]:
    with chromium(place.parent) as browser:
        browser.get(address)
        _await_text(browser, "#hypir-status", "Nothing is being done")
        yield browser


def _await(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.1)


def _find(driver: Chrome, css: str) -> WebElement:
    _await(css, lambda: driver.find_elements(By.CSS_SELECTOR, css))
    return driver.find_element(By.CSS_SELECTOR, css)


def _text(driver: Chrome, css: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0])?.innerText", css))


def _await_text(driver: Chrome, css: str, text: str, seconds: float = SECONDS) -> None:
    _await(f"{text!r} in {css}", lambda: text in _text(driver, css), seconds)


def _tab(driver: Chrome, name: str) -> None:
    for button in driver.find_elements(By.CSS_SELECTOR, "[role=tab]"):
        if button.text == name:
            driver.execute_script("arguments[0].click()", button)


def _type(driver: Chrome, css: str, text: str) -> None:
    field = _find(driver, f"{css} textarea, {css} input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text)


def _click(driver: Chrome, css: str) -> None:
    driver.execute_script("arguments[0].click()", _find(driver, css))


def _drop(driver: Chrome, path: Path) -> None:
    _tab(driver, "One photograph")
    for cross in driver.find_elements(By.CSS_SELECTOR, "#hypir-drop [aria-label=Clear]"):
        driver.execute_script("arguments[0].click()", cross)
    _find(driver, "#hypir-drop input[type=file]").send_keys(str(path))


def _photos(folder: Path, *, count: int, side: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


def _resources(driver: Chrome) -> list[str]:
    """Addresses of everything the page and its frame fetched."""
    script = """
      const own = performance.getEntriesByType('resource').map(entry => entry.name);
      const frame = document.querySelector('#hypir-viewer')?.contentWindow;
      return own.concat(frame ? frame.performance.getEntriesByType('resource').map(e => e.name) : []);
    """
    return list(driver.execute_script(script))


def _complaints(driver: Chrome) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_drop_try_restore_compare_and_download(
    driver: Chrome, address: str, place: Path, tmp_path: Path
) -> None:
    _drop(driver, PHOTO)
    _await("the picture", lambda: driver.find_elements(By.CSS_SELECTOR, "#hypir-picture img"))
    picture = _find(driver, "#hypir-picture img")
    _await("its pixels", lambda: picture.size["width"] > 50)
    ActionChains(driver).move_to_element(picture).click().perform()
    _await_text(driver, "#hypir-status", "Trying a place of coffee.jpg: done")
    _find(driver, "#hypir-viewer")
    _click(driver, "#hypir-restore")
    _await_text(driver, "#hypir-status", "Restoring coffee.jpg: done")
    link = _find(driver, ".hypir-download")
    with urlopen(str(link.get_attribute("href"))) as answer:
        page_bytes = answer.read()
        assert "coffee.jpg" in answer.headers["content-disposition"]
    command = [sys.executable, "-m", "hypir_cli", "restore", str(PHOTO), f"{tmp_path}/out/"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert page_bytes == (tmp_path / "out" / "coffee.jpg").read_bytes()
    viewer = _find(driver, "#hypir-viewer")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", viewer)
    driver.switch_to.frame(viewer)
    handle = _find(driver, "[role=slider]")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    ActionChains(driver).drag_and_drop_by_offset(handle, 80, 0).perform()
    assert int(str(handle.get_attribute("aria-valuenow"))) > 55
    driver.switch_to.default_content()
    # The space bar flips before and after, also from the page around the viewer.
    _find(driver, "h1").click()
    ActionChains(driver).send_keys(" ").perform()
    driver.switch_to.frame(_find(driver, "#hypir-viewer"))
    assert handle.get_attribute("aria-valuenow") in ("0", "100")
    driver.switch_to.default_content()
    assert {urlsplit(name).netloc for name in _resources(driver) if name.startswith("http")} == {
        urlsplit(address).netloc
    }
    assert not _complaints(driver)


def test_a_reload_and_a_second_tab_find_the_work_again(driver: Chrome, address: str) -> None:
    _type(driver, "#hypir-prompt", "a cup")
    _await_text_value(driver, "#hypir-command textarea", "--prompt 'a cup'")
    driver.refresh()
    _await_text(driver, "#hypir-status", "Restoring coffee.jpg: done")
    _find(driver, ".hypir-download")
    _await_text_value(driver, "#hypir-command textarea", "--prompt 'a cup'")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(address)
    _await_text(driver, "#hypir-status", "Restoring coffee.jpg: done")
    driver.close()
    driver.switch_to.window(first)
    assert not _complaints(driver)


def _await_text_value(driver: Chrome, css: str, text: str) -> None:
    script = "return document.querySelector(arguments[0])?.value"
    _await(text, lambda: text in str(driver.execute_script(script, css)))


def test_a_folder_of_twenty_with_one_broken_file(driver: Chrome, place: Path) -> None:
    source = _photos(place / "twenty", count=20, side=40)
    (source / "07.png").write_bytes(b"no picture")
    _tab(driver, "Folder")
    _type(driver, "#hypir-source", "twenty")
    _type(driver, "#hypir-target", "restored")
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", "twenty: done")
    _await_text(driver, "#hypir-status", "20 of 20 images: 19 done, 1 failed")
    assert "07.png" in _text(driver, "#hypir-status")
    assert len(list((place / "restored").glob("*.png"))) == 19
    _tab(driver, "History")
    _click(driver, "#hypir-find-runs")
    _await_text(driver, "#hypir-runs", "19 done, 1 failed")
    _click(driver, "#hypir-runs input[type=radio]")
    viewer = _find(driver, "#hypir-viewer")
    _await("the run's page", lambda: "hypir-report" in str(viewer.get_attribute("title")))
    assert not _complaints(driver)


def test_cancelling_keeps_what_is_done_and_a_second_run_goes_on(
    driver: Chrome, place: Path
) -> None:
    _photos(place / "large", count=6, side=1100)
    target = place / "large-restored"
    _tab(driver, "Folder")
    _type(driver, "#hypir-source", "large")
    _type(driver, "#hypir-target", "large-restored")
    _click(driver, "#hypir-restore-all")
    _await("a first result", lambda: len(list(target.glob("[0-9]*.png"))) >= 1)
    _click(driver, "#hypir-cancel-all")
    _await_text(driver, "#hypir-status", "cancelled")
    finished = {path.name: path.read_bytes() for path in target.glob("[0-9]*.png")}
    assert 1 <= len(finished) < 6
    for path in target.glob("[0-9]*.png"):
        with Image.open(path) as result:
            result.load()
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", "6 of 6 images")
    _await_text(driver, "#hypir-status", "large: done")
    assert {name: (target / name).read_bytes() for name in finished} == finished
    assert not _complaints(driver)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing-here.jpg", "does not exist"),
        ("../secret.png", "outside the folders"),
        ("/etc/hostname", "outside the folders"),
    ],
)
def test_a_wrong_path_is_named_and_one_outside_is_refused(
    driver: Chrome, text: str, said: str
) -> None:
    _tab(driver, "One photograph")
    _type(driver, "#hypir-path", text)
    _click(driver, "#hypir-open")
    _await_text(driver, "#hypir-problem", said)


def test_forty_megapixels_are_shown_tried_and_restored(driver: Chrome, place: Path) -> None:
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (200, 270, 3), dtype=np.uint8))
    small.resize((7300, 5500), Image.Resampling.BILINEAR).save(place / "forty.jpg", quality=80)
    _tab(driver, "One photograph")
    _type(driver, "#hypir-path", "forty.jpg")
    _click(driver, "#hypir-open")
    _await("the picture", lambda: "forty" in _text(driver, "#hypir-status") or _shown(driver))
    picture = _find(driver, "#hypir-picture img")
    time.sleep(1.0)
    ActionChains(driver).move_to_element(picture).click().perform()
    _await_text(driver, "#hypir-status", "Trying a place of forty.jpg: done")
    _click(driver, "#hypir-restore")
    _await_text(driver, "#hypir-status", "Restoring forty.jpg: done", seconds=600)
    with urlopen(str(_find(driver, ".hypir-download").get_attribute("href"))) as answer:
        (place / "got.jpg").write_bytes(answer.read())
    with Image.open(place / "got.jpg") as result:
        assert result.size == (7300, 5500)
    assert not _complaints(driver)


def _shown(driver: Chrome) -> bool:
    image = driver.find_elements(By.CSS_SELECTOR, "#hypir-picture img")
    script = "return arguments[0].naturalWidth"
    return bool(image) and driver.execute_script(script, image[0]) == 1600


def test_files_of_the_machine_cannot_be_fetched(address: str, place: Path) -> None:
    for path in (
        f"gradio_api/file={place.parent / 'secret.png'}",
        f"gradio_api/file={place / 'forty.jpg'}",
        "gradio_api/file=/etc/hostname",
        "hypir/file/..%2f..%2fetc%2fhostname",
        "hypir/file/unknown",
    ):
        done = subprocess.run(
            ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", f"{address}{path}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout in ("403", "404"), path
