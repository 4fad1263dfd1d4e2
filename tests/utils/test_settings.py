"""The table of what a bundle's settings may be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from monai_cdiff.utils import check_settings

GOOD = {
    "batch_size": 8,
    "image_size": None,
    "amp": "false",
    "num_inference_steps": [1999, 500.5],
    "output": "antithetic",
    "roi_size": (64, 64, 8),
    "factors": [2.8284, 4],
    "domain": "kspace",
    "noise": {"std": 0, "amount": 1},
    "training_noise": {"std_range": [0.1, 0.1], "amount_range": (0, 0.2)},
    "mask": {"area": [0.02, 0.9], "max_pieces": 1},
    "normalisation": {"lower": 0, "upper": 100, "ref_key": "image"},
}


def test_what_is_allowed() -> None:
    check_settings(GOOD)
    check_settings({})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 0, "batch_size=0 must be a whole number, at least 1."),
        ("batch_size", 2.5, "batch_size=2.5 must be a whole number, at least 1."),
        ("batch_size", True, "batch_size=True must be a whole number, at least 1."),
        ("image_size", 0, "image_size=0 must be a whole number, at least 1."),
        ("spatial_dims", 4, "spatial_dims=4 must be a whole number, from 2 to 3."),
        ("amp", "maybe", "amp='maybe' is not supported; allowed: true, false."),
        ("learning_rate", float("nan"), "learning_rate=nan must be a finite number, more than 0."),
        ("num_inference_steps", [], 'num_inference_steps=[] must be a list of at least one value, as in --num'),
        ("num_inference_steps", ["a"], "num_inference_steps[0]='a' must be a finite number, at least 0."),
        ("num_inference_steps", "2", "num_inference_steps='2' must be a whole number, at least 1."),
        ("output", "avrage", "Did you mean 'average'?"),
        ("roi_size", "big", "roi_size='big' must be a whole number, at least 1."),
        ("factors", [2, 1], "factors[1]=1 must be a finite number, more than 1."),
        ("domain", "fourier", "domain='fourier' is not supported; allowed: 'image', 'kspace'."),
        ("noise", {"std": -1, "amount": 0}, "noise['std']=-1 must be a finite number, at least 0."),
        ("noise", {"std": 0.1, "amount": 2}, "noise['amount']=2 must be a finite number, at least 0 and at most 1."),
        ("noise", {}, "noise={} lacks 'std', 'amount'; it must have the keys 'std', 'amount'."),
        ("noise", {"std": 0, "amount": 0, "amout": 0}, "key of noise='amout' is not supported; allowed: 'std'"),
        ("training_noise", {"std_range": [0.2, 0.1], "amount_range": [0, 0]}, "training_noise['std_range'][1]=0.1"),
        ("mask", "mask.nii.gz", "mask='mask.nii.gz' must be a dictionary with the keys 'area', 'max_pieces'."),
        ("mask", {"area": [0, 0.1], "max_pieces": 1}, "mask['area'][0]=0 must be a finite number, more than 0"),
        ("normalisation", {"lower": 50, "upper": 50, "ref_key": "image"}, "lower must be less than upper."),
        ("normalisation", {"lower": 0, "upper": 1, "ref_key": "imag"}, "normalisation['ref_key']='imag' is not"),
        ("patchsize", 3, "settings='patchsize' is not supported; allowed: "),
    ],
)
def test_what_is_not(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_settings({name: value})
