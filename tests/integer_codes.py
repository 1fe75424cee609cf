"""Small models with integer codes, untrained."""

import torch

from ppl_vae import code_priors, likelihoods, models, networks, quantizers

SHAPE = (1, 4, 4)


def grid_model(num_codes=6, prior=None):
    """A VQ-VAE of pictures, with codes on a grid of 2 x 2."""
    torch.manual_seed(1)
    return models.VQVAE(
        networks.Conv(SHAPE, [5], flatten=False),
        quantizers.VectorQuantizer(num_codes, 3),
        likelihoods.Bernoulli(networks.ConvTranspose((3, 2, 2), [5], SHAPE), SHAPE),
        prior,
    ).eval()


def table_model():
    """A VQ-VAE of rows of three numbers, with two codes of three values."""
    torch.manual_seed(1)
    likelihood = likelihoods.Normal(networks.MLP(4, [5]), 3)
    prior = code_priors.Transformer(8, 1, 2)
    return models.VQVAE(networks.MLP(3, [5]), quantizers.VectorQuantizer(3, 2), likelihood, prior).eval()


def pictures(n=30, seed=3):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)).round()
