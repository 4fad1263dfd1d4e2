"""The report: files, bytes, and that nothing a result holds becomes part of the page."""

from __future__ import annotations

import base64
import copy
import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.evaluation_results import example_images, results, row, write_results
from monai_cdiff.data import prepare_sample_data
from monai_cdiff.evaluation import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,800"),
)
HOSTILE = "</td></table></title><script>alert('x')</script> a|b, \"c\"\r\nd & {{tables}} <img src=x onerror=alert(1)>"
EMPTY = {"area", "br", "img", "link", "meta"}


class Checker(HTMLParser):
    """Tags that were opened and are not closed; those that were met; the sources of images."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: set[str] = set()
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.met.add(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(page: Path) -> Checker:
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    assert not checker.open and not checker.met & {"script", "iframe", "object", "form"}
    return checker


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_what_is_written(tmp_path: Path) -> None:
    rows = [row(m, f"factor {f}", psnr=20.0 + f, lpips=0.1) for f in (2, 4) for m in ("noisy", "mean")]
    content = results(rows, examples=[example_images(tmp_path), example_images(tmp_path, mask=True)])
    names = ["tables.md", "tables.csv", "figures/curve_01.png", "figures/example_01.png", "figures/example_02.png"]
    written = write_report(write_results(tmp_path, content))
    assert written == [tmp_path / name for name in [*names, "report.html"]]
    images = [base64.b64decode(source.partition("data:image/png;base64,")[2]) for source in checked(written[-1]).images]
    assert images == [path.read_bytes() for path in written[2:5]]
    text = written[-1].read_text(encoding="utf-8")
    for said in (
        "Research software, not a medical device",
        "<td>8 images of 4 subjects</td>",
        "noise.std",
        "few images",
        "Hung et al. 2023",
        "python -m monai_cdiff evaluate --seed 0",
        "<td>2.11</td>",
        "(reference)",
    ):
        assert said in text
    assert "{{" not in text
    # the next report has fewer figures; what is not ours stays
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    content["examples"].pop()
    write_report(write_results(tmp_path, content))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        *("curve_01.png", "example_01.png", "mine.png")
    ]


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    content = results()
    for name in ("one", "two", "later"):
        content["examples"] = [example_images(tmp_path / name)]
        write_report(write_results(tmp_path / name, content))
        if name == "two":
            content["date"] = "2027-12-13T14:15:16+00:00"
    one, two, later = (contents(tmp_path / name) for name in ("one", "two", "later"))
    assert one == two
    changed = {name for name in one if one[name] != later[name]}
    assert changed == {"results.json", "report.html"}
    lines = zip(one["report.html"].splitlines(), later["report.html"].splitlines(), strict=True)
    [(old, new)] = [(a, b) for a, b in lines if a != b]
    assert b"Date: 2026-01-02" in old and b"Date: 2027-12-13" in new


def test_nothing_is_loaded_or_run(tmp_path: Path) -> None:
    page = write_report(write_results(tmp_path, results(examples=[example_images(tmp_path)])))[-1]
    text = re.sub(r"base64,[\w+/=]+", "", page.read_text(encoding="utf-8"))
    loads = r"https?:|//\w+\.\w|<link(?! rel=\"icon\" href=\"data:,\")|@import|url\(|src=\"(?!data:)"
    assert not re.findall(loads, text)
    assert "default-src 'none'" in text and "script-src" not in text


def _spoil(value: Any) -> Any:
    """The hostile text in place of every text that is shown and decides nothing."""
    if isinstance(value, dict):
        kept = ("name", "task", "method", "better", "restored", "original", "condition")
        return {key: entry if key in kept else _spoil(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_spoil(entry) for entry in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_words_are_words(tmp_path: Path) -> None:
    content = results(examples=[example_images(tmp_path)])
    spoiled = _spoil(content)
    spoiled |= {"task": "denoise", "reference": "mean", "bundle": {"name": HOSTILE, "version": HOSTILE}}
    spoiled["environment"] |= {HOSTILE: HOSTILE}
    spoiled["methods"][0]["settings"] = {HOSTILE: {HOSTILE: HOSTILE}}
    spoiled["examples"][0]["name"] = HOSTILE
    page = write_report(write_results(tmp_path, spoiled))[-1]
    assert checked(page).met.isdisjoint({"script"}) and len(checked(page).images) == 1
    assert page.read_text(encoding="utf-8").count("alert(&#x27;x&#x27;)") > 20
    with open(tmp_path / "tables.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 5 and {len(line) for line in lines} == {len(lines[0])}
    assert lines[2][3] == " ".join(HOSTILE.split())


@pytest.mark.parametrize(
    "rows",
    [
        [row("mean", psnr=30.0, lpips=0.1)],
        [row(m, psnr=None, psnr_reason="a", lpips=None, lpips_reason="b") for m in ("original", "noisy", "mean")],
        [row("noisy", psnr=1e300, lpips=-1e-300), row("mean", psnr=-(10.0**18), lpips=float("inf"))],
        [row("original", psnr=1.0, lpips=0.0)],
    ],
    ids=["one row", "nothing measured", "huge", "the original alone"],
)
def test_odd_results_are_reported(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    written = write_report(write_results(tmp_path, results(copy.deepcopy(rows))))
    assert [path.name for path in written] == ["tables.md", "tables.csv", "report.html"], "no examples, no figures"
    checked(written[-1])
    assert "<b>" not in written[-1].read_text(encoding="utf-8") or len(rows) == 2
    with open(tmp_path / "tables.csv", encoding="utf-8", newline="") as file:
        for line, stored in zip(csv.DictReader(file), rows, strict=True):
            assert line["psnr"] == "" if stored["psnr"] is None else float(line["psnr"]) == stored["psnr"]


def test_nothing_is_written_of_what_is_not_whole(tmp_path: Path) -> None:
    content = results(examples=[example_images(tmp_path)])
    del content["rows"][2]["psnr"]
    before = contents(write_results(tmp_path, content))
    with pytest.raises(ValueError, match=r"rows\[2\] has no 'psnr'"):
        write_report(tmp_path)
    content["rows"][2]["psnr"] = 1.0
    (tmp_path / "images" / "mean.npy").unlink()
    write_results(tmp_path, content)
    with pytest.raises(FileNotFoundError, match="mean.npy"):
        write_report(tmp_path)
    assert len(contents(tmp_path)) == len(before) - 1


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_results(tmp_path, results(examples=[example_images(tmp_path)]))
    with pytest.raises(ModuleNotFoundError, match=r'pip install "monai_cdiff\[evaluation\]"'):
        write_report(tmp_path)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def _real_results(folder: Path) -> dict[str, Any]:
    """Slices of the sample brain, made coarse, and enlarged by repetition and by MONAI's bilinear interpolation."""
    import torch
    from monai.transforms import LoadImage, Resize

    source = prepare_sample_data(folder / "sample", as_slices=True)
    name = json.loads(source.read_text())["test"][9]["image"]
    original = torch.as_tensor(LoadImage(image_only=True, ensure_channel_first=True)(source.parent / name)) / 255
    rows, entry = [], {}
    (folder / "images").mkdir(parents=True)
    for factor in (2, 4):
        low = Resize([size // factor for size in original.shape[1:]], mode="area")(original)
        images = {"original": original, "condition": low}
        for method, mode in (("noisy", "nearest"), ("mean", "bilinear")):
            images[method] = Resize(original.shape[1:], mode=mode)(low)
            psnr = -10 * np.log10(float(((images[method] - original) ** 2).mean()))
            rows.append(row(method, f"factor {factor}", "sr", psnr=psnr, lpips=None, lpips_reason="no weights"))
        for key, image in images.items():
            np.save(folder / "images" / f"{key}{factor}.npy", np.asarray(image[0], np.float32))
        paths = {key: f"images/{key}{factor}.npy" for key in images}
        restored = {method: paths.pop(method) for method in ("noisy", "mean")}
        entry = {"setting": f"factor {factor}", "name": "MNI152", **paths, "restored": restored}
    return results(rows, task="sr", examples=[entry])


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver, packages of Debian")
def test_the_page_in_a_browser(browser: Any, tmp_path: Path) -> None:
    content = _real_results(tmp_path / "out")
    content["methods"][3]["title"] = "<b>ours</b> & more"
    page = write_report(write_results(tmp_path / "out", content))[-1]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri())
    assert browser.title == "Evaluation: Denoising"
    images = browser.find_elements("tag name", "img")
    assert len(images) == 2 and all(int(image.get_property("naturalWidth")) > 500 for image in images)
    assert all(image.get_attribute("alt") for image in images)
    rows = [line.text for line in browser.find_elements("css selector", "tbody tr")]
    assert any(line.startswith("<b>ours</b> & more") for line in rows)
    entries = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("data:") for name in entries), entries
    for width, scheme in ((1280, "light"), (360, "dark")):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 23, 24)"}[scheme]
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, "tables scroll by themselves"
    loud = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not loud, loud
