import pytest
import torch
from torch import nn
from torch.distributions import constraints

from ppl_vae import VAE, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import continuity, near_data, random_codes, recognised
from tests.contracts import within


class Plane(nn.Module, models.Codec):
    """Codes are the data themselves; what is decoded is up to ``picture``."""

    shape, code_shape, support = (2,), (2,), None
    code_support = constraints.independent(constraints.real, 1)

    def __init__(self, picture=lambda z: z):
        super().__init__()
        self.picture = picture

    def encode(self, x, y=None):
        return x

    def decode(self, z, y=None, *, like=None):
        return self.picture(z)


def test_continuity_of_a_line_of_a_jump_and_of_a_curve():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 5, 2, generator=draw)
    torch.testing.assert_close(continuity(Plane(), a, b), torch.ones(5), rtol=1e-3, atol=0)
    left, right = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert continuity(Plane(lambda z: (z[:, :1] > 0.3).float().expand(-1, 2)), left, right, steps=40).item() == 40
    assert continuity(Plane(torch.zeros_like), left, right).item() == 1
    ahead, steps = torch.tensor([[1.0, 0.0]]), 20  # t^2 on [0, 1]: the last change is (1 - (1 - 1/T)^2) T of the mean
    found = continuity(Plane(torch.square), torch.zeros(1, 2), ahead, steps=steps).item()
    assert found == pytest.approx((1 - (1 - 1 / steps) ** 2) * steps, rel=1e-4)


def test_random_codes_have_the_moments_of_the_codes_or_come_from_the_prior():
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(1)) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + 3
    z = random_codes(Plane(), 20_000, x=x)
    within(z, x.mean(0))
    torch.testing.assert_close(z.T.cov(), x.T.cov(), rtol=0.05, atol=0.02)
    assert torch.equal(z, random_codes(Plane(), 20_000, x=x))
    assert not torch.equal(z, random_codes(Plane(), 20_000, x=x, seed=1))
    vae = VAE(priors.Normal(2), posteriors.Normal(networks.MLP(2, [4]), 2), likelihoods.Normal(networks.MLP(2, [4]), 2))
    within(random_codes(vae, 20_000), 0.0)


def test_what_cannot_be_is_one_sentence():
    ae = models.Autoencoder(networks.MLP(2, [4]), networks.MLP(2, [4]), 2, 2)
    x = torch.rand(9, 2)
    with pytest.raises(ValueError, match="steps must be a whole number of at least 2"):
        continuity(ae, x, x, steps=1)
    with pytest.raises(ValueError, match="x1 must have the shape of x0"):
        continuity(ae, x, x[:4])
    with pytest.raises(ValueError, match="n must be"):
        random_codes(ae, 0, x=x)
    with pytest.raises(ValueError, match="examples of one shape"):
        near_data(torch.rand(3, 5), x, x)
    with pytest.raises(ValueError, match="quantile must be a share"):
        near_data(x, x, x, quantile=2)
    with pytest.raises(ValueError, match="at least two classes"):
        recognised(x, x, torch.zeros(9), x)
