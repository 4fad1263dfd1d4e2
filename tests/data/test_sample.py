from __future__ import annotations

import importlib.util
import json
import logging
import sys

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_cdiff.data import make_datalist, prepare_sample_data, sample, summarize_datalist

HAS_NILEARN = importlib.util.find_spec("nilearn") is not None
needs_nilearn = pytest.mark.skipif(not HAS_NILEARN, reason="nilearn is not installed, so there is no sample data")


def state(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def check_slabs(path):
    """Each file of the list holds its part of the template, at its place."""
    template = nibabel.load(sample._find_source())
    values = np.asanyarray(template.dataobj)
    for split, items in make_datalist(path).items():
        (item,) = items
        slab = nibabel.load(item["image"])
        start, stop = sample.SLABS[split]
        assert slab.shape == (197, 233, stop - start) and slab.get_data_dtype() == np.uint8
        assert np.array_equal(np.asanyarray(slab.dataobj), values[:, :, start:stop])
        assert slab.affine @ [5, 6, 0, 1] == pytest.approx(template.affine @ [5, 6, start, 1])
        assert slab.header.get_xyzt_units()[0] == "mm"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_sample_data(tmp_path_factory.mktemp("sample") / "new")


@needs_nilearn
class TestSample:
    def test_the_slabs_are_the_template(self, prepared):
        check_slabs(prepared)

    def test_slabs_are_apart_and_full_of_brain(self, prepared):
        ranges = sorted(sample.SLABS.values())
        assert all(after[0] - before[1] >= 8 for before, after in zip(ranges, ranges[1:]))
        distances = {split: sample.SLABS[split][0] - sample.SLABS["training"][1] for split in ("validation", "test")}
        assert distances["test"] > distances["validation"]
        for items in make_datalist(prepared).values():
            values = np.asanyarray(nibabel.load(items[0]["image"]).dataobj)
            assert (values > 50).mean(axis=(0, 1)).min() > 0.03

    def test_the_list_is_relative_and_readable(self, prepared):
        content = json.loads(prepared.read_text())
        assert content["training"] == [{"image": "mni152_t1_training.nii.gz", "subject": "mni152-slices-10-99"}]
        assert summarize_datalist(make_datalist(prepared)).count("1 subject, 1 image") == 3

    def test_a_second_call_writes_nothing(self, prepared, caplog):
        before = state(prepared.parent)
        with caplog.at_level(logging.INFO, "monai_cdiff"):
            assert prepare_sample_data(str(prepared.parent)) == prepared
        assert state(prepared.parent) == before
        assert "Neither generalisation to other patients nor clinical quality" in caplog.text

    def test_what_is_damaged_is_written_anew_and_nothing_else(self, prepared):
        before = state(prepared.parent)
        test = prepared.parent / "mni152_t1_test.nii.gz"
        test.write_bytes(test.read_bytes()[:5000])
        (prepared.parent / "mni152_t1_validation.nii.gz").unlink()
        prepared.write_text("{")
        prepare_sample_data(prepared.parent)
        after = state(prepared.parent)
        name = "mni152_t1_training.nii.gz"
        assert before.keys() == after.keys() and before[name] == after[name]
        check_slabs(prepared)

    def test_nilearn_is_not_imported(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "nilearn", None)
        monkeypatch.delitem(sys.modules, "nilearn")
        sample._find_source()
        assert "nilearn" not in sys.modules


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return prepare_sample_data(tmp_path_factory.mktemp("sample") / "pictures", as_slices=True)


@needs_nilearn
class TestSlices:
    def test_each_slice_is_a_picture_of_the_template(self, pictures):
        values = np.asanyarray(nibabel.load(sample._find_source()).dataobj)
        for split, items in make_datalist(pictures, dimensions=2).items():
            start, stop = sample.SLABS[split]
            assert len(items) == stop - start and {item["subject"] for item in items} == {
                f"mni152-slices-{start}-{stop - 1}"
            }
            assert len({item["key"] for item in items}) == len(items)
            for z in (0, stop - start - 1):
                picture = Image.open(items[z]["image"])
                assert items[z]["image"].endswith(f"mni152_t1_{split}_{z:03d}.png") and picture.mode == "L"
                # rows from front to back, columns from left to right
                assert np.array_equal(np.asarray(picture)[::-1].T, values[:, :, start + z])

    def test_a_second_call_writes_what_is_damaged_and_nothing_else(self, pictures):
        damaged, gone, other = (pictures.parent / f"mni152_t1_test_00{n}.png" for n in (1, 2, 3))
        before, content = state(pictures.parent), {path: path.read_bytes() for path in (damaged, gone, other)}
        damaged.write_bytes(content[damaged][:300])
        gone.unlink()
        other.write_bytes(content[damaged])
        assert prepare_sample_data(pictures.parent, as_slices=True) == pictures
        after = state(pictures.parent)
        assert {path: path.read_bytes() for path in content} == content
        assert {name for name in after if after[name] != before.get(name)} <= {path.name for path in content}


class TestWithoutNilearn:
    def test_not_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r'pip install "monai_cdiff\[sample\]".*dataset_dir'):
            prepare_sample_data(tmp_path)
        assert list(tmp_path.iterdir()) == []

    @needs_nilearn
    def test_another_nilearn(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sample, "_SOURCE", "gone.nii.gz")
        with pytest.raises(FileNotFoundError, match="gone.nii.gz: this nilearn lacks the template.*dataset_dir"):
            prepare_sample_data(tmp_path)
