"""Penalties against their closed forms."""

import math

import pytest
import torch
from contracts import check_penalty
from instances import every, instance

from ppl_vae import models, penalties


@pytest.mark.parametrize("case", every("penalties"), ids=str)
def test_contract(case):
    check_penalty(instance("penalties", case))


def test_k_sparse_keeps_exactly_k_and_passes_the_gradient_only_there():
    a = torch.randn(50, 20, requires_grad=True)
    out = penalties.KSparse(7).restrict(a)
    kept = out != 0
    assert (kept.sum(1) == 7).all() and torch.equal(out[kept], a[kept])
    assert (a.detach().masked_fill(~kept, math.inf).amin(1) > a.detach().masked_fill(kept, -math.inf).amax(1)).all()
    weights = torch.randn(50, 20)
    (out * weights).sum().backward()
    assert torch.equal(a.grad, torch.where(kept, weights, 0.0))


def test_k_sparse_keeps_exactly_k_among_equals():
    a = torch.ones(3, 5, requires_grad=True)
    out = penalties.KSparse(2).restrict(a)
    out.sum().backward()
    assert (out.sum(1) == 2).all() and (a.grad.sum(1) == 2).all()


def test_k_of_the_whole_layer_changes_nothing():
    a = torch.randn(4, 6)
    assert torch.equal(penalties.KSparse(6).restrict(a), a)


def test_kl_penalty_and_its_gradient_are_those_of_the_closed_form():
    rate, weight = 0.1, 2.5
    a = torch.rand(30, 8, dtype=torch.float64, requires_grad=True)
    cost = penalties.KLRate(rate, weight).cost(a)
    mean = a.detach().mean(0)
    kl = rate * (rate / mean).log() + (1 - rate) * ((1 - rate) / (1 - mean)).log()
    assert torch.allclose(cost, weight * kl.sum(), rtol=1e-12)
    cost.backward()
    slope = weight * (-rate / mean + (1 - rate) / (1 - mean)) / 30
    assert torch.allclose(a.grad, slope.expand(30, 8), rtol=1e-12)
    independent = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(torch.tensor(rate).double()), torch.distributions.Bernoulli(mean)
    )
    assert torch.allclose(kl, independent)


@pytest.mark.parametrize("logit", [-60.0, -15.0, 15.0, 60.0])
def test_kl_penalty_of_units_that_never_or_always_fire_is_finite_and_pulls_them_back(logit):
    z = torch.full((4, 2), logit, requires_grad=True)
    cost = penalties.KLRate(0.05).cost(torch.sigmoid(z))
    cost.backward()
    assert cost.isfinite() and z.grad.isfinite().all()
    if logit < 17:  # above it float32 rounds the activation to 1, and its slope to 0
        assert (z.grad.sign() == math.copysign(1, logit)).all() and (z.grad.abs() > 1e-3).all()


def test_l1_and_l2():
    a = torch.randn(6, 4)
    assert torch.allclose(penalties.L1(0.3).cost(a), 0.3 * torch.linalg.vector_norm(a, 1, dim=1))
    assert torch.allclose(penalties.L2(0.3).cost(a), 0.3 * torch.linalg.vector_norm(a, 2, dim=1) ** 2)


def test_models_offers_the_penalties_too():
    assert models.KSparse is penalties.KSparse and models.KLRate is penalties.KLRate


@pytest.mark.parametrize("rate", [0, 1, 0.0, 1.5, -0.1, math.nan, "0.5", True])
def test_a_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match=r"rate must be a mean activation between 0 and 1, both excluded.*not "):
        penalties.KLRate(rate)


@pytest.mark.parametrize("cls", [penalties.L1, penalties.L2, lambda weight: penalties.KLRate(0.1, weight)])
@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan, "1", True])
def test_a_weight_outside_its_range(cls, weight):
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, not"):
        cls(weight)


@pytest.mark.parametrize("k", [0, -3, 2.5, True])
def test_a_bad_k(k):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, not"):
        penalties.KSparse(k)
