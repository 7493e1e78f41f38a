"""The pages in a real browser: images load, the divider moves, versions zoom in step, ratings are saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from hypir_cli.config.evaluate import EvaluateConfig, StudyConfig
from hypir_cli.evaluate.pairing import pair
from hypir_cli.evaluate.report import write_report, write_study
from hypir_cli.evaluate.run import Folders, evaluate
from hypir_cli.folder.pages import ComparisonRow, write_comparison_page
from tests.browser import IN_CI, MISSING, chromium, console_errors
from tests.eval_sets import NAMES, Sets, make_sets

pytestmark = [
    pytest.mark.slow,
    # In CI a missing browser is a failure of the set-up, not a reason to skip.
    pytest.mark.skipif(MISSING and not IN_CI, reason="no chromium and chromedriver here"),
]
PLACES = """return [...document.querySelectorAll('.layer img')].map(image => {
  const [picture, pane] = [image, image.closest('.pane')].map(element => element.getBoundingClientRect());
  return [picture.x - pane.x, picture.y - pane.y, picture.width].map(Math.round).join();
})"""
LOADED = "return [...document.querySelectorAll('.layer img')].every(i => i.complete && i.naturalWidth > 0)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def sets(place: Path) -> Sets:
    return make_sets(place)


@pytest.fixture(scope="module")
def driver(place: Path) -> Iterator[Chrome]:
    with chromium(place) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(sets: Sets, place: Path) -> Callable[[str], Path]:
    folders = Folders(methods={"soft": sets.soft, "near": sets.near}, gt=sets.gt, lq=sets.lq)
    found = evaluate(folders, EvaluateConfig(metrics=("psnr", "ssim")))

    def write(images: str) -> Path:
        path = place / f"report-{images}.html"
        write_report(path, found, images=images)  # type: ignore[arg-type]
        return path

    return write


def open_page(driver: Chrome, path: Path) -> None:
    driver.get(path.resolve().as_uri())
    wait(lambda: driver.execute_script(LOADED))


def wait(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def part(driver: Chrome, name: str) -> WebElement:
    return driver.find_element(By.CSS_SELECTOR, f"[data-part={name}]")


@pytest.mark.parametrize("images", ["embed", "beside"])
def test_images_of_a_report_load_and_the_console_stays_empty(driver, report, images):
    open_page(driver, report(images))
    assert len(driver.find_elements(By.CSS_SELECTOR, ".layer img")) == 2
    for _ in NAMES[1:]:
        part(driver, "next").click()
        wait(lambda: driver.execute_script(LOADED))
    assert not part(driver, "next").is_enabled()
    assert console_errors(driver) == []


def test_the_divider_moves_by_pointer_and_by_keys(driver, report):
    open_page(driver, report("embed"))
    handle = driver.find_element(By.CSS_SELECTOR, "[role=slider]")
    upper = driver.find_elements(By.CSS_SELECTOR, ".layer")[1]
    width = part(driver, "stage").size["width"]
    ActionChains(driver).drag_and_drop_by_offset(handle, width // 4, 0).perform()
    assert abs(int(handle.get_attribute("aria-valuenow")) - 75) <= 1
    assert "75" in upper.value_of_css_property("clip-path") or "74." in upper.value_of_css_property(
        "clip-path"
    )
    handle.send_keys(Keys.HOME)
    assert handle.get_attribute("aria-valuenow") == "0"
    handle.send_keys(Keys.ARROW_RIGHT)
    assert handle.get_attribute("aria-valuenow") == "2"
    assert console_errors(driver) == []


def test_versions_zoom_and_move_in_step(driver, report):
    open_page(driver, report("embed"))
    driver.find_element(By.CSS_SELECTOR, "[data-mode=side]").click()
    wait(lambda: driver.execute_script(LOADED))
    assert len(driver.find_elements(By.CSS_SELECTOR, ".pane")) == 4
    before = driver.execute_script(PLACES)
    driver.find_element(By.CSS_SELECTOR, "[data-zoom=in]").click()
    zoomed = driver.execute_script(PLACES)
    pane = driver.find_elements(By.CSS_SELECTOR, ".pane")[1]
    ActionChains(driver).drag_and_drop_by_offset(pane, 40, 20).perform()
    moved = driver.execute_script(PLACES)
    assert all(len(set(step)) == 1 for step in (before, zoomed, moved))
    assert len({before[0], zoomed[0], moved[0]}) == 3
    assert part(driver, "left").get_attribute("disabled")


def test_a_dot_of_a_plot_shows_its_image_with_its_figures(driver, report):
    open_page(driver, report("embed"))
    dot = driver.find_element(By.CSS_SELECTOR, 'circle[data-image="sub/spoon"]')
    driver.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", dot
    )
    chosen = driver.execute_script(
        "return document.querySelector('[data-part=image]').selectedOptions[0].text"
    )
    assert chosen == "sub/spoon"
    rows = part(driver, "figures").find_elements(By.TAG_NAME, "tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == ["Input", "soft", "near"]
    assert all(float(row.find_element(By.TAG_NAME, "td").text) > 10 for row in rows)


def test_images_are_searched_and_sorted_by_the_worst(driver, report):
    open_page(driver, report("embed"))
    names = "return [...document.querySelector('[data-part=image]').options].map(o => o.text)"
    assert driver.execute_script(names) == list(NAMES)
    part(driver, "search").send_keys("SPO")
    assert driver.execute_script(names) == ["sub/spoon"]
    assert part(driver, "count").text == "1 of 3 images"
    assert not part(driver, "next").is_enabled()
    part(driver, "search").send_keys("xyz")
    assert driver.execute_script(names) == []
    part(driver, "search").clear()
    driver.execute_script(
        "const s = document.querySelector('[data-part=order]'); s.value = 0; s.dispatchEvent(new Event('change'))"
    )
    figures = []
    for _ in NAMES:
        row = part(driver, "figures").find_elements(By.TAG_NAME, "tr")[1]
        figures.append(float(row.find_element(By.TAG_NAME, "td").text))
        if part(driver, "next").is_enabled():
            part(driver, "next").click()
    assert figures == sorted(figures)
    assert console_errors(driver) == []


def test_a_report_asks_for_nothing_from_a_network(driver, report):
    text = report("embed").read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    open_page(driver, report("embed"))
    names = driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in names if not name.startswith(("data:", "file:"))] == []


def test_a_comparison_page_shows_results_where_they_are(driver, sets, place):
    rows = [
        ComparisonRow(name=name, before=sets.lq / f"{name}.jpg", after=(sets.near / f"{name}.png",))
        for name in NAMES
    ]
    path = place / "compare.html"
    write_comparison_page(path, rows)
    open_page(driver, path)
    labels = [tag.text for tag in driver.find_elements(By.CSS_SELECTOR, ".tag")]
    assert labels == ["Input", "Restored"]
    handle = driver.find_element(By.CSS_SELECTOR, "[role=slider]")
    handle.send_keys(Keys.END)
    assert handle.get_attribute("aria-valuenow") == "100"
    assert not (place / "compare_files").exists()
    assert console_errors(driver) == []


def test_a_rater_rates_pairs_and_saves_them(driver, sets, place):
    pairing = pair({"soft": sets.soft, "near": sets.near}, gt=sets.gt)
    page = write_study(place / "study", pairing, StudyConfig(max_pairs=2))
    open_page(driver, page)
    part(driver, "rater").send_keys("Ada")
    assert not part(driver, "forward").is_enabled()
    rate(driver, "a", 7)
    rate(driver, "b", 3)
    part(driver, "forward").click()
    rate(driver, "a", 0)
    rate(driver, "b", 10)
    part(driver, "save").click()
    saved = place / "ratings-Ada.json"
    # Chromium reserves the name with an empty file and puts the whole one in its place.
    wait(lambda: saved.exists() and saved.stat().st_size)
    sheet = json.loads(saved.read_text())
    key = json.loads((place / "study" / "key.json").read_text())
    assert (sheet["format"], sheet["study"], sheet["rater"]) == (
        "hypir-ratings/1",
        key["study"],
        "Ada",
    )
    assert [(entry["a"], entry["b"]) for entry in sheet["ratings"]] == [(7, 3), (0, 10)]
    assert [entry["pair"] for entry in sheet["ratings"]] == [item["id"] for item in key["pairs"]]
    driver.refresh()
    wait(lambda: part(driver, "count").text == "Pair 1 of 2, 2 rated")
    assert console_errors(driver) == []


def rate(driver: Chrome, side: str, value: int) -> None:
    choice = driver.find_element(By.CSS_SELECTOR, f"input[name={side}][value='{value}']")
    driver.execute_script("arguments[0].click()", choice)
