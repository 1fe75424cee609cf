import math

import pyro.distributions as dist
import pytest
import torch
from contracts import within

from ppl_vae.distributions import GaussianMixture


def mixture(batch=(), components=4, dim=3):
    logits = torch.randn(*batch, components)
    return GaussianMixture(logits, torch.randn(*batch, components, dim), 0.2 + torch.rand(*batch, components, dim))


def reference(p):
    return dist.MixtureSameFamily(dist.Categorical(logits=p.logits), dist.Normal(p.loc, p.scale).to_event(1))


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_equals_the_mixture_of_torch(batch):
    p = mixture(batch)
    q, z = reference(p), torch.randn(7, 2, 5, 3)
    assert torch.allclose(p.log_prob(z), q.log_prob(z), atol=1e-5)
    assert torch.allclose(p.mean, q.mean, atol=1e-6) and torch.allclose(p.variance, q.variance, atol=1e-5)
    assert p.batch_shape == q.batch_shape and p.event_shape == q.event_shape
    assert p.sample((6,)).shape == (6, *batch, 3)


def test_gradients_equal_those_of_the_direct_form():
    p, z = mixture(), torch.randn(5, 3, requires_grad=True)
    tensors = [z, *(t.requires_grad_() for t in (p.logits, p.loc, p.scale))]
    mine = torch.autograd.grad(p.log_prob(z).sum(), tensors)
    direct = torch.autograd.grad(reference(p).log_prob(z).sum(), tensors)
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(mine, direct, strict=True))


def test_expand_shares_parameters_and_keeps_densities():
    p = mixture()
    q = p.expand((4, 5))
    z = q.sample()
    assert z.shape == (4, 5, 3) and z[0, 0].ne(z[1, 1]).all()
    assert torch.equal(q.log_prob(z), p.log_prob(z)) and q.log_prob(z[0]).shape == (4, 5)
    assert q.mean.shape == (4, 5, 3) and q.loc.data_ptr() == p.loc.data_ptr()
    assert q.expand((3, 4, 5)).batch_shape == (3, 4, 5)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e3])
def test_log_prob_survives_narrow_components_far_out(scale):
    loc = torch.tensor([[30.0, -20.0], [1.0, 2.0]])
    p = GaussianMixture(torch.zeros(2), loc, torch.full((2, 2), scale))
    z = loc[0] + scale * torch.tensor([1.0, -2.0])
    exact = reference(GaussianMixture(p.logits.double(), p.loc.double(), p.scale.double())).log_prob(z.double())
    assert torch.allclose(p.log_prob(z).double(), exact, rtol=1e-5, atol=1e-3)
    assert p.log_prob(torch.full((2,), 1e4)).isfinite()


def test_samples_have_the_moments():
    p = mixture()
    z = p.sample((20_000,))
    within(z, p.mean)
    within((z - p.mean).square(), p.variance)


def test_responsibilities_are_bayes_rule():
    p, z = mixture(), torch.randn(6, 3)
    r = p.responsibilities(z)
    expected = p.weights * dist.Normal(p.loc, p.scale).to_event(1).log_prob(z.unsqueeze(-2)).exp()
    assert torch.allclose(r, expected / expected.sum(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(r.sum(-1), torch.ones(6))


def test_double_and_autocast():
    p = GaussianMixture(*(t.double() for t in (torch.zeros(2), torch.zeros(2, 3), torch.ones(2, 3))))
    assert p.log_prob(torch.zeros(3, dtype=torch.float64)).dtype == torch.float64
    p, z = mixture(), torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(p.log_prob(z), p.log_prob(z).float())
        low = p.log_prob(z)
    assert torch.allclose(low, p.log_prob(z), atol=1e-6)
    assert p.log_prob(z).dtype == torch.float32


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"must have shapes \(..., C\), .* not \(3,\), \(2, 4\) and \(2, 4\)"):
        GaussianMixture(torch.zeros(3), torch.zeros(2, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="scale"):
        GaussianMixture(torch.zeros(2), torch.zeros(2, 4), torch.zeros(2, 4), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        mixture().log_prob(torch.full((3,), math.nan))
