import math

import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import AffineTransform

from ppl_vae.distributions.softplus import inverse_softplus
from ppl_vae.distributions.wrappers import is_delta, unwrapped


def test_every_wrapper_is_taken_off_and_nothing_else():
    normal = dist.Normal(torch.zeros(3), 1.0)
    masked = normal.expand([2, 3]).to_event(1).mask(torch.tensor([True, False]))
    assert unwrapped(normal) is normal and type(unwrapped(masked)) is dist.Normal
    assert type(unwrapped(masked.to_event(1), masks=False)) is dist.MaskedDistribution
    moved = dist.TransformedDistribution(normal, [AffineTransform(1.0, 2.0)])
    assert unwrapped(moved.to_event(1)) is moved


def test_a_point_is_found_whatever_is_around_it():
    point = dist.Delta(torch.zeros(2, 3))
    assert all(map(is_delta, (point, point.to_event(1), point.mask(False), point.to_event(1).mask(False).to_event(1))))
    assert not is_delta(dist.Normal(torch.zeros(2), 1.0).to_event(1))


@pytest.mark.parametrize("value", [1e-12, 1e-3, 0.5, 1.0, 30.0, 1e3])
def test_inverse_softplus(value):
    expected = value if value > 40 else math.log(math.expm1(value))
    assert math.isclose(inverse_softplus(value), expected, rel_tol=1e-9, abs_tol=1e-9)
    raw = inverse_softplus(torch.tensor(value, dtype=torch.float64))
    assert math.isclose(raw.item(), inverse_softplus(value), rel_tol=1e-12)
    assert math.isclose(F.softplus(raw, threshold=1e9).item(), value, rel_tol=1e-9) or value > 700
