"""What every room needs: option checks, keyed randomness, mixed precision, and the glue of the bundles."""

from __future__ import annotations

from .bundle import (
    bundle_version,
    default_device,
    find_bundle_root,
    join_processes,
    log_choices,
    root_cause,
    show_root_cause,
)
from .checks import check_finite, check_flag, check_integer, check_number, check_option
from .enums import ConditioningMode, DownsampleDomain, MaskShape, PredictionType, Target
from .files import replacing, write_array, write_json
from .neighbours import with_neighbours
from .overrides import check_overrides
from .precision import amp_by_default, amp_dtype, autocast
from .seeding import Generators, NoiseSource, content_key, derive_seed, item_generators, randn
from .settings import check_settings
from .tiles import check_overlap, check_roi_size, tile_borders, tile_layout
from .transfer import as_plain, to_device

__all__ = [
    "ConditioningMode",
    "DownsampleDomain",
    "Generators",
    "MaskShape",
    "NoiseSource",
    "PredictionType",
    "Target",
    "amp_by_default",
    "amp_dtype",
    "as_plain",
    "autocast",
    "bundle_version",
    "check_finite",
    "check_flag",
    "check_integer",
    "check_number",
    "check_option",
    "check_overlap",
    "check_overrides",
    "check_roi_size",
    "check_settings",
    "content_key",
    "default_device",
    "derive_seed",
    "find_bundle_root",
    "item_generators",
    "join_processes",
    "log_choices",
    "randn",
    "replacing",
    "root_cause",
    "show_root_cause",
    "tile_borders",
    "tile_layout",
    "to_device",
    "with_neighbours",
    "write_array",
    "write_json",
]
