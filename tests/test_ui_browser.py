"""The page in a real browser: drop, try a place, restore, download; folders, cancelling, reload, and no request to elsewhere."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import IN_CI, MISSING, chromium, requested

pytestmark = [
    pytest.mark.slow,
    # In CI a missing browser is a failure of the set-up, not a reason to skip.
    pytest.mark.skipif(MISSING and not IN_CI, reason="no chromium and chromedriver here"),
]
ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "photos" / "coffee.jpg"
SECONDS = 120.0
NO_NETWORK = """
import sys

def refuse(event, arguments):
    if event == "socket.connect":
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{host}}\\n")
        raise OSError("this test has no network")

sys.addaudithook(refuse)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "named"
    folder.mkdir()
    (folder.parent / "secret.png").write_bytes(PHOTO.read_bytes())
    return folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """A real server, as a user starts it, on a machine whose network cable is out."""
    log = place.parent / "asked-the-network.txt"
    (place.parent / "sitecustomize.py").write_text(NO_NETWORK.format(log=str(log)))
    command = [sys.executable, "-m", "hypir_cli", "ui", str(place), "--port", "0", "--no-open"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(place.parent), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
    }
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
    assert not log.exists(), log.read_text()


@pytest.fixture(scope="module")
def browser(place: Path) -> Iterator[Chrome]:
    with chromium(place.parent, requests=True) as found:
        yield found


@pytest.fixture
def driver(browser: Chrome, address: str) -> Iterator[Chrome]:
    """The page, opened; afterwards its console must be empty and every request have gone to it."""
    browser.get(address)
    try:
        _await("the page", lambda: _text(browser, "#hypir-status p") != "None")
    except AssertionError:
        pytest.fail(f"no page: {_text(browser, 'body')!r}, {browser.get_log('browser')}")
    yield browser
    assert _complaints(browser) == []
    remote = [name for name in requested(browser) if urlsplit(name).scheme.startswith("http")]
    assert {urlsplit(name).netloc for name in remote} == {urlsplit(address).netloc}


def _complaints(driver: Chrome) -> list[str]:
    """Errors in the console, but those of requests that a reload cut off."""
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    return [message for message in severe if "AbortError" not in message]


def _await(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something holds; parts of the page that go while they are looked at count as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except WebDriverException:
            pass
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.1)


def _find(driver: Chrome, css: str) -> WebElement:
    _await(css, lambda: driver.find_elements(By.CSS_SELECTOR, css))
    return driver.find_element(By.CSS_SELECTOR, css)


def _text(driver: Chrome, css: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0])?.innerText", css))


def _await_text(driver: Chrome, css: str, text: str, seconds: float = SECONDS) -> None:
    _await(f"{text!r} in {css}", lambda: text in _text(driver, css), seconds)


def _await_command(driver: Chrome, text: str) -> None:
    script = "return document.querySelector('#hypir-command textarea')?.value"
    _await(f"{text!r} in the command", lambda: text in str(driver.execute_script(script)))


def _tab(driver: Chrome, name: str) -> None:
    """Choose a tab; a click that comes before the page listens is lost, so it is repeated."""
    path = f"//button[@role='tab'][normalize-space()='{name}']"

    def chosen() -> bool:
        for button in driver.find_elements(By.XPATH, path):
            if button.get_attribute("aria-selected") == "true":
                return True
            driver.execute_script("arguments[0].click()", button)
        return False

    _await(f"the tab {name}", chosen)


def _type(driver: Chrome, css: str, text: str) -> None:
    """Type into a field until it holds the text: what is typed before the page listens is put back."""
    css = f"{css} textarea, {css} input"

    def typed() -> bool:
        field = driver.find_element(By.CSS_SELECTOR, css)
        if field.get_attribute("value") != text:
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(text, Keys.TAB)
        return field.get_attribute("value") == text

    _await(f"{text!r} in {css}", typed)


def _click(driver: Chrome, css: str) -> None:
    driver.execute_script("arguments[0].click()", _find(driver, css))


def _show_folder(driver: Chrome, source: str, target: str) -> None:
    _tab(driver, "Folder")
    _type(driver, "#hypir-source", source)
    _type(driver, "#hypir-target", target)
    _await_command(driver, f"{source} ")
    _await_command(driver, f"{target}/")


def _has_picture(driver: Chrome, name: str) -> bool:
    """Whether the photograph is there to be clicked on, its pixels too."""
    script = "return [...document.querySelectorAll('#hypir-picture img')].some(i => i.complete && i.width > 50)"
    return name in _text(driver, "#hypir-picture") and bool(driver.execute_script(script))


def _open(driver: Chrome, path: str) -> None:
    _tab(driver, "One photograph")
    _type(driver, "#hypir-path", path)
    _click(driver, "#hypir-open")
    _await("the picture", lambda: _has_picture(driver, Path(path).name))


def _restore(driver: Chrome, name: str, seconds: float = SECONDS) -> None:
    """Restore the photograph, and wait for a new result."""
    before = _frame_address(driver)
    _click(driver, "#hypir-restore")
    _await_text(driver, "#hypir-status", f"Restoring {name}: done", seconds)
    _await("the result", lambda: _frame_address(driver) not in (None, before))


def _frame_address(driver: Chrome) -> str | None:
    script = "return document.querySelector('#hypir-viewer')?.src ?? null"
    address: str | None = driver.execute_script(script)
    return address


def _in_frame(driver: Chrome, script: str) -> object:
    """What a script says inside the viewer, whose document it calls `page`."""
    inside = f"const page = document.querySelector('#hypir-viewer').contentDocument; {script}"
    return driver.execute_script(inside)


def _try_place(driver: Chrome, name: str) -> None:
    """Click the picture until a place is tried: one click may come before the page listens."""
    picture = driver.find_element(By.CSS_SELECTOR, "#hypir-picture img")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)

    def begun() -> bool:
        if "Trying a place" in _text(driver, "#hypir-status"):
            return True
        ActionChains(driver).move_to_element(picture).click().perform()
        time.sleep(2.0)
        return False

    _await("a trial", begun)
    _await_text(driver, "#hypir-status", f"Trying a place of {name}: done")
    _await("its result", lambda: _frame_address(driver))


def _photos(folder: Path, *, count: int, side: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder


def _fetch(driver: Chrome) -> tuple[bytes, str]:
    """The first download: its bytes, and how the server calls them."""
    with urlopen(str(_find(driver, ".hypir-download").get_attribute("href"))) as answer:
        return answer.read(), answer.headers["content-disposition"]


def test_drop_try_restore_compare_and_download(driver: Chrome, tmp_path: Path) -> None:
    _tab(driver, "One photograph")
    _find(driver, "#hypir-drop input[type=file]").send_keys(str(PHOTO))
    _await("the picture", lambda: _has_picture(driver, "coffee.jpg"))
    _await_command(driver, "hypir restore coffee.jpg restored/")
    _try_place(driver, "coffee.jpg")
    _restore(driver, "coffee.jpg")
    page_bytes, name = _fetch(driver)
    assert "coffee.jpg" in name
    command = [sys.executable, "-m", "hypir_cli", "restore", str(PHOTO), f"{tmp_path}/out/"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert page_bytes == (tmp_path / "out" / "coffee.jpg").read_bytes()

    driver.switch_to.frame(_find(driver, "#hypir-viewer"))
    handle = _find(driver, "[role=slider]")
    ActionChains(driver).drag_and_drop_by_offset(handle, 80, 0).perform()
    assert int(str(handle.get_attribute("aria-valuenow"))) > 55
    _click(driver, "[data-zoom=in]")
    assert _text(driver, "[data-zoom=readout]") == "2.0×"
    driver.switch_to.default_content()
    # The space bar flips before and after, also from the page around the viewer.
    _find(driver, "h1").click()
    ActionChains(driver).send_keys(" ").perform()
    assert _in_frame(driver, "return page.querySelector('.handle').ariaValueNow") in ("0", "100")


def test_a_pasted_photograph_is_taken(driver: Chrome) -> None:
    _tab(driver, "One photograph")
    _find(driver, "#hypir-drop input[type=file]")
    paste = """
      const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
      const held = new DataTransfer();
      held.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
    """
    driver.execute_script(paste, base64.b64encode(PHOTO.read_bytes()).decode())
    _await("the picture", lambda: _has_picture(driver, "pasted.jpg"))


def test_presets_move_the_controls_and_samples_lie_side_by_side(
    driver: Chrome, place: Path
) -> None:
    (place / "small.jpg").write_bytes(PHOTO.read_bytes())
    _open(driver, "small.jpg")
    _type(driver, "#hypir-samples", "2")
    _type(driver, "#hypir-generativity", "0.2")
    _type(driver, "#hypir-strength", "0.8")
    _await_command(driver, "--strength 0.8")
    _await_command(driver, "--generativity 0.2 --samples 2")
    _restore(driver, "small.jpg")
    _await(
        "three panes",
        lambda: _in_frame(driver, "return page.querySelectorAll('.pane').length") == 3,
    )
    assert len(driver.find_elements(By.CSS_SELECTOR, ".hypir-download")) == 2
    field = _find(driver, "#hypir-preset input")
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("enlarge-x2")
    _await("the choice", lambda: len(driver.find_elements(By.CSS_SELECTOR, "[role=option]")) == 1)
    field.send_keys(Keys.ENTER)
    _await_command(driver, "--preset enlarge-x2")
    scale = "return document.querySelector('#hypir-scale input').value"
    _await("the preset's scale", lambda: driver.execute_script(scale) == "2")
    # Back to where the next test expects the controls.
    driver.execute_script("localStorage.clear()")


def test_a_reload_and_a_second_tab_find_the_work_again(
    driver: Chrome, address: str, place: Path
) -> None:
    (place / "again.jpg").write_bytes(PHOTO.read_bytes())
    _open(driver, "again.jpg")
    _restore(driver, "again.jpg")
    _type(driver, "#hypir-prompt", "a cup")
    _await_command(driver, "--prompt 'a cup'")
    _show_folder(driver, "in", "out")
    driver.refresh()
    _await_text(driver, "#hypir-status", "Restoring again.jpg: done")
    _find(driver, ".hypir-download")
    _await_command(driver, "--prompt 'a cup'")
    _await_command(driver, f"{place / 'in'} {place / 'out'}/")
    chosen = "return document.querySelector('[role=tab][aria-selected=true]').innerText"
    _await("the tab in front", lambda: driver.execute_script(chosen) == "Folder")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(address)
    _await_text(driver, "#hypir-status", "Restoring again.jpg: done")
    driver.close()
    driver.switch_to.window(first)
    _type(driver, "#hypir-prompt", " ")


def test_a_folder_of_twenty_with_one_broken_file_and_its_history(
    driver: Chrome, place: Path
) -> None:
    source = _photos(place / "twenty", count=20, side=40)
    (source / "07.png").write_bytes(b"no picture")
    _show_folder(driver, "twenty", "restored")
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", "twenty: done")
    _await_text(driver, "#hypir-status", "20 of 20 images: 19 done, 1 failed")
    assert "07.png" in _text(driver, "#hypir-status")
    assert len(list((place / "restored").glob("*.png"))) == 19
    _tab(driver, "History")
    _click(driver, "#hypir-find-runs")
    _await_text(driver, "#hypir-runs", "19 done, 1 failed")
    _click(driver, "#hypir-runs input[type=radio]")
    title = "return document.querySelector('#hypir-viewer')?.title"
    _await("the run's page", lambda: "hypir-report" in str(driver.execute_script(title)))
    image = "return page.querySelector('[data-part=image]').value"
    _await("its first image", lambda: _in_frame(driver, image) == "0")
    _find(driver, "h1").click()
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert _in_frame(driver, image) == "1"


def test_cancelling_keeps_what_is_done_the_queue_goes_on_and_a_second_run_resumes(
    driver: Chrome, place: Path
) -> None:
    _photos(place / "large", count=6, side=1100)
    _photos(place / "next", count=1, side=40)
    target = place / "large-restored"
    _show_folder(driver, "large", "large-restored")
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", f"Restoring {place / 'large'}")
    _show_folder(driver, "next", "next-restored")
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", f"then: Restoring {place / 'next'}")
    _await("a first result", lambda: len(list(target.glob("[0-9]*.png"))) >= 1)
    _click(driver, "#hypir-cancel-all")
    _await_text(driver, "#hypir-status", f"Restoring {place / 'next'}: done")
    assert (place / "next-restored" / "00.png").is_file()
    finished = {path.name: path.read_bytes() for path in target.glob("[0-9]*.png")}
    assert 1 <= len(finished) < 6
    for path in target.glob("[0-9]*.png"):
        with Image.open(path) as result:
            result.load()
    _show_folder(driver, "large", "large-restored")
    _click(driver, "#hypir-restore-all")
    _await_text(driver, "#hypir-status", f"{len(finished)} skipped")
    _await_text(driver, "#hypir-status", f"Restoring {place / 'large'}: done")
    assert "6 of 6 images" in _text(driver, "#hypir-status")
    assert {name: (target / name).read_bytes() for name in finished} == finished


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing-here.jpg", "does not exist"),
        ("../secret.png", "outside the folders"),
        ("/etc/hostname", "outside the folders"),
        ("linked.png", "outside the folders"),
    ],
)
def test_a_wrong_path_is_named_and_one_outside_is_refused(
    driver: Chrome, place: Path, text: str, said: str
) -> None:
    if not (place / "linked.png").is_symlink():
        (place / "linked.png").symlink_to(place.parent / "secret.png")
    _tab(driver, "One photograph")
    _type(driver, "#hypir-path", text)
    _click(driver, "#hypir-open")
    _await_text(driver, "#hypir-problem", said)


def test_forty_megapixels_are_shown_tried_and_restored(driver: Chrome, place: Path) -> None:
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (200, 270, 3), dtype=np.uint8))
    small.resize((7300, 5500), Image.Resampling.BILINEAR).save(place / "forty.jpg", quality=80)
    _open(driver, "forty.jpg")
    assert "7300 × 5500" in _text(driver, "#hypir-picture")
    _try_place(driver, "forty.jpg")
    _restore(driver, "forty.jpg", seconds=600)
    (place / "got.jpg").write_bytes(_fetch(driver)[0])
    with Image.open(place / "got.jpg") as result:
        assert result.size == (7300, 5500)


def test_the_server_answers_only_its_own_address_and_hands_out_only_its_own_files(
    address: str, place: Path
) -> None:
    secret, link = place.parent / "secret.png", place / "to-secret.png"
    link.symlink_to(secret)
    for path in (
        *(f"gradio_api/file={quote(str(file))}" for file in (secret, link, "/etc/hostname")),
        "gradio_api/file=../secret.png",
        "gradio_api/file=http://example.org/",
        "gradio_api/proxy=http://example.org/",
        "hypir/file/..%2f..%2fetc%2fhostname",
        "hypir/file/unknown",
    ):
        assert _status(f"{address}{path}") in (403, 404), path
    assert _status(address) == 200
    for name, value in (("Host", "evil.example"), ("Origin", "http://evil.example")):
        assert _status(address, {name: value}) == 403
    desk = {"desk": "x"}
    assert _order(address, "_take_dropped", [desk, None])
    for path in (str(secret), str(place / "none.png"), "http://example.org/a.png"):
        assert not _order(address, "_take_dropped", [desk, _dropped(path)])
        assert not _order(address, "_take_dropped", [{**desk, "more": _dropped(path)}, None])


def _status(address: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> int:
    try:
        with urlopen(Request(address, headers=headers or {}, data=body)) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def _dropped(path: str) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _order(address: str, name: str, data: list[object]) -> bool:
    """Whether the page takes a request made by hand."""
    with urlopen(f"{address}config") as answer:
        parts = json.load(answer)["dependencies"]
    number = next(part["id"] for part in parts if part["api_name"] == name)
    order = json.dumps({"data": data, "fn_index": number, "session_hash": "s"}).encode()
    headers = {"Content-Type": "application/json"}
    return _status(f"{address}gradio_api/run/predict", headers, order) == 200


def test_a_dark_system_gets_a_dark_page_and_viewer(driver: Chrome, address: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        driver.get(address)
        brightness = """
          return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)
        """
        _await("a dark page", lambda: max(driver.execute_script(brightness)) < 60)
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
