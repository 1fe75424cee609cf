import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence


@pytest.mark.parametrize("low_rank", [True, False])
def test_equals_the_kl_between_full_covariances(low_rank):
    q = dist.LowRankMultivariateNormal(torch.randn(5, 3), torch.randn(5, 3, 2), 0.3 + torch.rand(5, 3))
    q = q if low_rank else dist.MultivariateNormal(q.loc, covariance_matrix=q.covariance_matrix)
    loc, scale = torch.randn(3), 0.5 + torch.rand(3)
    full = dist.MultivariateNormal(loc, scale_tril=scale.diag())
    for batch in ((5,), (4, 5)):
        p = dist.Normal(loc, scale).to_event(1).expand(batch)
        assert torch.allclose(kl_divergence(q.expand(batch), p), kl_divergence(q.expand(batch), full), atol=1e-4)


def test_other_priors_are_left_to_sampling():
    q = dist.MultivariateNormal(torch.zeros(3), torch.eye(3))
    with pytest.raises(NotImplementedError):
        kl_divergence(q, dist.Laplace(torch.zeros(3), 1.0).to_event(1))
