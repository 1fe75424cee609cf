import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import VAE, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import inpaint
from tests.contracts import within

NAN = math.nan
W = torch.tensor([[1.0, 0.3], [-0.5, 0.8], [0.7, 0.7], [0.2, -1.0]])
NOISE = 0.5


class Exact(posteriors.Posterior):
    """The posterior of z ~ N(0, I), x | z ~ N(W z, s^2 I)."""

    support = dist.constraints.independent(dist.constraints.real, 1)

    def forward(self, x, y=None):
        covariance = torch.linalg.inv(torch.eye(2) + W.T @ W / NOISE**2)
        return dist.MultivariateNormal(x @ W @ covariance / NOISE**2, covariance)


def exact():
    likelihood = likelihoods.Normal(networks.MLP(2, []), 4, scale=NOISE)
    with torch.no_grad():
        likelihood.head.layer.weight.copy_(W)
        likelihood.head.layer.bias.zero_()
    return VAE(priors.Normal(2), Exact(nn.Identity(), 2), likelihood)


def test_a_chain_with_the_exact_posterior_finds_the_predictive_moments():
    seen, gone = [0, 2], [1, 3]
    x = torch.tensor([1.0, NAN, -0.5, NAN]).repeat(400, 1)
    done = inpaint(exact(), x, start=5.0, num_samples=400)
    joint = W @ W.T + NOISE**2 * torch.eye(4)
    gain = joint[gone][:, seen] @ torch.linalg.inv(joint[seen][:, seen])
    variance = (joint[gone][:, gone] - gain @ joint[seen][:, gone]).diagonal()
    assert torch.equal(done.x[:, seen], x[:, seen]) and torch.equal(done.missing, x.isnan())
    within(done.x[:, gone], gain @ torch.tensor([1.0, -0.5]))
    found = done.uncertainty[:, gone].square().mean(0) + done.x[:, gone].var(0)  # within and between the chains
    torch.testing.assert_close(found, variance, rtol=0.02, atol=0)
    assert (done.uncertainty[:, seen] == 0).all()


def test_an_autoencoder_is_iterated_to_its_fixed_point():
    class Projection(nn.Module, models.Codec):
        shape, code_shape, support, axes = (4,), (2,), None, torch.linalg.qr(W).Q
        code_support = dist.constraints.independent(dist.constraints.real, 1)

        def encode(self, x, y=None):
            return x @ self.axes

        def decode(self, z, y=None, *, like=None):
            return z @ self.axes.T

    x = torch.tensor([[1.0, NAN, -0.5, 2.0], [0.0, 1.0, NAN, 0.3]])
    done = inpaint(Projection(), x, start=torch.full((4,), 0.7), num_samples=1000)
    back = done.x @ Projection.axes @ Projection.axes.T
    torch.testing.assert_close(done.x[done.missing], back[done.missing])
    assert done.uncertainty[done.missing].isnan().all() and (done.uncertainty[~done.missing] == 0).all()


def test_binary_entries_the_start_and_the_seed():
    shape = (1, 4, 4)
    vae = VAE(
        priors.Normal(2),
        posteriors.Normal(networks.MLP(shape, [8]), 2),
        likelihoods.Bernoulli(networks.MLP(2, [8]), shape),
    )
    x = torch.ones(5, *shape)
    x[:, :, 2:] = NAN
    done = inpaint(vae, x, num_samples=10)
    assert ((done.x == 0) | (done.x == 1)).all() and (done.uncertainty <= 0.5).all()
    assert torch.equal(done.uncertainty, inpaint(vae, x, num_samples=10).uncertainty)
    assert not torch.equal(done.uncertainty, inpaint(vae, x, num_samples=10, seed=1).uncertainty)
    ae = models.Autoencoder(networks.MLP(shape, [8]), networks.MLP(2, [8]), 2, shape).eval()
    step = inpaint(ae, x, start=0.25, num_samples=1).x
    torch.testing.assert_close(step[:, :, 2:], ae(x.nan_to_num(0.25))[:, :, 2:])


def test_what_cannot_be_is_one_sentence():
    ae = models.Autoencoder(networks.MLP(3, [8]), networks.MLP(2, [8]), 2, 3)
    with pytest.raises(ValueError, match="holds 2, outside"):
        inpaint(ae, torch.tensor([[2.0, NAN, 0.0]]))
    with pytest.raises(TypeError, match="Linear is none"):
        inpaint(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="num_samples"):
        inpaint(ae, torch.zeros(1, 3), num_samples=0)
