"""What a derived series holds in its pixels, and how it is shown."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from contracts.dicom_sources import write_projection, write_stack
from monai_cdiff.data import Derivation, DicomError, read_series, write_derived

DONE = Derivation("denoised", "dn")
SPREAD = Derivation("spread of 4 samples", "std", quantity="standard deviation")


def _real(dataset):
    """Real values (columns, rows) by the header alone."""
    stored = dataset.pixel_array.astype(float).T
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        stored = -1 - stored if dataset.PixelRepresentation else 2**dataset.BitsStored - 1 - stored
    return stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


def _written(values, affine, record, folder, done=DONE):
    path = write_derived(values, affine, record, folder, done)
    datasets = [pydicom.dcmread(file) for file in ([path] if path.is_file() else sorted(path.glob("*.dcm")))]
    return np.stack([_real(dataset) for dataset in datasets], axis=-1), datasets[0]


@pytest.mark.parametrize("low, high", [(-1024, 3071), (-2000, 60000), (-1024, 64511)])
def test_row19_ct_is_exact_in_hounsfield_units(tmp_path, low, high):
    values, affine, record = write_stack(tmp_path / "in", "CT")
    values[0, 0, 0], values[-1, -1, -1] = low, high
    again, dataset = _written(values, affine, record, tmp_path)
    assert np.array_equal(again, values) and dataset.RescaleType == "HU" and dataset.RescaleSlope == 1


def test_row19_ct_keeps_the_slope_of_its_source_to_half_a_unit(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", "CT", RescaleSlope=0.5)
    values = values / 2 + 0.13
    again, dataset = _written(values, affine, record, tmp_path)
    assert dataset.RescaleSlope == 0.5 and dataset.RescaleIntercept == -1024 and np.abs(again - values).max() <= 0.25


def test_row19_ct_keeps_the_window_of_its_source_and_a_map_does_not(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", "CT")
    image, spread = (_written(values, affine, record, tmp_path, done)[1] for done in (DONE, SPREAD))
    assert (image.WindowCenter, image.WindowWidth) == (40, 400) != (spread.WindowCenter, spread.WindowWidth)
    assert image.RescaleType == "HU" and "RescaleSlope" in spread


def test_row19_mr_is_rounded_to_integers_without_a_slope(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", size=(16, 12, 8), RescaleSlope=3, RescaleIntercept=7)
    values = np.linspace(0, 4000, values.size).reshape(values.shape)
    again, dataset = _written(values, affine, record, tmp_path)
    assert np.abs(again - values).max() <= 0.5 and "RescaleSlope" not in dataset and "RescaleIntercept" not in dataset


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.25, 0.5), (0.0, 1e6), (-40000.0, 40000.0), (1e-7, 2e-7)])
def test_row19_mr_is_scaled_where_the_range_demands_it(tmp_path, low, high):
    _, affine, record = write_stack(tmp_path / "in")
    values = np.linspace(low, high, 240).reshape(8, 6, 5)
    again, dataset = _written(values, affine, record, tmp_path)
    assert np.abs(again - values).max() <= 0.51 * (high - low) / 65534 and float(dataset.RescaleSlope) != 1
    assert {"RescaleIntercept", "RescaleType"} <= set(dataset.dir())


def test_row19_negative_integers_are_signed_and_nothing_wraps(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    for low, high in ((-32768, 32767), (0, 65535), (-1, 40000)):
        values[0, 0, 0], values[-1, -1, -1] = low, high
        again, _ = _written(values, affine, record, tmp_path / f"{low}")
        assert np.abs(again - values).max() <= 0.52


def test_row19_a_map_of_spread_begins_at_zero(tmp_path):
    _, affine, record = write_stack(tmp_path / "in", "CT")
    values = np.linspace(0.01, 0.8, 240).reshape(8, 6, 5)
    again, dataset = _written(values, affine, record, tmp_path, SPREAD)
    assert np.abs(again - values).max() <= 0.51 * 0.8 / 65534 and dataset.RescaleIntercept == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row19_what_is_no_number_is_refused(tmp_path, value):
    values, affine, record = write_stack(tmp_path / "in")
    values[1, 2, 3] = value
    with pytest.raises(DicomError, match="1 of 240 values that are NaN or infinite"):
        write_derived(values, affine, record, tmp_path / "out", DONE)
    with pytest.raises(DicomError, match="complex128"):
        write_derived(np.zeros((8, 6, 5), complex), affine, record, tmp_path / "out", DONE)
    assert not (tmp_path / "out").exists()


def test_row19_a_constant_image(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    for value in (0, 0.3, -7, 1e6):
        again, dataset = _written(np.full_like(values, value), affine, record, tmp_path / f"{value}")
        assert np.allclose(again, value) and dataset.WindowWidth > 0


def test_row19_what_described_the_old_pixels_is_gone(tmp_path):
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 1
    stale = {
        "SmallestImagePixelValue": 1, "LargestImagePixelValue": 9, "PixelPaddingValue": 5, "IconImageSequence": [icon],
        "WindowCenterWidthExplanation": "BRAIN", "WindowCenter": 5, "WindowWidth": 3,
    }  # fmt: skip
    values, affine, record = write_stack(tmp_path / "in", **stale)
    for file in record.files:
        dataset = pydicom.dcmread(file)
        dataset.add_new(0x60000010, "US", 6)
        dataset.add_new(0x60003000, "OW", b"\0" * 6)
        dataset.save_as(file)
    _, dataset = _written(values, affine, record, tmp_path)
    assert not (set(stale) - {"WindowCenter", "WindowWidth"}) & set(dataset.dir())
    assert not [element.tag for element in dataset if 0x6000 <= element.tag.group <= 0x60FF]


def test_row19_the_window_shows_all_but_the_extremes(tmp_path):
    _, affine, record = write_stack(tmp_path / "in")
    for scale in (1.0, 4000.0):
        values = np.linspace(0, scale, 240).reshape(8, 6, 5)
        _, dataset = _written(values, affine, record, tmp_path / f"{scale}")
        assert np.isclose(dataset.WindowCenter, scale / 2, rtol=1e-3)
        assert np.isclose(dataset.WindowWidth, 0.99 * scale, rtol=1e-3)
        assert dataset.get("VOILUTFunction") == ("LINEAR_EXACT" if scale == 1 else None)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_row11_monochrome1_is_undone(tmp_path, modality):
    values, affine, record = write_projection(tmp_path / "in", modality, PhotometricInterpretation="MONOCHROME1")
    source = pydicom.dcmread(record.files[0])
    again, dataset = _written(values, affine, record, tmp_path)
    assert dataset.PhotometricInterpretation == "MONOCHROME1" and np.array_equal(again[..., 0], values)
    assert dataset.BitsStored == 12 and np.array_equal(dataset.pixel_array, source.pixel_array)
    shown = [2**12 - 1 - value for value in np.percentile(values, [99.5, 0.5])]
    assert np.isclose(dataset.WindowCenter, np.mean(shown)) and np.isclose(dataset.WindowWidth, np.ptp(shown))


def test_row11_the_window_of_scaled_monochrome1_is_in_its_own_units(tmp_path):
    _, affine, record = write_stack(tmp_path / "in", PhotometricInterpretation="MONOCHROME1")
    values = np.linspace(0, 1, 240).reshape(8, 6, 5) ** 2
    again, dataset = _written(values, affine, record, tmp_path)
    assert np.abs(again - values).max() < 1e-5
    low, high = np.percentile(1 - values, [0.5, 99.5])
    assert np.isclose(dataset.WindowCenter, (low + high) / 2, atol=1e-3)


def test_row19_dx_takes_no_slope(tmp_path, caplog):
    values, affine, record = write_projection(tmp_path / "in", "DX")
    with pytest.raises(DicomError, match="steps finer than 1"):
        write_derived(values / 1000, affine, record, tmp_path, DONE)
    values[0, 0], values[1, 1] = -20, 70000
    again, dataset = _written(values, affine, record, tmp_path)
    assert np.array_equal(again[..., 0], np.clip(values, 0, 65535)) and dataset.RescaleSlope == 1
    assert "are cut to 0..65535" in caplog.text


def test_row19_read_back_by_our_own_reader(tmp_path):
    values, affine, record = write_stack(tmp_path / "in", "CT")
    again, there = read_series(write_derived(values, affine, record, tmp_path / "out", DONE))[:2]
    assert np.array_equal(again, values) and np.allclose(there, affine)
