import inspect
import json
import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import networks, parts, posteriors, priors
from ppl_vae.networks import Conditioned, Label, Picture, Vector
from ppl_vae.priors import Given

Y = torch.tensor([0, 2, 1, 2])
LEARNED = [name for name in priors.__all__ if "learned" in inspect.signature(getattr(priors, name)).parameters]


def moved(prior, by=0.5):
    torch.manual_seed(0)
    nn.init.normal_(prior.move.weight, std=by)
    return prior


@pytest.mark.parametrize("name", [*(n for n in LEARNED if n != "Of"), "MixtureOfGaussians"])
def test_a_prior_for_each_label(name):
    """Row by row it is the prior with its parameters set by hand; at the start it is the prior."""
    cls = getattr(priors, name)
    base = cls(3, **({"learned": True} if name in LEARNED else {}))
    prior = Given(base, Label(3))
    assert prior.dim == 3 and prior.support is base.support
    z = prior(Y).sample((5,))
    assert z.shape == (5, 4, 3) and torch.allclose(prior(Y).log_prob(z), base().log_prob(z), atol=1e-5)
    log_prob = moved(prior)(Y).log_prob(z)
    for i, label in enumerate(Y):
        alone = cls(3, **({"learned": True} if name in LEARNED else {}))
        weights = prior.move.weight[:, label].split([p.numel() for p in base.parameters()])
        with torch.no_grad():
            for p, start, by in zip(alone.parameters(), base.parameters(), weights, strict=True):
                p.copy_(start + by.reshape(p.shape))
        assert torch.allclose(log_prob[:, i], alone().log_prob(z[:, i]), atol=1e-4)
    log_prob.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in prior.parameters())


def test_kl_by_hand():
    prior = moved(Given(priors.Normal(2, learned=True), Label(3)))
    q = dist.Normal(torch.randn(4, 2), torch.rand(4, 2) + 0.5).to_event(1)
    mean = prior.move.weight[:2].T[Y]
    scale = (math.log(math.e - 1) + prior.move.weight[2:].T[Y]).exp().log1p()
    expected = (scale / q.base_dist.scale).log() + (q.base_dist.variance + (q.mean - mean) ** 2) / (2 * scale**2) - 0.5
    assert torch.allclose(torch.distributions.kl_divergence(q, prior(Y)), expected.sum(1), atol=1e-5)


@pytest.mark.parametrize("condition", [Vector(), Vector(2), Picture((1, 2, 2)), Label(3, embedding=2)])
def test_every_condition(condition):
    prior = moved(Given(priors.Normal(2, learned=True), condition))
    y = torch.rand(4, *condition.event) if not isinstance(condition, Label) else Y
    mean = condition(y).flatten(1) @ prior.move.weight[:2].T
    assert torch.allclose(prior(y).mean, mean, atol=1e-6)


def test_numbers_in_double():
    prior = moved(Given(priors.Normal(2, learned=True), Vector())).double()
    assert prior(torch.rand(4, dtype=torch.float64)).mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Given(priors.Normal(2), Label(3)), "prior Normal has no learned parameters; use one"),
        (lambda: Given(priors.Flow(2), Label(3)), "prior Flow cannot depend on y: its parameters do not broadcast"),
        (lambda: Given(priors.Hierarchical(2), Label(3)), "prior Hierarchical cannot depend on y"),
        (
            lambda: Given(priors.VampPrior(posteriors.Normal(networks.MLP(6, [5]), 2), 4), Label(3)),
            "prior VampPrior cannot depend on y",
        ),
        (lambda: Given(priors.Normal(2, learned=True), Label(3))(), r"y is missing: .* conditional on Label\(3\)"),
        (lambda: Given(priors.Normal(2, learned=True), Label(3))(Y.float()), "y must hold whole numbers"),
    ],
)
def test_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_arguments_that_are_no_parts():
    with pytest.raises(TypeError, match="prior must be one of ppl_vae.priors"):
        Given(nn.Linear(2, 2), Label(3))
    with pytest.raises(TypeError, match="condition must be networks.Label, Vector or Picture, not 3"):
        Given(priors.Normal(2, learned=True), 3)


def test_a_prior_that_broadcasts_wrongly_is_found():
    class Sum(priors.Prior):
        """Of two data it takes the mean of both."""

        support = priors.Normal.support

        def __init__(self):
            super().__init__(2)
            self.mean = nn.Parameter(torch.zeros(2))

        def forward(self, y=None):
            mean = self.mean - self.mean.mean(0)
            return dist.Normal(mean, 1.0).to_event(1)

    with pytest.raises(ValueError, match="prior Sum cannot depend on y"):
        Given(Sum(), Label(3))


def test_described_and_rebuilt():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    prior = Given(priors.MixtureOfGaussians(2, 3), Label(3))
    again = parts.build(json.loads(json.dumps(parts.describe(prior))))
    again.load_state_dict(moved(prior).state_dict())
    z = torch.randn(4, 2)
    assert torch.equal(again(Y).log_prob(z), prior(Y).log_prob(z))
    torch.set_rng_state(state)
    assert posteriors.natural(Given(priors.Kumaraswamy(2, learned=True), Label(3))) is posteriors.Kumaraswamy


@pytest.mark.parametrize("family", ["Normal", "MultivariateNormal"])
def test_a_vamp_prior_of_a_conditional_posterior(family):
    posterior = getattr(posteriors, family)(Conditioned.around(networks.MLP, Label(3), 6, [5]), 2)
    prior = priors.VampPrior(posterior, 5)
    assert prior.shape == (6,)
    p, z = prior(Y), torch.randn(4, 2)
    assert p.batch_shape == (4,) and p.sample((7,)).shape == (7, 4, 2)
    for i, label in enumerate(Y):
        q = posterior(prior.pseudo_inputs, label.expand(5))
        expected = q.log_prob(z[i]).logsumexp(0) - math.log(5)
        assert torch.allclose(p.log_prob(z)[i], expected, atol=1e-5)
        assert torch.allclose(prior.responsibilities(z, Y)[i], q.log_prob(z[i]).softmax(0), atol=1e-5)
    with pytest.raises(ValueError, match="y is missing"):
        prior()
