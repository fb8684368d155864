"""The report in Chromium: at the width of a phone and of a desk it fits, can be read, and asks nobody for anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from gearshift.__main__ import main
from tests.browser.prepare import BUILD, environment

pytestmark = pytest.mark.browser

PHONE, DESK = 360, 1280
LEAST_TEXT_PX = 8.0
"""Font size in the pictures as it comes out on the screen."""

WIDEST_OF_TEXTS = """
return [...document.querySelectorAll('h1,h2,p,li,summary,figure,.scroll')]
  .map(e => [e.tagName, e.getBoundingClientRect().right, (e.textContent || '').slice(0, 30)])
  .filter(([, right]) => right > innerWidth + 1)
"""
SMALLEST_TEXTS = """
return [...document.querySelectorAll('svg')].flatMap(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width
  return [...svg.querySelectorAll('text')].map(t => [parseFloat(getComputedStyle(t).fontSize) * scale, t.textContent])
})
"""
OUTSIDE = """
return [...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect()
  return [...svg.querySelectorAll('text,circle,path')].map(e => [e.getBoundingClientRect(), e.textContent])
    .filter(([r]) => r.left < frame.left - 1 || r.right > frame.right + 1 || r.top < frame.top - 1
            || r.bottom > frame.bottom + 1)
    .map(([, text]) => text)
})
"""


@pytest.fixture(scope="module")
def report(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of the tiny bundle, with all that a page can hold."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    wanted = ("--budget", "3", "--lengths", "4,16,32", "--threads", "1", "--deadline-ms", "0.4")
    arguments = ["bench", tiny_bundle, *wanted, "--compare", "boards", "--report", path, "-o", folder / "p.json"]
    assert main([str(argument) for argument in arguments]) == 0
    return path


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def page(request: pytest.FixtureRequest, report: Path) -> Iterator[tuple[Any, int]]:
    """The report in a browser of that width, and the width."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BUILD / "root/usr/lib/chromium/chromium")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-crash-reporter"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    metrics = {"width": request.param, "height": 800, "pixelRatio": 1.0}
    options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    driver = str(BUILD / "root/usr/bin/chromedriver")
    browser = webdriver.Chrome(options=options, service=Service(driver, env={**os.environ, **environment()}))
    try:
        browser.get(report.as_uri())
        yield browser, request.param
    finally:
        browser.quit()


def test_nothing_is_wider_than_the_screen(page: tuple[Any, int]) -> None:
    browser, width = page
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(WIDEST_OF_TEXTS) == []


def test_every_text_in_a_picture_can_be_read_and_lies_within_it(page: tuple[Any, int]) -> None:
    browser, _ = page
    sizes = browser.execute_script(SMALLEST_TEXTS)
    assert len(sizes) > 50
    assert [text for size, text in sizes if size < LEAST_TEXT_PX] == []
    assert browser.execute_script(OUTSIDE) == []


def test_the_answer_comes_first_and_estimates_are_marked(page: tuple[Any, int]) -> None:
    browser, _ = page
    titles = [element.text for element in browser.find_elements(By.TAG_NAME, "h2")]
    assert titles[0] == "What fits a deadline"
    assert {"How far to trust it", "How it was measured"} <= set(titles)
    rows = browser.find_elements(By.CSS_SELECTOR, "tr.estimated")
    assert len(rows) >= 10
    plain = browser.find_element(By.CSS_SELECTOR, "tbody td")
    marked = rows[0].find_element(By.TAG_NAME, "td")
    assert "estimated" in rows[0].text
    assert marked.value_of_css_property("color") != plain.value_of_css_property("color")


def test_tables_that_are_too_wide_scroll_by_themselves_under_a_column_that_stays(page: tuple[Any, int]) -> None:
    browser, width = page
    for box in browser.find_elements(By.CSS_SELECTOR, "section .scroll"):
        browser.execute_script("arguments[0].scrollLeft = 1e6", box)
        assert box.rect["x"] + box.rect["width"] <= width
        first = box.find_element(By.CSS_SELECTOR, "tbody td")
        assert first.rect["x"] >= box.rect["x"] - 1


def test_all_sizes_open_with_a_tap(page: tuple[Any, int]) -> None:
    browser, _ = page
    details = browser.find_element(By.TAG_NAME, "details")
    table = details.find_element(By.TAG_NAME, "table")
    assert details.get_attribute("open") is None and not table.is_displayed()
    details.find_element(By.TAG_NAME, "summary").click()
    assert table.is_displayed()
    assert len(table.find_elements(By.CSS_SELECTOR, "tbody tr")) == 12


def test_it_asks_nobody_for_anything_and_has_no_errors(page: tuple[Any, int]) -> None:
    browser, _ = page
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [
        entry["message"] for entry in browser.get_log("performance") if "Network.requestWillBeSent" in entry["message"]
    ]
    assert [message for message in sent if '"url":"file://' not in message] == []
