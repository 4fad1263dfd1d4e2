"""Sample data that needs no download: slabs of the averaged brain that nilearn ships."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import replacing
from .datalist import write_datalist

__all__ = ["prepare_sample_data"]

# Axial slices of the source, first and one past the last. At least 8 mm lie between two slabs, test is the slab
# farthest from training, and every slice shows brain.
SLABS = {"training": (10, 100), "validation": (108, 120), "test": (128, 148)}

_SOURCE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"

logger = logging.getLogger(__name__)


def prepare_sample_data(output_dir: str | os.PathLike[str], as_slices: bool = False) -> Path:
    """Write slabs of the MNI152 T1 template as NIfTI files, or their slices as PNG files, with a datalist.

    The template is one brain, averaged over 152 people. It serves to see the whole pipeline run; a result on it says
    nothing about other patients or about clinical quality.

    Files that are there and intact stay as they are; others are written anew, each whole or not at all.

    Args:
        output_dir: folder for the files, made if need be.
        as_slices: write each slice as a picture, in place of images that have two dimensions by nature.

    Returns:
        The path of ``datalist.json``, which :py:func:`make_datalist` reads.

    Raises:
        ModuleNotFoundError: if nilearn is not installed.
        FileNotFoundError: if nilearn does not ship the template.

    Example:
        >>> import tempfile
        >>> prepare_sample_data(tempfile.mkdtemp()).name
        'datalist.json'
    """
    import nibabel

    source: Any = nibabel.load(_find_source())
    values = np.asanyarray(source.dataobj)
    folder = Path(output_dir).expanduser()
    datalist: dict[str, Any] = {"name": "MNI152 T1 slabs", "description": "One averaged brain, for demonstration only."}
    for split, (start, stop) in SLABS.items():
        slab = values[:, :, start:stop]
        affine = source.affine.copy()
        affine[:3, 3] += start * affine[:3, 2]
        write = _write_slices if as_slices else _write_slab
        subject = f"mni152-slices-{start}-{stop - 1}"
        datalist[split] = [{"image": name, "subject": subject} for name in write(slab, affine, folder, split)]
    path = folder / "datalist.json"
    if not _holds(path, datalist):
        write_datalist(datalist, path)
    logger.info(
        "Sample data in %s: slabs of one averaged brain (MNI152, from nilearn), for a demonstration only. Neither "
        "generalisation to other patients nor clinical quality can be read from results on it.",
        folder,
    )
    return path


def _find_source() -> Path:
    spec = importlib.util.find_spec("nilearn")  # importing nilearn would take seconds
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            'the sample data comes with nilearn, which is not installed: pip install "monai_cdiff[sample]", or give '
            "your own images as dataset_dir."
        )
    path = Path(spec.submodule_search_locations[0], "datasets", "data", _SOURCE)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this nilearn lacks the template; give your own images as dataset_dir.")
    return path


def _write_slab(values: np.ndarray, affine: np.ndarray, folder: Path, split: str) -> list[str]:
    import nibabel

    path = folder / f"mni152_t1_{split}.nii.gz"
    try:
        image: Any = nibabel.load(path)
        if np.array_equal(image.affine, affine) and np.array_equal(np.asanyarray(image.dataobj), values):
            return [path.name]
    except Exception as error:  # absent or damaged, in any of the many ways nibabel and gzip know
        logger.debug("%s is written: %s", path, error)
    slab = nibabel.Nifti1Image(values, affine)
    slab.header.set_xyzt_units("mm")
    slab.header.set_sform(affine, code="mni")
    slab.header.set_qform(affine, code="mni")
    with replacing(path) as temporary:
        nibabel.save(slab, temporary)
    return [path.name]


def _write_slices(values: np.ndarray, affine: np.ndarray, folder: Path, split: str) -> list[str]:
    from PIL import Image

    names = []
    for z in range(values.shape[2]):
        grey = np.ascontiguousarray(values[:, ::-1, z].T)  # bytes as stored, so that all splits share one scale
        path = folder / f"mni152_t1_{split}_{z:03d}.png"
        names.append(path.name)
        if not _shows(path, grey):
            with replacing(path) as temporary:
                Image.fromarray(grey).save(temporary, format="PNG")
    return names


def _shows(path: Path, grey: np.ndarray) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.array_equal(np.asarray(picture), grey)
    except (OSError, ValueError, SyntaxError):  # absent or damaged
        return False


def _holds(path: Path, content: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == content)
    except (OSError, ValueError):
        return False
