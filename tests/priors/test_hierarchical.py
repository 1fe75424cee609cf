import pytest
import torch
from contracts import within
from instances import SHAPE, vae

from ppl_vae import SVI, evaluation, networks, posteriors, priors

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)).bernoulli()


@pytest.mark.parametrize("layers", [2, 3, [3, 2, 1]])
@pytest.mark.parametrize("matching", [True, False])
def test_trains_and_evaluates(layers, matching):
    network = networks.MLP(SHAPE, [5])
    posterior = posteriors.Hierarchical(network, 6, layers, [4]) if matching else posteriors.Normal(network, 6)
    model = vae(6, prior=priors.Hierarchical(6, layers, [4]), posterior=posterior)
    loss = SVI(model)(X)
    loss.value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert evaluation.log_likelihood(model, X, num_particles=10).value.isfinite().all()
    assert model.model(n=3).shape == (3, *SHAPE)


def test_layers_depend_on_each_other_from_the_top_down():
    prior = priors.Hierarchical(2, hidden=[16])
    optimizer = torch.optim.Adam(prior.parameters(), 0.02)
    z2 = torch.randn(2000, 1)
    target = torch.cat([z2.sin() * 2 + 0.1 * torch.randn(2000, 1), z2], -1)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior().log_prob(target).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        z = prior().sample((4000,))
        residual = z[:, 0] - 2 * z[:, 1].sin()
        assert residual.std() < 0.4 and z[:, 0].std() > 1
        within(z[:, 1], 0.0)
        within(z[:, 1].square(), 1.0)


def test_the_posterior_goes_from_the_bottom_up():
    posterior = posteriors.Hierarchical(networks.MLP(3, []), 3, [2, 1])
    q = posterior(torch.randn(5, 3))
    z = q.rsample((4,))
    first = q.first.log_prob(z[..., :2])
    second = posterior.conditionals[0](z[..., :2]).log_prob(z[..., 2:])
    assert torch.allclose(q.log_prob(z), first + second)


@pytest.mark.parametrize(
    "make", [lambda *a: priors.Hierarchical(*a), lambda *a: posteriors.Hierarchical(networks.MLP(3, []), *a)]
)
def test_bad_arguments(make):
    with pytest.raises(ValueError, match="layers must be two or more sizes that add up to dim 4"):
        make(4, [1, 2])
    with pytest.raises(ValueError, match="dim must be at least the 3 layers"):
        make(2, 3)
