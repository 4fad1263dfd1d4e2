"""Damaged files: an array of the declared size or an error that names the file, nothing else."""

from __future__ import annotations

import os
import random
import warnings

import pydicom
import pytest

from monai_cdiff.data.dicom_pixels import open_dataset, stored_values
from monai_cdiff.data.dicom_record import DicomFileError

SEED = int(os.environ.get("DICOM_FUZZ_SEED", "5"))
ROUNDS = 100


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut the file anywhere, or change a few bytes, mostly of the header."""
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        end = len(data) if draw.random() < 0.2 else min(len(data), 3000)
        changed[draw.randrange(132, end)] = draw.randrange(256)
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 10))
def test_row13_damaged_file_is_read_or_refused_by_name(tmp_path, shared_data, number):
    print(f"DICOM_FUZZ_SEED={SEED}")
    draw = random.Random(SEED * 100 + number)
    data = (shared_data / "hard_dicom" / "dcm_qa_ts" / f"{number}.dcm").read_bytes()
    file = tmp_path / "image.dcm"
    for k in range(ROUNDS):
        file.write_bytes(damaged(data, draw))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = open_dataset(str(file), pixels=True)
                values = stored_values(str(file), dataset)
                assert values.shape[1:] == (dataset.Rows, dataset.Columns)
        except DicomFileError as error:
            assert "image.dcm" in str(error)
        except pydicom.errors.InvalidDicomError:
            pass
        except Exception as error:
            raise AssertionError(f"round {k}: {error!r}") from error
