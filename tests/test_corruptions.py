"""Corruptions: the distribution each stands for."""

import math

import pytest
import torch
from contracts import check_corruption, within
from instances import every, instance

from ppl_vae import corruptions

X = torch.full((4000, 6), 0.25)


@pytest.mark.parametrize("case", every("corruptions"), ids=str)
def test_contract(case):
    check_corruption(instance("corruptions", case))


def test_gaussian_has_the_scale():
    noise = corruptions.Gaussian(0.4)(X) - X
    within(noise, 0.0)
    within(noise.square(), 0.16)


def test_masking_is_independent_for_every_entry():
    masked = corruptions.Masking(0.3)(X) == 0
    within(masked, 0.3)
    within(masked[:, 0] & masked[:, 1], 0.09)
    assert set(corruptions.Masking(0.3)(X).unique().tolist()) == {0.0, 0.25}


def test_salt_and_pepper_are_equally_frequent():
    out = corruptions.SaltAndPepper(0.4, low=-1.0, high=2.0)(X)
    assert set(out.unique().tolist()) == {-1.0, 0.25, 2.0}
    within(out == -1, 0.2)
    within(out == 2, 0.2)


@pytest.mark.parametrize("cls", [corruptions.Gaussian, corruptions.Masking, corruptions.SaltAndPepper])
def test_none_at_all(cls):
    assert torch.equal(cls(0.0)(X), X)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, "0.5", True])
@pytest.mark.parametrize("cls", [corruptions.Masking, corruptions.SaltAndPepper])
def test_a_rate_outside_its_range(cls, rate):
    with pytest.raises(ValueError, match="rate must be a probability between 0 and 1, not"):
        cls(rate)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="scale must be a finite number of at least 0, not -0.1"):
        corruptions.Gaussian(-0.1)
    with pytest.raises(ValueError, match="low must be below high, not 1.0 with high 0.0"):
        corruptions.SaltAndPepper(0.1, 1.0, 0.0)
