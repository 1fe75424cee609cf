import pytest
import torch
from contracts import check_posterior
from instances import every, instance

from ppl_vae import networks, posteriors

NAMED = [name for name in posteriors.__all__ if name != "Of"]


@pytest.mark.parametrize("case", every("posteriors"), ids=str)
def test_contract(case):
    check_posterior(instance("posteriors", case))


def test_multivariate_normal_covariance_is_that_of_mean_plus_l_eps():
    q = posteriors.MultivariateNormal(networks.MLP(2, [4]), 3)(torch.randn(2, 2))
    tril = q.scale_tril
    assert torch.equal(tril, tril.tril()) and (tril.diagonal(dim1=-2, dim2=-1) > 0).all()
    z = q.sample((100_000,))
    covariance = torch.stack([z[:, i].T.cov() for i in range(2)])
    expected = tril @ tril.mT
    # Standard error of a sample covariance: sqrt((s_ii s_jj + s_ij^2) / n); 5 of them.
    variances = expected.diagonal(dim1=-2, dim2=-1)
    error = ((variances[:, :, None] * variances[:, None] + expected**2) / 100_000).sqrt()
    assert ((covariance - expected).abs() < 5 * error).all()


def test_multivariate_normal_covers_correlated_codes():
    posterior = posteriors.MultivariateNormal(networks.MLP(2, []), 2)
    target = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    optimizer = torch.optim.Adam(posterior.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        torch.distributions.kl_divergence(posterior(torch.ones(1, 2)), target).sum().backward()
        optimizer.step()
    assert torch.allclose(posterior(torch.ones(1, 2)).covariance_matrix[0], target.covariance_matrix, atol=0.01)


@pytest.mark.parametrize("name", NAMED)
def test_no_network(name):
    with pytest.raises(TypeError, match="network must be a torch.nn.Module"):
        getattr(posteriors, name)([200], 2)


@pytest.mark.parametrize("name", NAMED)
def test_density_is_finite_where_the_scale_underflows(name):
    posterior = getattr(posteriors, name)(networks.MLP(2, []), 2)
    far = 10.0 if name == "LogNormal" else 1e4  # exp(1e4) is no float32 number
    q = posterior(torch.full((1, 2), far))
    assert q.log_prob(q.sample()).isfinite().all()
    q = posterior(torch.full((1, 2), -far))
    assert q.log_prob(q.sample()).isfinite().all()
