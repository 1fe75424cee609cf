import pytest
import torch

from ppl_vae import priors


def test_starts_like_a_standard_normal_with_components_apart():
    torch.manual_seed(0)
    prior = priors.MixtureOfGaussians(16, components=50)
    p = prior()
    assert p.mean.abs().max() < 0.5 and (p.variance - 1).abs().max() < 0.4
    assert torch.pdist(prior.means).min() > 1
    assert torch.allclose(p.weights, torch.full((50,), 0.02))
    assert torch.allclose(p.scale, torch.tensor(0.5).sqrt())


def test_finds_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    labels = torch.arange(600) % 3
    z = centres[labels] + 0.3 * torch.randn(600, 2)
    prior = priors.MixtureOfGaussians(2, components=8)
    optimizer = torch.optim.Adam(prior.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior().log_prob(z).mean()).backward()
        optimizer.step()
    r = prior.responsibilities(z)
    assert r.shape == (600, 8) and torch.allclose(r.sum(-1), torch.ones(600))
    found = r.argmax(-1)
    assert all(len(labels[found == c].unique()) == 1 for c in found.unique())  # no component spans two clusters
    assert prior.responsibilities(torch.randn(4, 5, 2)).shape == (4, 5, 8)


@pytest.mark.parametrize("components", [0, -1, 2.5])
def test_bad_components(components):
    with pytest.raises(ValueError, match="components must be a whole number of at least 1"):
        priors.MixtureOfGaussians(2, components)
