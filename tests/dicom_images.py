"""Small DICOM images made element by element."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid


def image(shape: tuple[int, ...], **elements) -> pydicom.Dataset:
    """An image whose stored values count up."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3"
    dataset.PatientID, dataset.SeriesNumber = "p", 1
    dataset.Rows, dataset.Columns = shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.PixelData = np.arange(np.prod(shape)).astype("<u2").tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def item(**elements) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced(frames: int = 4) -> pydicom.Dataset:
    """An enhanced MR image of 4 x 5 pixels, every 2 mm a frame."""
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=2)],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-7, RescaleType="US")],
    )
    places = [item(PlanePositionSequence=[item(ImagePositionPatient=[1, 2, 2 * k])]) for k in range(frames)]
    return image(
        (frames, 4, 5),
        SOPClassUID=EnhancedMRImageStorage,
        Modality="MR",
        NumberOfFrames=frames,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=places,
    )
