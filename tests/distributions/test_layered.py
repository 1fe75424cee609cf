import pyro.distributions as dist
import pytest
import torch
from contracts import within
from torch import nn

from ppl_vae.distributions import Layered
from ppl_vae.distributions.layered import NormalGiven, layer_sizes


def linear(weight, scale):
    return lambda z: dist.Normal(z @ weight.T, scale).to_event(1)


@pytest.mark.parametrize("top_down", [True, False])
def test_a_linear_chain_is_a_joint_normal(top_down):
    sizes = (2, 3) if top_down else (3, 2)
    weight = torch.randn(2, 3, dtype=torch.float64)
    p = Layered(
        dist.Normal(torch.zeros(3, dtype=torch.float64), 1.3).to_event(1), [linear(weight, 0.6)], sizes, top_down
    )
    first = 1.3**2 * torch.eye(3, dtype=torch.float64)
    cross = first @ weight.T
    second = weight @ cross + 0.36 * torch.eye(2, dtype=torch.float64)
    rows = [(second, cross.T), (cross, first)] if top_down else [(first, cross), (cross.T, second)]
    covariance = torch.cat([torch.cat(row, -1) for row in rows], -2)
    joint = dist.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance)
    z = torch.randn(4, 7, 5, dtype=torch.float64)
    assert torch.allclose(p.log_prob(z), joint.log_prob(z))
    draws = p.sample((20_000,))
    within(draws[:, :, None] * draws[:, None], covariance)


def test_three_layers_are_drawn_and_scored_in_order():
    conditionals = [NormalGiven(2, 3, [8]), NormalGiven(3, 4, [8])]
    p = Layered(dist.Normal(torch.zeros(6, 2), 1.0).to_event(1), conditionals, (4, 3, 2), top_down=True)
    wide = p.expand((5, 6))
    assert p.batch_shape == (6,) and wide.batch_shape == (5, 6) and p.event_shape == (9,)
    z = wide.rsample((2,))
    assert z.shape == (2, 5, 6, 9) and z.requires_grad
    z1, z2, z3 = z.split((4, 3, 2), -1)
    expected = p.first.log_prob(z3) + conditionals[0](z3).log_prob(z2) + conditionals[1](z2).log_prob(z1)
    assert torch.allclose(wide.log_prob(z), expected)


def test_the_scale_starts_near_one():
    p = NormalGiven(4, 3, [16])(torch.randn(50, 4))
    assert 0.5 < p.base_dist.scale.min() and p.base_dist.scale.max() < 1.8


@pytest.mark.parametrize(
    ("dim", "layers", "message"),
    [
        (4, 1, "layers must be a whole number of at least 2, not 1"),
        (1, 2, "dim must be at least the 2 layers"),
        (4, (2, 3), r"layers must be two or more sizes that add up to dim 4, not \[2, 3\]"),
        (4, (4,), r"layers must be two or more sizes that add up to dim 4, not \[4\]"),
        (4, (4, 0), "layers must be a whole number of at least 1, not 0"),
        (0, 2, "dim must be a whole number"),
    ],
)
def test_bad_sizes(dim, layers, message):
    with pytest.raises(ValueError, match=message):
        layer_sizes(dim, layers)


def test_sizes():
    assert layer_sizes(7, 3) == (3, 2, 2) and layer_sizes(7, [5, 2]) == (5, 2)
    with pytest.raises(ValueError, match="conditionals must be one fewer than the 3 layers, not 1"):
        Layered(dist.Normal(torch.zeros(2), 1.0).to_event(1), [nn.Identity()], (1, 1, 2), top_down=True)
