"""DICOM in and DICOM out through MONAI's own parts."""

from __future__ import annotations

from functools import partial

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    LoadImaged,
    Orientationd,
    Resized,
    SaveImage,
    SaveImaged,
    Spacingd,
)
from monai.transforms.croppad.batch import PadListDataCollate

from contracts.dicom_sources import linear, write_projection, write_stack
from monai_cdiff.data import Derivation, DicomError, DicomSeriesReader, DicomSeriesWriter, SourceRecord, read_series
from monai_cdiff.transforms import (
    LoadDicomSeries,
    LoadDicomSeriesd,
    SaveDicomSeries,
    SaveDicomSeriesd,
    ScaleIntensityPatientwised,
    UnscaleIntensityPatientwised,
)

DONE = Derivation("tested", "test", {"seed": 3})


def _saver(folder, **options):
    writer = partial(DicomSeriesWriter, derivation=DONE, overwrite=options.pop("overwrite", False))
    return SaveImaged("image", output_dir=folder, output_ext=".dcm", writer=writer, print_log=False, **options)


def _folder(path):
    return next(path.rglob("0001.dcm")).parent


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_row21_two_series_of_different_slice_counts_in_one_batch(tmp_path, workers):
    sources = [write_stack(tmp_path / "in" / str(count), size=(8, 6, count)) for count in (5, 3)]
    items = [{"image": str(tmp_path / "in" / str(count))} for count in (5, 3)]
    load = LoadImaged("image", reader=DicomSeriesReader(), ensure_channel_first=True)
    collate = PadListDataCollate(mode="edge")
    loader = DataLoader(Dataset(items, Compose([load])), batch_size=2, num_workers=workers, collate_fn=collate)
    save = _saver(tmp_path / "out")
    for batch in loader:
        assert batch["image"].shape == (2, 1, 8, 6, 5)
        for item in decollate_batch(batch):
            save(collate.inverse(item))
    written = {folder for folder in (tmp_path / "out").rglob("series-*")}
    assert len(written) == 2
    for values, affine, record in sources:
        (folder,) = [path for path in written if len(list(path.iterdir())) == record.shape[2]]
        again, there, new = read_series(folder)
        assert np.array_equal(again, values) and np.allclose(there, affine)
        header, old = pydicom.dcmread(new.files[0]), pydicom.dcmread(record.files[0])
        assert header.StudyInstanceUID == old.StudyInstanceUID


def test_row21_the_record_survives_what_changes_grid_and_values(tmp_path):
    write_stack(tmp_path / "in", size=(16, 12, 9))
    steps = [
        LoadDicomSeriesd("image"),
        Orientationd("image", axcodes="LAS", labels=None),
        Spacingd("image", pixdim=(0.5, 0.5, 3.0)),
        ScaleIntensityPatientwised("image"),
        CenterSpatialCropd("image", roi_size=(12, 12, 5)),
        UnscaleIntensityPatientwised("image", ref_key="image"),
    ]
    image = Compose(steps)({"image": str(tmp_path / "in")})
    resized = Resized("image", spatial_size=(24, 24, 5), mode="trilinear")(image)
    for name, item in (("a", image), ("b", resized)):
        record = SourceRecord.from_json(item["image"].meta["dicom_source"])
        assert record.shape == (16, 12, 9)
        _saver(tmp_path / name)(item)
        values, affine, _ = read_series(_folder(tmp_path / name))
        inside = (slice(2, -2), slice(2, -2))
        assert values.shape == tuple(item["image"].shape[1:])
        assert np.abs(values - linear(affine, values.shape))[inside].max() < 1.1


def test_row21_values_are_not_cut_to_bytes(tmp_path):
    values, _, _ = write_stack(tmp_path / "in", size=(8, 6, 90))
    _saver(tmp_path / "out", output_dtype=np.uint8, scale=255)(LoadDicomSeriesd("image")({"image": tmp_path / "in"}))
    assert np.array_equal(read_series(_folder(tmp_path / "out"))[0], values) and values.max() > 255


def test_row21_resample_brings_back_the_grid_of_the_source(tmp_path):
    values, affine, _ = write_stack(tmp_path / "in", size=(16, 12, 9))
    image = LoadDicomSeriesd("image")({"image": tmp_path / "in"})
    half = Spacingd("image", pixdim=(0.25, 0.375, 3.0), align_corners=True)(image)
    _saver(tmp_path / "out", resample=True, mode="bilinear")(half)
    again, there, _ = read_series(_folder(tmp_path / "out"))
    assert again.shape == values.shape and np.allclose(there, affine, atol=1e-5)
    assert np.abs(again - values)[1:-1, 1:-1].max() < 1.1


def test_row21_several_channels_or_no_source_are_refused(tmp_path):
    write_stack(tmp_path / "in")
    image = LoadDicomSeries()(tmp_path / "in")
    save = SaveDicomSeries(tmp_path / "out", DONE)
    with pytest.raises(DicomError, match="2 channels"):
        save(torch.cat([image, image]))
    with pytest.raises(DicomError, match="template"):
        save(MetaTensor(torch.zeros(1, 8, 6, 5)))
    with pytest.raises(RuntimeError, match="2 channels"):
        SaveImage(tmp_path, output_ext=".dcm", writer=DicomSeriesWriter)(torch.cat([image, image]))
    assert not (tmp_path / "out").exists()


def test_row22_what_exists_is_refused_through_saveimage_too(tmp_path):
    write_stack(tmp_path / "in")
    data = LoadDicomSeriesd("image")({"image": tmp_path / "in"})
    _saver(tmp_path / "out")(data)
    with pytest.raises(RuntimeError, match="overwrite=True"):
        _saver(tmp_path / "out")(data)
    _saver(tmp_path / "out", overwrite=True)(data)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_row11_a_radiograph_goes_round(tmp_path, photometric):
    values, _, record = write_projection(tmp_path / "in", PhotometricInterpretation=photometric)
    data = LoadDicomSeriesd("image")({"image": record.files[0]})
    assert data["image"].shape == (1, 8, 6) and np.array_equal(data["image"][0], values)
    save = SaveDicomSeriesd("image", tmp_path / "out", DONE)
    save(data)
    (file,) = save.save.written
    _saver(tmp_path / "other")(data)
    for path in (file, next((tmp_path / "other").rglob("*.dcm"))):
        again, old = pydicom.dcmread(path), pydicom.dcmread(record.files[0])
        assert np.array_equal(again.pixel_array, old.pixel_array)
        assert again.ImagerPixelSpacing == old.ImagerPixelSpacing


def test_row18_nifti_in_microns_with_a_template(tmp_path):
    values, affine, record = write_stack(tmp_path / "in")
    micron = np.diag([1e3, 1e3, 1e3, 1.0]) @ affine
    image = MetaTensor(values[None], affine=micron, meta={"space_units": "micron", "dicom_source": ""})
    save = SaveDicomSeries(tmp_path / "out", DONE, template=tmp_path / "in")
    save(image)
    again, there, _ = read_series(save.written[0])
    assert np.array_equal(again, values) and np.allclose(there, affine)
    nibabel.Nifti1Image(values, affine).to_filename(tmp_path / "image.nii")
    plain = LoadImaged("image", ensure_channel_first=True)({"image": tmp_path / "image.nii"})
    SaveDicomSeries(tmp_path / "nifti", DONE, template=tmp_path / "in")(plain["image"])
    assert np.array_equal(read_series(_folder(tmp_path / "nifti"))[0], values)
