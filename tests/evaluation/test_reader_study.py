"""The page and its key: the same for a seed, balanced, true, and silent about what is real."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import re
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.study_images import write_folders
from monai_cdiff.evaluation import key_path, make_study

COUNT = 7


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_folders(tmp_path, COUNT)


def data_of(page: Path) -> dict[str, Any]:
    [text] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    content: dict[str, Any] = json.loads(text)
    return content


def png(uri: str) -> bytes:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(body, validate=True)


def chunks(content: bytes) -> list[tuple[bytes, int]]:
    """Kind and length of each chunk of a PNG."""
    found, place = [], 8
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        found.append((kind, length))
        place += 12 + length
    return found


def test_a_seed_gives_the_same_bytes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pages = [tmp_path / f"{name}.html" for name in ("one", "again", "other", "drawn", "redrawn")]
    moved = [shutil.copytree(folder, tmp_path / "moved" / folder.name) for folder in folders]
    make_study(*folders, pages[0], 5, seed=3)
    make_study(*moved, pages[1], 5, seed=3)
    make_study(*folders, pages[2], 5, seed=4)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert key_path(pages[0]).read_bytes() == key_path(pages[1]).read_bytes()
    assert data_of(pages[0])["study"] != data_of(pages[2])["study"]
    first = make_study(*folders, pages[3])
    assert make_study(*folders, pages[4], seed=first["seed"]) == first
    assert pages[3].read_bytes() == pages[4].read_bytes()
    assert make_study(*folders, pages[4], overwrite=True)["seed"] != first["seed"]


def test_the_key_is_true(folders: tuple[Path, Path], tmp_path: Path) -> None:
    key = make_study(*folders, tmp_path / "study.html", seed=0, title="T")
    assert json.loads((tmp_path / "study.key.json").read_text()) == key
    data = data_of(tmp_path / "study.html")
    assert data["study"] == key["study"] and [entry["pair"] for entry in key["pairs"]] == list(range(1, COUNT + 1))
    for entry, shown in zip(key["pairs"], data["pairs"], strict=True):
        assert shown["aspect"] == 60 / 48
        other = {"left": "right", "right": "left"}[entry["real"]]
        files = {entry["real"]: folders[0] / f"{entry['name']}.png", other: folders[1] / f"{entry['name']}_sr.png"}
        for side, file in files.items():
            with Image.open(io.BytesIO(png(shown[side]))) as image, Image.open(file) as stored:
                assert np.array_equal(np.asarray(image), np.asarray(stored))


def test_the_page_says_nothing_of_what_is_real(folders: tuple[Path, Path], tmp_path: Path) -> None:
    page, exchanged = tmp_path / "study.html", tmp_path / "exchanged.html"
    key = make_study(*folders, page, seed=0)
    text, data = page.read_text(), data_of(page)
    assert not any(word in text for word in ("case", "_sr", str(tmp_path), tmp_path.name, "key.json"))
    assert set(data) == {"study", "pairs"}
    assert {tuple(shown) for shown in data["pairs"]} == {("left", "right", "aspect")}
    sizes = set()
    for shown in data["pairs"]:
        left, right = png(shown["left"]), png(shown["right"])
        # smoothed images would compress to less
        assert len(left) == len(right) and chunks(left) == chunks(right) and left[:33] == right[:33]
        assert [kind for kind, _ in chunks(left)] == [b"IHDR", b"IDAT", b"IEND"]
        sizes.add(len(left))
    assert len(sizes) == 1
    # the id is that of what is shown: anyone can compute it, and learns nothing from it
    public = json.dumps(["Reader study", data["pairs"]]).encode()
    assert data["study"] == key["study"] == hashlib.blake2b(public, digest_size=12).hexdigest()
    # with real and generated exchanged, nothing changes but which pixels are where
    for file in folders[0].iterdir():
        (folders[1] / f"{file.stem}_sr.png").rename(folders[1] / file.name)
    assert make_study(folders[1], folders[0], exchanged, seed=0)["pairs"] == key["pairs"]
    skeletons = [
        re.sub(r"base64,[\w+/=]+", "", made.read_text()).replace(data_of(made)["study"], "")
        for made in (page, exchanged)
    ]
    assert skeletons[0] == skeletons[1]


def test_the_page_needs_no_network(folders: tuple[Path, Path], tmp_path: Path) -> None:
    make_study(*folders, tmp_path / "study.html", 1)
    text = (tmp_path / "study.html").read_text()
    assert not re.findall(r"https?:|//\w+\.\w|<link(?! rel=\"icon\" href=\"data:,\")|@import|url\(|fetch\(|src=", text)
    assert "default-src 'none'" in text and "Research only" in text


def test_sides_and_order_are_drawn(tmp_path: Path) -> None:
    folders = write_folders(tmp_path, 4, shape=(4, 4))
    sides, orders, draws = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
    arrangements, extra = Counter[tuple[str, ...]](), Counter[str]()
    for seed in range(40):
        key = make_study(*folders, tmp_path / "s.html", seed=seed, overwrite=True)
        assert Counter(entry["real"] for entry in key["pairs"]) == {"left": 2, "right": 2}
        sides.update((entry["name"], entry["real"]) for entry in key["pairs"])
        orders[key["pairs"][0]["name"]] += 1
        arrangements[tuple(entry["real"] for entry in key["pairs"])] += 1
        odd = make_study(*folders, tmp_path / "s.html", 3, seed=seed, overwrite=True)
        [(side, twice), (_, once)] = Counter(entry["real"] for entry in odd["pairs"]).most_common()
        assert (twice, once) == (2, 1)
        extra[side] += 1
        draws.update(entry["name"] for entry in odd["pairs"])
    assert len(sides) == 8 and min(sides.values()) >= 10  # of 40, 20 expected
    assert len(orders) == 4 and min(orders.values()) >= 3  # 10 expected
    assert len(arrangements) == 6 and max(arrangements.values()) <= 14  # nothing follows from the order
    assert len(extra) == 2 and min(extra.values()) >= 10
    assert len(draws) == 4 and min(draws.values()) >= 20  # 30 expected


def test_a_title_is_shown_as_it_is(folders: tuple[Path, Path], tmp_path: Path) -> None:
    make_study(*folders, tmp_path / "study.html", 1, title="</title><script>{{study}}")
    text = (tmp_path / "study.html").read_text()
    assert text.count("&lt;/title&gt;&lt;script&gt;{{study}}") == 2 and "</title><script>" not in text


def test_what_is_refused_before_a_file_is_written(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for words, sentence in (
        ({"out": "study.htm"}, "study.htm'?: what is written is a page; its name must end in .html"),
        ({"num_pairs": 0}, "num_pairs=0 must be a whole number, from 1 to 7"),
        ({"num_pairs": 8}, "num_pairs=8 must be a whole number, from 1 to 7"),
        ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ({"title": " "}, "title=' ' is empty"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make_study(*folders, **{"out": tmp_path / "study.html", **words})  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before
    for name in ("study.html", "study.key.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"{name} exists; remove it, or ask for overwrite"):
            make_study(*folders, tmp_path / "study.html")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "study.key.json").mkdir()
    with pytest.raises(IsADirectoryError, match="study.key.json is a folder"):
        make_study(*folders, tmp_path / "study.html", overwrite=True)


def test_a_jpeg_beside_another_format_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    real, generated = write_folders(tmp_path, 2)
    with Image.open(real / "case1.png") as image:
        image.save(real / "case1.jpg")
    (real / "case1.png").unlink()
    with caplog.at_level(logging.WARNING):
        make_study(real, generated, tmp_path / "study.html")
    assert "1 of 2 pairs hold a JPEG and an image of another format" in caplog.text
