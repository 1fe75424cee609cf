"""The CVAE benchmark: the tutorial as written there and the model through ppl_vae are one model."""

import math

import pyro
import pytest
import torch
from torch import nn

from benchmarks import cvae
from ppl_vae import data, evaluation, networks

SHAPE = (1, 8, 8)
OPTIONS = {"hidden": (16, 16), "dim": 3}


def copied(ours, theirs):
    """Put a network of ours, hidden layers and outputs, into one of the tutorial's."""
    hidden, out = ours
    pairs = zip(
        [*(m for m in hidden.modules() if isinstance(m, nn.Linear)), out],
        [theirs[1], theirs[3], theirs[5]],
        strict=True,
    )
    for mine, other in pairs:
        other.weight.copy_(mine.weight)
        other.bias.copy_(mine.bias) if mine.bias is not None else other.bias.zero_()


@pytest.mark.parametrize("observed", [1, 3])
def test_same_weights_give_the_same_negative_elbo(observed):
    """Scales apart, exp there and softplus here: those of the prior and the posterior are made constant."""
    torch.manual_seed(0)
    guessed, ours = cvae.build(SHAPE, observed, cvae.Grey, **OPTIONS)
    x, d = torch.rand(40, *SHAPE), 3
    with torch.no_grad():
        nn.init.normal_(ours.prior.move.weight[:d])
        ours.prior.move.weight[d:] = 0
        ours.posterior.head.layer.weight[d:] = 0
        ours.posterior.head.layer.bias[d:] = 0.3
        baseline = cvae.Layers(64, (16, 16), 64)
        copied((guessed.network, guessed.head.layer), baseline)
        theirs = cvae.Tutorial(baseline, networks.Quadrants(SHAPE, observed).mask, (16, 16), d)
        copied((ours.prior.network, ours.prior.move), theirs.prior)
        copied((ours.posterior.network, ours.posterior.head.layer), theirs.encoder)
        copied((ours.likelihood.network, ours.likelihood.head.layer), theirs.decoder)
        theirs.prior[5].bias[d:] = ours.prior(x).base_dist.scale[0].log()
        theirs.encoder[5].bias[d:] = ours.posterior(x).base_dist.scale[0].log()
        elbo = pyro.infer.Trace_ELBO(num_particles=200)
        expected = elbo.loss(theirs.model, theirs.guide, x.flatten(1)) / 40
    found = -evaluation.elbo(ours, x, num_particles=200).elbo
    assert math.isclose(found.mean().item(), expected, rel_tol=5e-3)


def test_both_systems_learn_and_say_what_they_found():
    digits = data.load("digits", binarize="none")
    x, test = digits.train.x[:300], digits.test.x[:100]
    rows = [
        system(x, test, observed=1, epochs=3, seed=0, hidden=(64, 64), dim=8) for system in (cvae.by_pyro, cvae.by_us)
    ]
    for row in rows:
        assert row["epochs"] == 3 and row["baseline"] < 48 * math.log(2)
        assert row["negative_elbo"] < 48 * math.log(2)  # of a coin for each of the 48 pixels
    row = cvae.binarized(data.load("digits", binarize="dynamic"), 2, 1, 20, 0, hidden=(32, 32), dim=4)
    assert -32 * math.log(2) < row["log_likelihood"] < 0
