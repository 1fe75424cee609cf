"""Finite scalar quantization: its levels, its digits and its gradient, written out."""

import itertools

import pytest
import torch

from ppl_vae.quantizers import FiniteScalarQuantizer


@pytest.mark.parametrize("levels", [(2,), (3,), (8,), (2, 3, 4), (8, 5, 5, 5)])
def test_every_code_is_reached_and_is_its_digits(levels):
    """The grid of all values, in an order in which the first entry's level changes fastest."""
    q = FiniteScalarQuantizer(levels)
    axes = [[(k - n // 2) / (n // 2) for k in range(n)] for n in levels]
    grid = torch.tensor([point[::-1] for point in itertools.product(*axes[::-1])])
    assert torch.allclose(q.lookup(torch.arange(q.num_codes)), grid)
    sizes = torch.tensor(levels).float()
    h, offset = (sizes - 1) * (1 + 1e-3) / 2, torch.where(sizes % 2 == 0, 0.5, 0.0)
    shift = torch.where(sizes == 2, 0.0, torch.atanh(offset / h))
    out = q(torch.atanh((grid * (sizes // 2) + offset) / h) - shift)  # what is bounded to just that value
    assert torch.equal(out.codes, torch.arange(q.num_codes))
    assert torch.allclose(out.values, grid, atol=1e-6) and torch.allclose(out.perplexity / q.num_codes, torch.ones(()))


def test_the_nearest_level_of_the_bounded_entry():
    """Between two thresholds atanh((k + 1/2) / h) the level of an odd number of levels is k."""
    q, h = FiniteScalarQuantizer((5,)), 2 * (1 + 1e-3)
    edges = torch.atanh(torch.tensor([-1.5, -0.5, 0.5, 1.5]) / h)
    below, above = q((edges - 1e-4)[:, None]).codes, q((edges + 1e-4)[:, None]).codes
    assert below.tolist() == [0, 1, 2, 3] and above.tolist() == [1, 2, 3, 4]


def test_the_gradient_is_that_of_the_bound():
    q, z = FiniteScalarQuantizer((5, 4)), torch.randn(30, 2, dtype=torch.double, requires_grad=True)
    (given,) = torch.autograd.grad(q(z).values.sum(), z)
    h = torch.tensor([2.0, 1.5]).double() * (1 + 1e-3)
    shift = torch.atanh(torch.tensor([0.0, 0.5]).double() / h)
    assert torch.allclose(given, (1 - (z + shift).tanh().square()) * h / 2)


def test_use_is_counted_and_nothing_is_learned():
    q = FiniteScalarQuantizer((3, 3))
    z = torch.full((50, 2), 9.0)
    for _ in range(400):
        out = q(z)
    assert out.loss_terms == {} and q.cost(out.loss_terms) == 0 and not list(q.parameters())
    assert out.perplexity == 1 and q.figures()["dead_codes"] == 8
    assert torch.allclose(q.usage[8], torch.tensor(1.0), atol=0.03) and torch.allclose(q.usage.sum(), torch.tensor(1.0))
