import pytest
import torch

from ppl_vae import supports
from ppl_vae.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from ppl_vae.distributions.levels import LevelsCategorical, tilt_of_mean


def grid(levels, dtype=torch.float32):
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def mixture(levels, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    logits, loc, raw = torch.randn(3, 6, 4, generator=draw, dtype=dtype)
    return DiscretizedLogisticMixture(logits, loc, (2 * raw - 3).exp(), levels)


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
def test_masses_sum_to_one(levels):
    x = grid(levels)[:, None]
    assert torch.allclose(mixture(levels).log_prob(x).exp().sum(0), torch.ones(6), atol=2e-5)
    p = LevelsCategorical(torch.randn(6, levels, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(p.log_prob(x).exp().sum(0), torch.ones(6), atol=2e-5)


@pytest.mark.parametrize("make", [mixture, lambda n, d: LevelsCategorical(torch.randn(6, n, dtype=d))])
def test_moments_and_samples(make):
    torch.manual_seed(0)
    p = make(9, torch.float64)
    x = grid(9, torch.float64)[:, None]
    mass = p.log_prob(x).exp()
    assert torch.allclose(p.mean, (mass * x).sum(0))
    draws = p.sample((40000,))
    assert p.support.check(draws).all() and draws.dtype == torch.float64
    for k in range(9):
        share = (draws == x[k]).double().mean(0)
        assert ((share - mass[k]).abs() <= 4.5 * (mass[k] * (1 - mass[k]) / 40000).sqrt() + 1e-9).all()
    if hasattr(p, "_grid"):
        assert torch.allclose(p.variance, (mass * (x - p.mean).square()).sum(0))


def test_one_log_prob_by_two_ways():
    p = LevelsCategorical(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)))
    x = p.sample()
    assert torch.allclose(p.log_prob(x), p.log_prob(x.expand(2, 2, 3, 4))[1], atol=1e-6)
    assert torch.allclose(p.log_prob(x[0]), p.log_prob(x[0].expand(2, 2, 3, 4))[0], atol=1e-6)


def test_bins_are_exact_where_pixelcnn_approximates():
    """One logistic far from the level: float32 keeps the relative precision of float64's log-mass."""
    loc, scale = torch.tensor([[0.1]]), torch.tensor([[0.004]])
    x = grid(256)[[0, 10, 26, 200, 254, 255], None]
    ours = DiscretizedLogisticMixture(torch.zeros(1, 1), loc, scale).log_prob(x)
    b, a = ((x.double() + s / 510 - 0.1) / 0.004 for s in (1, -1))
    b[-1], a[0] = torch.inf, -torch.inf
    # by the side on which the two sigmoids are small
    direct = torch.where(a > 0, torch.sigmoid(-a) - torch.sigmoid(-b), torch.sigmoid(b) - torch.sigmoid(a)).log()
    assert ours.isfinite().all() and torch.allclose(ours.double(), direct, rtol=1e-4)


def test_extreme_parameters_are_finite_with_finite_gradients():
    loc = torch.tensor([[-50.0], [0.5], [60.0]], requires_grad=True)
    raw = torch.tensor([[1e-4], [1e4], [1e-4]], requires_grad=True)
    x = grid(256)[:, None]
    value = DiscretizedLogisticMixture(torch.zeros(3, 1), loc, raw).log_prob(x)
    value.sum().backward()
    assert value.isfinite().all() and loc.grad.isfinite().all() and raw.grad.isfinite().all()
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = LevelsCategorical(logits).log_prob(grid(3)[:, None])
    assert value.isfinite().all() and value.max() == 0


def test_the_grid():
    support = supports.grid(256)
    assert (
        support.check(torch.arange(256).float() / 255).all() and support.check(torch.tensor(0.1 * 2.55 / 0.255)).all()
    )
    assert not support.check(torch.tensor([0.5, -1 / 255, 256 / 255, float("nan")])).any()
    assert supports.name(support) == "256 levels k/255 in [0, 1]" and support.is_discrete


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_tilt_of_mean(levels):
    mean = torch.tensor([0.001, 0.2, 0.5, 0.999])
    p = LevelsCategorical(tilt_of_mean(mean, levels)[:, None] * grid(levels))
    assert torch.allclose(p.mean, mean, atol=1e-5)
