"""Denoising, anomalies, compression and what can be read off codes, against counts and closed forms."""

import math

import pytest
import torch
from instances import SHAPE, plain, vae
from torch import nn

from ppl_vae import evaluation, models, networks

X = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1))


def identity(dim=3):
    """An autoencoder that gives back what it gets."""
    ae = models.Autoencoder(networks.MLP(dim, []), networks.MLP(dim, []), dim, dim, output="identity")
    for head in (ae.to_code, ae.to_data):
        nn.init.eye_(head.layer.weight)
        nn.init.zeros_(head.layer.bias)
    return ae


def test_denoise_is_the_picture_of_the_code():
    ae, q = models.Autoencoder(*plain()), vae()
    assert torch.allclose(evaluation.denoise(ae, X), ae(X))
    assert torch.allclose(evaluation.denoise(q, X), q.likelihood(q.posterior(X).mean).mean, atol=1e-6)


def test_anomaly_scores_are_errors_or_negative_log_likelihoods():
    ae, q, binary = models.Autoencoder(*plain()), vae(), X.round()
    assert torch.equal(evaluation.anomaly_scores(ae, X), evaluation.reconstruction_error(ae, X))
    assert torch.equal(
        evaluation.anomaly_scores(q, binary, score="reconstruction"), evaluation.reconstruction_error(q, binary)
    )
    found = evaluation.log_likelihood(q, binary, num_particles=10, seed=3).value
    assert torch.equal(evaluation.anomaly_scores(q, binary, num_particles=10, seed=3), -found)
    with pytest.raises(TypeError, match="Autoencoder has no log-likelihood"):
        evaluation.anomaly_scores(ae, X, score="log-likelihood")
    with pytest.raises(ValueError, match="score 'error' is unknown; choose from auto, log-likelihood, reconstruction"):
        evaluation.anomaly_scores(ae, X, score="error")


def test_compression_of_the_identity_is_uniform_quantisation():
    train = torch.rand(50_000, 3)
    train[0], train[1] = 0.0, 1.0
    x = torch.rand(4000, 3)
    for levels in (2, 9, 65):
        found = evaluation.compress(identity(), x, train=train, levels=levels)
        step = 1 / (levels - 1)
        assert torch.allclose(found.distortion, ((x / step).round() * step - x).square().sum(1), atol=1e-5)
        assert found.distortion.mean().item() == pytest.approx(3 * step**2 / 12, rel=0.05)
        ends = torch.full((levels,), step, dtype=torch.float64)
        ends[[0, -1]] /= 2
        entropy = -(ends * ends.log2()).sum().item()  # bits of a uniform entry
        assert found.rate.mean().item() == pytest.approx(3 * entropy, rel=0.01)


def test_the_rate_is_a_code_length_under_the_training_frequencies():
    train, x = torch.randn(300, 3), 3 * torch.randn(50, 3)
    found = evaluation.compress(identity(), x, train=train, levels=5)
    low, high = train.amin(0), train.amax(0)
    cells = lambda z: ((z - low) / (high - low) * 4).round().clamp(0, 4).long()  # noqa: E731
    for i in (0, 17):
        shares = [((cells(train)[:, j] == cells(x)[i, j]).sum() + 1).item() / 305 for j in range(3)]
        assert found.rate[i].item() == pytest.approx(-sum(map(math.log2, shares)), rel=1e-5)
    with pytest.raises(ValueError, match="levels must be a whole number of at least 2, not 1"):
        evaluation.compress(identity(), x, train=train, levels=1)


def test_compression_of_a_constant_code_costs_next_to_nothing():
    found = evaluation.compress(identity(), torch.ones(5, 3), train=torch.ones(1000, 3), levels=4)
    assert found.rate.max() < 0.02 and found.distortion.max() < 1e-10


def test_they_leave_the_model_and_the_random_state_alone():
    ae = models.DenoisingAutoencoder(*plain(), nn.Dropout(0.5))
    before = torch.get_rng_state()
    for job in (evaluation.denoise, evaluation.anomaly_scores, lambda ae, x: evaluation.compress(ae, x, train=x)):
        job(ae, X)
    assert torch.equal(torch.get_rng_state(), before) and ae.training
