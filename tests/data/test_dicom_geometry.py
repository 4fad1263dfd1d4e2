from __future__ import annotations

import numpy as np
import pytest
from parameterized import parameterized

from monai_cdiff.data import DicomError
from monai_cdiff.data.dicom_geometry import affine_ras, plane_of, slice_normal, sort_slices

AXIAL = (1, 0, 0, 0, 1, 0)


def stack(depths: list[float], shear: float = 0.0) -> np.ndarray:
    """Axial slices at the given heights, each shifted by ``shear`` mm per mm of height."""
    heights = np.array(depths, dtype=float)
    return np.stack([2 + shear * heights, np.full_like(heights, -5), heights], axis=1)


def names(count: int) -> list[str]:
    return [f"slice{i}" for i in range(count)]


class TestPlane:
    @parameterized.expand(
        [
            ("axial", AXIAL),
            ("axial_tilted", (1, 0, 0, 0, 0.9, -0.435889894), "axial"),
            ("coronal", (1, 0, 0, 0, 0, -1)),
            ("sagittal", (0, 1, 0, 0, 0, -1)),
            ("feet_first", (-1, 0, 0, 0, 1, 0), "axial"),
        ]
    )
    def test_nearest_plane(self, name, orientation, plane=None):
        assert plane_of(orientation) == (plane or name)

    def test_normal_is_row_cross_column(self):
        assert slice_normal(AXIAL).tolist() == [0, 0, 1]
        assert slice_normal((1, 0, 0, 0, 0, -1)).tolist() == [0, 1, 0]

    @parameterized.expand([((1, 0, 0, 1, 0, 0),), ((2, 0, 0, 0, 1, 0),), ((0, 0, 0, 0, 0, 0),), ((float("nan"),) * 6,)])
    def test_refuses_what_is_no_pair_of_unit_vectors(self, orientation):
        with pytest.raises(DicomError, match="ImageOrientationPatient=.*orthogonal unit vectors"):
            slice_normal(orientation)


class TestSort:
    def test_order_and_step(self):
        order, step, _ = sort_slices(stack([9, 3, 6]), AXIAL, names(3))
        assert order.tolist() == [1, 2, 0]
        assert step == pytest.approx([0, 0, 3])

    def test_order_follows_the_normal_not_the_axis(self):
        order, step, _ = sort_slices(stack([3, 6, 9]), (-1, 0, 0, 0, 1, 0), names(3))
        assert order.tolist() == [2, 1, 0]
        assert step == pytest.approx([0, 0, -3])

    def test_single_slice_has_no_step(self):
        assert sort_slices(stack([3]), AXIAL, names(1))[1] is None

    def test_step_is_exact_over_the_stack(self):
        step = sort_slices(stack([0, 3.01, 6, 9.01]), AXIAL, names(4)).step
        assert step[2] == pytest.approx(9.01 / 3)

    @parameterized.expand([(0.009,), (0.0299,)])
    def test_gaps_within_one_percent_pass(self, excess):
        sort_slices(stack([0, 3, 6 + excess]), AXIAL, names(3))

    def test_small_gaps_may_differ_by_a_hundredth_of_a_millimetre(self):
        sort_slices(stack([0, 0.5, 1.009]), AXIAL, names(3))
        with pytest.raises(DicomError, match="gaps between slices differ"):
            sort_slices(stack([0, 0.5, 1.012]), AXIAL, names(3))

    def test_uneven_gaps_list_the_positions(self):
        with pytest.raises(DicomError, match=r"3 to 3\.04 mm.*0\.00, 3\.00, 6\.04"):
            sort_slices(stack([0, 3, 6.04]), AXIAL, names(3))

    def test_missing_slice_is_named(self):
        with pytest.raises(DicomError, match=r"1 slice\(s\) missing.*step of 3 mm.*1 between 3\.00 and 9\.00 mm"):
            sort_slices(stack([0, 3, 9, 12]), AXIAL, names(4))

    def test_missing_slices_where_only_one_gap_is_whole(self):
        with pytest.raises(DicomError, match=r"3 slice\(s\) missing.*1 between 3.* 2 between 9"):
            sort_slices(stack([0, 3, 9, 18]), AXIAL, names(4))

    def test_repeated_positions_name_two_files(self):
        with pytest.raises(DicomError, match=r"4 slices lie at only 2 positions.*slice0 and slice2.*b-values"):
            sort_slices(stack([0, 3, 0, 3]), AXIAL, names(4))

    def test_gantry_tilt_keeps_its_step(self):
        assert sort_slices(stack([0, 3, 6], shear=0.1), AXIAL, names(3)).step == pytest.approx([0.3, 0, 3])

    def test_shift_within_rounding_is_no_tilt(self):
        step = sort_slices(stack([0, 3, 6], shear=0.005), AXIAL, names(3)).step
        assert step == pytest.approx([0.015, 0, 3])


def test_affine_maps_corners_to_ras():
    row, column = np.array([0, 1, 0.0]), np.array([0, 0, -1.0])
    position, step = np.array([1.0, 2.0, 3.0]), np.array([-4.0, 0, 0])
    affine = affine_ras(position, (*row, *column), (0.5, 2.0), step)
    for index in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 4, 5]):
        lps = position + index[0] * 0.5 * row + index[1] * 2.0 * column + index[2] * step
        assert (affine @ [*index, 1])[:3] == pytest.approx(lps * [-1, -1, 1])
