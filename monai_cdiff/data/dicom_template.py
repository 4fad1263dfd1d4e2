"""What of a source header stays in a derived image: who and how it was acquired; not what described its pixels."""

from __future__ import annotations

from typing import Any

__all__ = ["kept_elements", "put"]

# What described the pixels, their coding or the file of the source, and is no longer true.
_STALE = frozenset(
    (
        "PixelData FloatPixelData DoubleFloatPixelData PixelDataProviderURL ExtendedOffsetTable "
        "ExtendedOffsetTableLengths SmallestImagePixelValue LargestImagePixelValue SmallestPixelValueInSeries "
        "LargestPixelValueInSeries SmallestImagePixelValueInPlane LargestImagePixelValueInPlane PixelPaddingValue "
        "PixelPaddingRangeLimit IconImageSequence VOILUTSequence ModalityLUTSequence RealWorldValueMappingSequence "
        "HistogramSequence WindowCenterWidthExplanation VOILUTFunction WindowCenter WindowWidth RescaleSlope "
        "RescaleIntercept RescaleType PlanarConfiguration NumberOfFrames FrameIncrementPointer "
        "DigitalSignaturesSequence "
        "MACParametersSequence EncryptedAttributesSequence DataSetTrailingPadding InstanceCreatorUID "
        "SourceImageSequence DerivationDescription DerivationCodeSequence DerivationImageSequence "
        "ReferencedImageEvidenceSequence InstanceNumber SliceLocation SpacingBetweenSlices "
        "ImageComments ConversionSourceAttributesSequence ConcatenationUID SOPInstanceStatus "
        "SOPAuthorizationDateTime SOPAuthorizationComment AuthorizationEquipmentCertificationNumber "
        "StorageMediaFileSetUID MultiFrameSourceSOPInstanceUID HL7StructuredDocumentReferenceSequence"
    ).split()
)
# Places given in pixels, true on the source's grid only.
_PIXEL_PLACES = frozenset(
    (
        "ShutterShape ShutterLeftVerticalEdge ShutterRightVerticalEdge ShutterUpperHorizontalEdge "
        "ShutterLowerHorizontalEdge CenterOfCircularShutter RadiusOfCircularShutter VerticesOfThePolygonalShutter "
        "ShutterPresentationValue ShutterPresentationColorCIELabValue CollimatorShape CollimatorLeftVerticalEdge "
        "CollimatorRightVerticalEdge CollimatorUpperHorizontalEdge CollimatorLowerHorizontalEdge "
        "CenterOfCircularCollimator RadiusOfCircularCollimator VerticesOfThePolygonalCollimator PixelAspectRatio "
        "ExposureControlSensingRegionShape ExposureControlSensingRegionLeftVerticalEdge "
        "ExposureControlSensingRegionRightVerticalEdge ExposureControlSensingRegionUpperHorizontalEdge "
        "ExposureControlSensingRegionLowerHorizontalEdge CenterOfCircularExposureControlSensingRegion "
        "RadiusOfCircularExposureControlSensingRegion VerticesOfThePolygonalExposureControlSensingRegion"
    ).split()
)
_PLANES = (0x5000, 0x6000)  # curves and overlays: 5000 to 501E, 6000 to 60FF


def put(dataset: Any, keyword: str, value: Any) -> None:
    """Set an element anew.

    Assignment to an attribute would change the value within an element that many slices share.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"keyword={keyword!r} is not in pydicom's dictionary.")
    dataset.add_new(tag, dictionary_VR(tag), value)


def kept_elements(header: Any, same_grid: bool) -> Any:
    """The part of a source header that is true of an image derived from it.

    Args:
        header: dataset of the source.
        same_grid: whether the derived image has the source's grid; otherwise places given in pixels go.

    Returns:
        A new dataset without private elements, in sequences too.
    """
    from pydicom import Dataset

    dropped = _STALE if same_grid else _STALE | _PIXEL_PLACES
    kept = Dataset()
    for element in header:
        group = element.tag.group
        if element.tag.element == 0 or element.tag.is_private or group in (0x0002, 0xFFFA, 0xFFFC):
            continue
        if any(start <= group <= start + 0xFF for start in _PLANES) or element.keyword in dropped:
            continue
        kept.add(element)
    kept.remove_private_tags()
    return kept
