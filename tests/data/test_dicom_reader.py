from __future__ import annotations

import nibabel
import numpy as np
import pytest
from monai.data import DataLoader, Dataset, MetaTensor, NibabelReader
from monai.transforms import LoadImaged
from monai.utils import SpaceKeys

from monai_cdiff.data import DicomError, DicomSeriesReader, read_series


def loader(*readers):
    return LoadImaged("image", reader=list(readers), ensure_channel_first=True)


@pytest.fixture(params=["DICOM reader tried last", "DICOM reader tried first"])
def load(request):
    """``LoadImage`` tries the last reader of its list first; both orders must give the same."""
    ours = DicomSeriesReader(series="t2*", plane="axial")
    return loader(ours, "NibabelReader") if "last" in request.param else loader(NibabelReader(), ours)


class TestLoadImaged:
    def test_folder_and_files(self, tmp_path, write_series, phantom_values, load):
        files = [str(file) for file in write_series(tmp_path / "patient" / "a")]
        write_series(tmp_path / "patient" / "b", description="t2_sag", orientation=(0, 1, 0, 0, 0, -1))
        for source in (str(tmp_path / "patient"), files[::-1]):
            image = load({"image": source})["image"]
            assert isinstance(image, MetaTensor) and image.shape == (1, 7, 5, 4)
            expected = phantom_values(image.affine.numpy(), (7, 5, 4))
            assert np.abs(image.numpy()[0] - expected).max() < 0.003
            assert image.meta["space"] == SpaceKeys.RAS
            assert image.meta["spatial_shape"].tolist() == [7, 5, 4]
            assert np.array_equal(image.meta["original_affine"], image.affine)
        assert image.meta["filename_or_obj"] == files[-1]

    def test_nifti_goes_to_its_own_reader(self, tmp_path, load):
        values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 3, 1])), tmp_path / "image.nii.gz")
        image = load({"image": str(tmp_path / "image.nii.gz")})["image"]
        assert np.array_equal(image[0].numpy(), values) and image.pixdim.tolist() == [2, 2, 3]

    def test_a_refusal_reaches_the_user(self, tmp_path, write_series, load):
        files = write_series(tmp_path / "series")
        files[1].unlink()
        for source in (str(tmp_path / "series"), [str(file) for file in files if file.exists()]):
            with pytest.raises(DicomError, match=r"1 slice\(s\) missing"):
                load({"image": source})

    def test_an_ambiguous_folder_reaches_the_user(self, tmp_path, write_series, load):
        write_series(tmp_path / "a", number=1)
        write_series(tmp_path / "b", number=2)
        with pytest.raises(DicomError, match=f"{tmp_path}: several series match series='t2\\*', plane='axial'"):
            load({"image": str(tmp_path)})

    def test_missing_files_reach_the_user(self, tmp_path, load):
        for name in ("gone.dcm", "gone"):
            with pytest.raises(FileNotFoundError, match=name):
                load({"image": str(tmp_path / name)})

    def test_folder_without_images(self, tmp_path, load):
        with pytest.raises(DicomError, match="there is no DICOM image series"):
            load({"image": str(tmp_path)})

    def test_batch_of_two(self, tmp_path, write_series):
        items = []
        for name in ("a", "b"):
            items.append({"image": [str(file) for file in write_series(tmp_path / name)], "subject": name})
        (batch,) = DataLoader(Dataset(items, loader(DicomSeriesReader())), batch_size=2)
        assert batch["image"].shape == (2, 1, 7, 5, 4) and batch["subject"] == ["a", "b"]

    def test_real_series(self, shared_data, load):
        folder = shared_data / "prostatex_dicom" / "ProstateX" / "ProstateX-0000"
        image = load({"image": str(folder)})["image"]
        assert image.shape == (1, 384, 384, 19)
        assert image.pixdim.numpy() == pytest.approx([0.5, 0.5, 3.0], abs=1e-5)
        files = sorted((folder / "07-07-2011" / "4.000000-t2tsetra-00702").iterdir())
        assert np.array_equal(image[0].numpy(), read_series(files)[0])


class TestReader:
    def test_verify_suffix(self, tmp_path, write_series):
        files = write_series(tmp_path)
        plain = tmp_path / "1.2.840"
        plain.write_bytes(files[0].read_bytes())
        text = tmp_path / "text"
        text.write_text("no image")
        reader = DicomSeriesReader()
        assert reader.verify_suffix(tmp_path) and reader.verify_suffix(files) and reader.verify_suffix(str(plain))
        assert reader.verify_suffix("absent.DCM")
        for other in (text, tmp_path / "image.nii.gz", [*files, text], []):
            assert not reader.verify_suffix(other)

    def test_read_records_paths_even_of_what_will_be_refused(self, tmp_path):
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(b"")
        reader = DicomSeriesReader()
        recorded = reader.read([broken])
        assert recorded == (str(broken),)
        with pytest.raises(DicomError, match="broken.dcm: no DICOM image"):
            reader.get_data(recorded)

    def test_read_leaves_other_formats_to_other_readers(self, tmp_path):
        (tmp_path / "image.nii").write_bytes(b"")
        with pytest.raises(ValueError, match="image.nii: no DICOM file"):
            DicomSeriesReader().read(tmp_path / "image.nii")

    def test_one_folder_only(self, tmp_path):
        with pytest.raises(DicomError, match="2 paths with a folder among them"):
            DicomSeriesReader().get_data((str(tmp_path), str(tmp_path)))

    def test_wrong_words_fail_at_once(self):
        with pytest.raises(ValueError, match="plane='tra' is not supported; allowed: "):
            DicomSeriesReader(plane="tra")
        with pytest.raises(ValueError, match=r"series=\[4\] must be a pattern"):
            DicomSeriesReader(series=[4])
