import numpy as np
import pytest
import torch
from scipy import integrate
from torch.distributions import ContinuousBernoulli as Torch

from ppl_vae.distributions.continuous_bernoulli import NEAR, ContinuousBernoulli, logits_of_mean

LOGITS = [-80.0, -20.0, -3.0, -NEAR, -0.4999, -0.1, -1e-4, 0.0, 1e-7, 0.3, 0.49999, NEAR, 1.0, 8.0, 30.0, 300.0]


def exact(logit):
    """Normaliser, mean and variance by quadrature in float64."""
    points = [min(1 / max(abs(logit), 1), 0.5) * k for k in (1, 4, 16)] + [
        1 - min(1 / max(abs(logit), 1), 0.5) * k for k in (1, 4, 16)
    ]
    points = sorted({p for p in points if 0 < p < 1})
    top = max(logit, 0.0)

    def moment(f):
        return integrate.quad(lambda x: f(x) * np.exp(logit * x - top), 0, 1, points=points, epsabs=1e-13)[0]

    z = moment(lambda x: 1.0)
    mean = moment(lambda x: x) / z
    return np.log(z) + top, mean, moment(lambda x: (x - mean) ** 2) / z


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_quadrature(logit, dtype):
    log_z, mean, variance = exact(logit)
    p = ContinuousBernoulli(torch.tensor(logit, dtype=dtype))
    x = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=dtype)
    tolerance = 3e-6 if dtype == torch.float32 else 1e-9
    assert torch.allclose(p.log_prob(x).double(), logit * x.double() - log_z, rtol=tolerance, atol=tolerance)
    assert p.mean.item() == pytest.approx(mean, rel=10 * tolerance, abs=tolerance)
    assert p.variance.item() == pytest.approx(variance, rel=3e-5 if dtype == torch.float32 else 1e-7, abs=1e-7)


def test_agrees_with_torch_away_from_the_edges():
    logits, x = torch.linspace(-6, 6, 49, dtype=torch.float64), torch.linspace(0, 1, 49, dtype=torch.float64)
    theirs = Torch(logits=logits)
    ours = ContinuousBernoulli(logits)
    assert torch.allclose(ours.log_prob(x), theirs.log_prob(x), atol=1e-8)
    u = x.clamp(0.001, 0.999)
    assert torch.allclose(ours.icdf(u), theirs.icdf(u), atol=1e-7)


def test_gradient_is_smooth_through_a_half():
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    x = torch.full_like(logits, 0.3)
    ContinuousBernoulli(logits).log_prob(x).sum().backward()
    # d/dl log p = x - mean
    assert torch.allclose(logits.grad, 0.3 - ContinuousBernoulli(logits.detach()).mean, atol=1e-9)


def test_the_icdf_inverts_the_cdf_and_samples_have_the_moments():
    torch.manual_seed(0)
    logits = torch.tensor([-200.0, -2.0, -0.2, 0.005, 0.3, 5.0, 90.0], dtype=torch.float64)
    u = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)[:, None]
    x = ContinuousBernoulli(logits).icdf(u)
    assert torch.allclose(torch.expm1(-logits.abs() * torch.where(logits > 0, 1 - x, x)) / torch.expm1(-logits.abs()),
                          torch.where(logits > 0, 1 - u, u), atol=1e-6)  # fmt: skip
    p = ContinuousBernoulli(logits.float().requires_grad_())
    draws = p.rsample((40000,))
    draws.mean().backward()
    assert p.logits.grad.isfinite().all() and (p.logits.grad > 0).all()
    error = (draws.mean(0) - p.mean).abs() / (p.variance / 40000).sqrt()
    assert error.max() < 4


def test_logits_of_mean():
    mean = torch.tensor([0.01, 0.2, 0.4999, 0.5, 0.9, 0.99])
    assert torch.allclose(ContinuousBernoulli(logits_of_mean(mean)).mean, mean, atol=1e-6)
