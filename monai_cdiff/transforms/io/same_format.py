"""What came in as DICOM goes out as DICOM, NIfTI as NIfTI, and a picture (PNG, JPEG, BMP, TIFF) as PNG."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_data_type, ensure_tuple_rep

from ...data import (
    Derivation,
    DicomError,
    DicomGeometryError,
    NiftiWriter,
    RasterWriter,
    SourceRecord,
    check_nifti,
    check_writable,
    output_stem,
    read_raster,
    source_record,
    write_derived,
)
from ...data.dicom_grid import check_overlap, slice_grid
from ...data.nifti_reader import affine_in_mm, nifti_units
from ...data.patient_folders import is_raster
from ...utils import check_flag

__all__ = ["SaveLikeInputD", "SaveLikeInputDict", "SaveLikeInputd", "check_outputs", "list_outputs"]


class SaveLikeInputd(MapTransform):
    """Write each image in the format that its input came in, into the same folder below ``output_dir``.

    A DICOM series becomes a derived series in its study, in a folder of its own; an X-ray becomes a file; a NIfTI
    file becomes a NIfTI file; a PNG, JPEG, BMP or TIFF file becomes a PNG of the same depth. Names are those of
    :py:func:`monai_cdiff.data.output_stem` with the derivation's label. Nothing that exists is overwritten unless asked
    for.

    Args:
        keys: images of one channel in real values, with the metadata of their input.
        derivation: what was done to the images, one for all keys or one for each; goes into the DICOM header or
            the text of a PNG, its label into every name.
        output_dir: where to write.
        data_root_dir: folder of the inputs; what lies between it and an input is repeated below ``output_dir``.
        template: a DICOM series (folder or file) of the same patient: write an image that came in as NIfTI as a
            series derived from it. For one image.
        output_dtype: type of the voxels of NIfTI files.
        overwrite: replace what exists.
        allow_missing_keys: pass over keys that the data does not have.

    Attributes:
        written: input (for a volume of DICOM files their folder) and output of each image written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        derivation: Derivation | Sequence[Derivation],
        output_dir: str | os.PathLike[str],
        data_root_dir: str | os.PathLike[str] = "",
        template: str | os.PathLike[str] | None = None,
        output_dtype: DtypeLike = np.float32,
        overwrite: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.derivations: tuple[Derivation, ...] = ensure_tuple_rep(derivation, len(self.keys))
        self.output_dir = Path(output_dir).expanduser().absolute()
        self.data_root_dir = os.path.abspath(os.path.expanduser(data_root_dir)) if data_root_dir else ""
        self.template = None if template is None else _template(template)
        self.output_dtype = output_dtype
        self.overwrite = check_flag("overwrite", overwrite)
        NiftiWriter(output_dtype)  # a wrong type fails here, before any image is restored
        self.written: list[tuple[str, Path]] = []

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Write the images at ``keys``; the data passes unchanged.

        Raises:
            FileExistsError: if the output exists, unless ``overwrite``.
            ValueError: if an image has no metadata or several channels, or cannot be written.
        """
        d = dict(data)
        for key, derivation in self.key_iterator(d, self.derivations):
            self._save(str(key), d[key], derivation)
        return d

    def target(self, file: str, label: str, record: SourceRecord | None = None) -> Path:
        """Where an image made from an input goes.

        Args:
            file: the (first) file of the input.
            label: of the derivation.
            record: of a DICOM input.
        """
        place = os.path.abspath(_folder(file))
        folder = os.path.relpath(place, self.data_root_dir or place)
        source = self._source(file, record)
        flat = source is not None and len(source.shape) == 2
        name = output_stem(file, *((record.series_uid, record.number, flat) if record is not None else ()))
        ending = ".png" if is_raster(file) else ".nii.gz"
        if source is not None:
            ending = ".dcm" if flat else ""
        inside = "" if folder.startswith(os.pardir) else folder
        return self.output_dir / inside / f"{name}_{label}{ending}"

    def check(self, file: str, record: SourceRecord | None = None) -> list[Path]:
        """Refuse, before anything is restored, outputs that could not be written.

        Returns:
            Where the images go.

        Raises:
            DicomError: if the source's kind of image cannot be written.
            FileExistsError: if it is there already, unless ``overwrite``.
            NotADirectoryError: if a file stands where a folder is needed.
            PermissionError: if the folder may not be written to.
            ValueError: if a template is given for an input that is not NIfTI.
        """
        if record is not None and self.template is not None:
            raise ValueError(f"template: {file} is DICOM itself; a template is for NIfTI.")
        paths = [self.target(file, derivation.label, record) for derivation in self.derivations]
        for path in paths:
            if path.exists() and not self.overwrite:
                raise FileExistsError(f"{path} exists; choose another output folder, or ask for overwrite.")
            _check_folder(path.parent)
        source = self._source(file, record)
        if source is not None:
            check_writable(source)
        return paths

    def _save(self, key: str, image: torch.Tensor, derivation: Derivation) -> None:
        meta = image.meta if isinstance(image, MetaTensor) else {}
        if "filename_or_obj" not in meta:
            raise ValueError(f"{key} does not know its input; LoadImaged writes filename_or_obj into the metadata.")
        if image.ndim not in (3, 4) or image.shape[0] != 1:
            raise ValueError(f"{key} has shape {tuple(image.shape)}; one channel and two or three axes are written.")
        file, text = str(meta["filename_or_obj"]), str(meta.get("dicom_source") or "")
        record = SourceRecord.from_json(text) if text else None
        path, source = self.target(file, derivation.label, record), self._source(file, record)
        if source is None:
            raster = is_raster(file)
            self._write(image, path, RasterWriter(derivation) if raster else NiftiWriter(self.output_dtype))
        else:
            array = convert_data_type(image[0], np.ndarray, dtype=np.float32)[0]
            name = path.name.removesuffix(".dcm")
            path = write_derived(
                array, _affine_mm(image), source, path.parent, derivation, name=name, overwrite=self.overwrite
            )
        whole = record is not None and len(record.shape) == 3
        self.written.append((_folder(file) if whole else file, path))

    def _source(self, file: str, record: SourceRecord | None) -> SourceRecord | None:
        """The DICOM series that the output is derived from, if it is one."""
        if record is None and self.template is not None and is_raster(file):
            raise ValueError(
                f"template: {file} is a picture, whose pixels have no size and whose grey levels no unit; a template "
                "is for NIfTI."
            )
        return self.template if record is None else record

    def _write(self, image: Any, path: Path, writer: NiftiWriter | RasterWriter) -> None:
        writer.overwrite = self.overwrite
        writer.set_data_array(image, channel_dim=0)
        writer.set_metadata(image.meta, resample=False)
        writer.write(path)


def check_outputs(
    saver: SaveLikeInputd,
    items: Sequence[Mapping[str, Any]],
    select: Any = None,
    on_gap: str = "error",
) -> None:
    """Refuse, before anything is restored, inputs that cannot be read and outputs that could not be written.

    Images are judged by their headers; pictures are decoded, since no header tells colour from grey.

    Args:
        saver: what will write.
        items: what :py:func:`monai_cdiff.data.list_inputs` found.
        select: as for :py:class:`monai_cdiff.data.DicomSeriesReader`.
        on_gap: as for it.

    Raises:
        DicomError: if a series cannot be read or written, or an image lies elsewhere than the template.
        FileExistsError: if an output exists.
        OSError: if an output's folder cannot be made or written to.
        ValueError: if two outputs have one name, or a template is given for several inputs.
    """
    if len(items) > 1 and saver.template is not None:
        raise ValueError(f"template: there are {len(items)} inputs; a template is for one.")
    taken: dict[Path, str] = {}
    for item in items:
        image, record = item["image"], None
        file = image if isinstance(image, str) else image[0]
        if isinstance(image, str) and is_raster(image):
            read_raster(image)
        elif isinstance(image, str):
            _check_place(saver, image, check_nifti(image))
        else:
            record = source_record(image, select=select, on_gap=on_gap)
        for path in saver.check(file, record):
            if path in taken:
                raise ValueError(f"{file} and {taken[path]} would both be written to {path}.")
            taken[path] = file


def list_outputs(saver: SaveLikeInputd) -> str:
    """What was written where, a line for each image."""
    return "\n".join(f"restored image: {file} -> {path}" for file, path in saver.written)


def _template(path: str | os.PathLike[str]) -> SourceRecord:
    try:
        return source_record(path)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ValueError(f"template={os.fspath(path)!r} must be a DICOM series, as folder or file: {reason}") from error


def _folder(file: str) -> str:
    return file if os.path.isdir(file) else os.path.dirname(file)


def _check_folder(folder: Path) -> None:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest} is a file; no folder {folder} can be made for the output.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{nearest} may not be written to; choose another output folder.")


def _check_place(saver: SaveLikeInputd, file: str, image: Any) -> None:
    if saver.template is None or not saver.template.positions:
        return
    affine = affine_in_mm(image.affine, nifti_units(image))
    # no memory is taken for the values: only their shape counts
    grid = slice_grid(np.broadcast_to(np.float32(0), image.shape[:3]), affine, saver.template)
    try:
        check_overlap(grid, saver.template)
    except DicomError as error:
        raise DicomGeometryError(f"template: {file} lies elsewhere than {saver.template.files[0]}: {error}") from error


def _affine_mm(image: Any) -> np.ndarray:
    affine = convert_data_type(image.affine, np.ndarray, dtype=np.float64)[0]
    return affine_in_mm(affine, str(image.meta.get("space_units", "mm")))


SaveLikeInputD = SaveLikeInputDict = SaveLikeInputd
