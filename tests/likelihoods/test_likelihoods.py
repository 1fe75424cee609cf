import itertools

import pytest
import torch
from contracts import check_likelihood
from instances import every, instance
from torch import nn

from ppl_vae import likelihoods, networks


@pytest.mark.parametrize("case", every("likelihoods"), ids=str)
def test_contract(case):
    check_likelihood(instance("likelihoods", case))


def test_bernoulli_masses_sum_to_one():
    p = likelihoods.Bernoulli(networks.MLP(2, [4]), 3)(torch.randn(2))
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    assert abs(p.log_prob(x).exp().sum().item() - 1) < 1e-6


@pytest.mark.parametrize("scale", [0.7, "learned", "pixel", "network"])
def test_normal_density_integrates_to_one(scale):
    p = likelihoods.Normal(networks.MLP(2, [4]), 1, scale=scale)(torch.randn(2))
    x = torch.linspace(-15, 15, 5001)[:, None]
    assert abs(torch.trapezoid(p.log_prob(x).exp(), x[:, 0]).item() - 1) < 1e-4


def test_normal_scale_words():
    network = networks.MLP(2, [4])
    z = torch.randn(5, 2)
    scales = {s: likelihoods.Normal(network, 3, scale=s)(z).base_dist.scale for s in (0.25, "learned", "pixel")}
    assert (scales[0.25] == 0.25).all()
    assert torch.allclose(scales["learned"], torch.ones(5, 3)) and torch.allclose(scales["pixel"], torch.ones(5, 3))
    assert likelihoods.Normal(network, 3, scale="learned").raw_scale.shape == ()
    assert likelihoods.Normal(network, 3, scale="pixel").raw_scale.shape == (3,)
    by_network = likelihoods.Normal(network, 3, scale="network")(z).base_dist.scale
    assert by_network.std(0).min() > 0 and 0.3 < by_network.mean() < 2


@pytest.mark.parametrize("scale", [0, -1.0, True, float("nan"), float("inf"), "pixels", None])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="scale must be a positive number, 'learned', 'pixel' or 'network'"):
        likelihoods.Normal(networks.MLP(2, [4]), 3, scale=scale)


@pytest.mark.parametrize(
    "decoder", [networks.MLP(2, []), networks.Conv.decoder(2, [3], (1, 4, 4))], ids=["mlp", "conv"]
)
def test_start_at_gives_the_data_mean(decoder):
    mean = torch.full((1, 4, 4), 0.2)
    likelihood = likelihoods.Bernoulli(decoder, (1, 4, 4)).start_at(mean)
    torch.nn.init.zeros_(likelihood.head.layer.weight)
    assert torch.allclose(likelihood(torch.randn(3, 2)).mean, mean.expand(3, 1, 4, 4), atol=1e-6)


def test_start_at_keeps_pixels_apart_and_clamps():
    mean = torch.tensor([0.0, 0.3, 1.0])
    likelihood = likelihoods.Bernoulli(networks.MLP(2, []), 3).start_at(mean)
    torch.nn.init.zeros_(likelihood.head.layer.weight)
    assert torch.allclose(likelihood(torch.zeros(2)).mean, torch.tensor([0.001, 0.3, 0.999]), atol=1e-6)
    normal = likelihoods.Normal(networks.MLP(2, []), 3, scale="network").start_at(mean)
    assert torch.equal(normal.head.bias(), mean)


@pytest.mark.parametrize("scale", ["learned", "pixel", "network", 0.7])
def test_start_at_starts_a_learned_scale_at_the_datas(scale):
    likelihood = likelihoods.Normal(networks.MLP(2, []), 3, scale=scale)
    likelihood.start_at(torch.zeros(3), torch.tensor([0.0, 0.3, 0.4]))
    torch.nn.init.zeros_(likelihood.head.layer.weight)
    expected = 0.7 if scale == 0.7 else ((0.3**2 + 0.4**2) / 3) ** 0.5
    assert torch.allclose(likelihood(torch.zeros(2)).base_dist.scale, torch.tensor(expected), atol=1e-6)


def test_start_at_refuses_another_shape():
    with pytest.raises(ValueError, match=r"mean must have the data's shape \(3,\), not \(4,\)"):
        likelihoods.Bernoulli(networks.MLP(2, []), 3).start_at(torch.zeros(4))


@pytest.mark.parametrize("scale", ["learned", "network"])
def test_a_network_that_does_not_state_its_out_shape(scale):
    likelihood = likelihoods.Normal(nn.Sequential(nn.Linear(2, 5), nn.ReLU()), (1, 4, 4), scale=scale)
    assert likelihood(torch.randn(4, 3, 2)).batch_shape == (4, 3)


def test_half_precision_features_give_float32_densities():
    likelihood = likelihoods.Normal(networks.MLP(2, [4]), 3)
    with torch.autocast("cpu", torch.bfloat16):
        p = likelihood(torch.randn(5, 2))
        assert p.mean.dtype == torch.float32 and p.log_prob(torch.zeros(5, 3)).dtype == torch.float32
