"""A reader study read to its end in Chromium: by mouse and by keys, with an interruption, and scored."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.study_images import write_folders
from monai_cdiff.cli import main

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,800"),
)
PAIRS = 6
SETTLED = 0.4  # seconds; answers that come sooner after a pair is shown are not taken

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver, packages of Debian"),
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    real, generated = write_folders(tmp_path, PAIRS)
    page = tmp_path / "study.html"
    assert main(["study", "make", str(real), str(generated), str(page), "--seed", "1", "--title", "A <b> & c"]) == 0
    return page, json.loads((tmp_path / "study.key.json").read_text())


def find(browser: Any, name: str) -> Any:
    return browser.find_element("id", name)


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return value


def begin(browser: Any, name: str) -> None:
    field = find(browser, "reader")
    field.clear()
    field.send_keys(name, "\n")
    assert find(browser, "question").is_displayed()


def wait_for_pair(browser: Any, number: int) -> None:
    until(lambda: find(browser, "place").text == f"Pair {number} of {PAIRS}")
    until(lambda: find(browser, "left").find_element("tag name", "img").is_displayed())
    time.sleep(SETTLED)


def press(browser: Any, key: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


def downloaded(folder: Path, name: str) -> dict[str, Any]:
    file = folder / "downloads" / name
    until(file.is_file)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def test_a_reader_answers_is_interrupted_and_is_scored(
    study: tuple[Path, dict[str, Any]], browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selenium.webdriver import Keys

    page, key = study
    browser.get(page.as_uri())
    assert browser.title == "A <b> & c" == find(browser, "name-of-study").text
    assert "Research only" in find(browser, "start").text and find(browser, "count").text == str(PAIRS)
    assert browser.switch_to.active_element == find(browser, "reader")
    label = browser.find_element("css selector", "label[for=reader]")
    assert label.text == find(browser, "reader").accessible_name == "Your name or code"
    find(browser, "go").click()
    assert not find(browser, "left").is_displayed(), "a name is asked for"

    begin(browser, "Dr. Ä  B")
    assert browser.switch_to.active_element == find(browser, "question")
    wait_for_pair(browser, 1)
    boxes = [find(browser, side).find_element("tag name", "img").rect for side in ("left", "right")]
    assert boxes[0]["width"] == boxes[1]["width"] > 200 and boxes[0]["height"] == boxes[1]["height"]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert boxes[0]["y"] + boxes[0]["height"] < browser.execute_script("return innerHeight")
    find(browser, "left").click()
    find(browser, "left").click()  # too soon after the pair is shown
    wait_for_pair(browser, 2)
    press(browser, Keys.ARROW_RIGHT)
    wait_for_pair(browser, 3)

    browser.refresh()
    assert find(browser, "reader").get_property("value") == "Dr. Ä B"
    assert find(browser, "note").text == f"2 of {PAIRS} pairs are answered under this name."
    assert find(browser, "go").text == "Continue"
    find(browser, "go").click()
    wait_for_pair(browser, 3)
    press(browser, "1")
    wait_for_pair(browser, 4)
    find(browser, "stop").click()
    find(browser, "back").click()
    wait_for_pair(browser, 4)
    find(browser, "right").send_keys(Keys.ENTER)
    wait_for_pair(browser, 5)
    press(browser, "2")
    wait_for_pair(browser, 6)
    find(browser, "right").click()

    answers = downloaded(tmp_path, "Dr_Ä_B.json")
    chosen = ["left", "right", "left", "right", "right", "right"]
    assert [answer["chosen"] for answer in answers["answers"]] == chosen
    assert [answer["pair"] for answer in answers["answers"]] == list(range(1, PAIRS + 1))
    assert all(250 <= answer["ms"] < 60_000 for answer in answers["answers"])
    assert "Thank you" in find(browser, "thanks").text and "Dr_Ä_B.json" in find(browser, "saved").text
    resources = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(("data:", "blob:")) for name in resources)
    loud = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not loud, loud

    fooled = sum(pair["real"] != side for pair, side in zip(key["pairs"], chosen))
    words = ["study", "score", str(tmp_path / "study.key.json"), str(tmp_path / "downloads" / "Dr_Ä_B.json")]
    capsys.readouterr()
    assert main([*words, "--json", str(tmp_path / "score.json")]) == 0
    assert f"{fooled / PAIRS:.3f}" in capsys.readouterr().out
    [score] = json.loads((tmp_path / "score.json").read_text())["readers"]
    assert (score["reader"], score["answered"], score["fool_rate"]) == ("Dr. Ä B", PAIRS, fooled / PAIRS)


def test_a_second_reader_and_one_who_stops(study: tuple[Path, dict[str, Any]], browser: Any, tmp_path: Path) -> None:
    page, _ = study
    browser.get(page.as_uri())
    begin(browser, "one")
    wait_for_pair(browser, 1)
    find(browser, "left").click()
    wait_for_pair(browser, 2)
    find(browser, "stop").click()
    find(browser, "save").click()
    assert len(downloaded(tmp_path, "one.json")["answers"]) == 1
    find(browser, "another").click()
    assert find(browser, "reader").get_property("value") == ""
    begin(browser, "two")
    wait_for_pair(browser, 1)
    score = ["study", "score", str(tmp_path / "study.key.json"), str(tmp_path / "downloads" / "one.json")]
    assert main(score) == 2 and main([*score, "--partial"]) == 0


def test_the_page_works_where_nothing_is_kept(study: tuple[Path, dict[str, Any]], browser: Any) -> None:
    page, _ = study
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('switched off'); }});"
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": refuse})
    browser.get(page.as_uri())
    assert "keeps nothing" in find(browser, "start").text
    begin(browser, "one")
    wait_for_pair(browser, 1)
    find(browser, "right").click()
    wait_for_pair(browser, 2)
