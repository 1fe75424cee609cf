import inspect
import json
import math

import pyro.distributions as dist
import pytest
import torch
from contracts import normalised
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
        (lambda: Given(priors.Beta(2), Label(3)), "prior Beta has no learned parameters; use one"),
        (
            lambda: Given(priors.VampPrior(posteriors.Beta(networks.MLP(6, [5]), 2), 4), Label(3)),
            "prior VampPrior depends on y where its posterior does: give that a networks.Conditioned",
        ),
        (
            lambda: Given(Given(priors.Normal(2, learned=True), Label(3)), Label(3)),
            r"prior Given depends on y, Label\(3\), already",
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

        support = priors.LogNormal(2).support

        def __init__(self):
            super().__init__(2)
            self.mean = nn.Parameter(torch.zeros(2))

        def forward(self, y=None):
            mean = self.mean - self.mean.mean(0)
            return dist.LogNormal(mean, 1.0).to_event(1)

    with pytest.raises(ValueError, match="prior Sum cannot depend on y"):
        Given(Sum(), Label(3))
    Sum.support = priors.Normal.support
    Sum.forward = lambda self, y=None: dist.Normal(self.mean - self.mean.mean(0), 1.0).to_event(1)
    assert Given(Sum(), Label(3)).moves_codes  # real codes can be moved, whatever the parameters


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


def every_prior():
    """A learned instance of every exported prior that has one, else one on the real vectors, which Given can move."""
    for name in priors.__all__:
        cls = getattr(priors, name)
        if name == "VampPrior":
            yield name, lambda: priors.VampPrior(posteriors.Normal(networks.MLP(6, [5], "tanh"), 2), 4, inputs="real")
        elif name == "Of":
            yield name, lambda: priors.Of(dist.Gumbel, 2)
        elif name == "Hyperspherical":  # whose direction counts once it is concentrated
            yield name, lambda: priors.Hyperspherical(2, 1.0, learned=True)
        elif name in LEARNED:
            yield name, lambda cls=cls: cls(2, learned=True)
        elif name not in ("Given", "Uniform"):
            yield name, lambda cls=cls: cls(2)
    for cls in (priors.Normal, priors.Laplace, priors.Logistic, priors.StudentT, priors.MultivariateNormal):
        yield f"{cls.__name__}, fixed", lambda cls=cls: cls(2)


EVERY = dict(every_prior())


@pytest.mark.parametrize("kind", EVERY)
def test_every_family_of_prior(kind):
    """Normalised for every y, the prior at the start, another for each y later, with gradients and batch shapes."""
    torch.manual_seed(2)
    base = EVERY[kind]()
    prior = Given(base, Label(3))
    z = prior(Y).sample((5,))
    assert z.shape == (5, 4, 2) and prior.support.check(z).all()
    assert torch.allclose(prior(Y).log_prob(z), base().log_prob(z), atol=1e-4)
    moved(prior)
    p = prior(Y)
    assert p.batch_shape == (4,) and p.event_shape == (2,)
    wide = p.expand((3, 4))
    assert wide.batch_shape == (3, 4) and wide.sample((5,)).shape == (5, 3, 4, 2)
    z = p.sample((5,))
    assert prior.support.check(z).all()
    log_prob = p.log_prob(z)
    assert log_prob.shape == (5, 4) and not torch.allclose(log_prob, base().log_prob(z), atol=0.05)
    assert torch.equal(p.log_prob(z[:, 1:2])[:, 1], p.log_prob(z[:, 1:2])[:, 3])  # rows of one label
    log_prob.sum().backward()
    assert prior.move.weight.grad.isfinite().all() and prior.move.weight.grad.abs().sum() > 0
    if not isinstance(base, priors.VampPrior):
        assert all(q.grad is not None and q.grad.isfinite().all() for q in base.parameters())
    double = Given(EVERY[kind]().double(), Label(3))
    double = moved(double.double(), 0.3)
    for label in range(3):
        normalised(double(torch.tensor(label)), prior.support)


@pytest.mark.parametrize("kind", ["Flow", "Hierarchical", "VampPrior", "Normal, fixed"])
def test_codes_are_moved(kind):
    """z = m(y) + s(y) u by hand: density, draws of one seed, moments and the KL where it is known."""
    torch.manual_seed(2)
    base = EVERY[kind]()
    prior = moved(Given(base, Label(3)), 0.7)
    assert prior.moves_codes and not Given(priors.Normal(2, learned=True), Label(3)).moves_codes
    shift, raw = prior.move.weight.T[Y].chunk(2, 1)
    scale = (raw + math.log(math.e - 1)).exp().log1p()
    z = torch.randn(4, 2)
    expected = base().log_prob((z - shift) / scale) - scale.log().sum(1)
    assert torch.allclose(prior(Y).log_prob(z), expected, atol=1e-4)
    torch.manual_seed(5)
    u = base().expand((4,)).sample((3,))
    torch.manual_seed(5)
    assert torch.allclose(prior(Y).sample((3,)), shift + scale * u, atol=1e-5)
    if kind == "Normal, fixed":
        q = dist.Normal(torch.randn(4, 2), torch.rand(4, 2) + 0.5).to_event(1)
        known = torch.distributions.kl_divergence(q, dist.Normal(shift, scale).to_event(1))
        assert torch.allclose(torch.distributions.kl_divergence(q, prior(Y)), known, atol=1e-5)
        assert torch.allclose(prior(Y).mean, shift) and torch.allclose(prior(Y).variance, scale**2)


@pytest.mark.parametrize("kind", ["Flow", "VampPrior", "MixtureOfGaussians"])
def test_it_learns_where_codes_of_a_class_are(kind):
    torch.manual_seed(3)
    prior = Given(EVERY[kind](), Label(2))
    y = torch.arange(200) % 2
    z = torch.randn(200, 2) * 0.5 + torch.where(y == 1, 2.0, -1.0)[:, None]
    before = prior(y).log_prob(z).mean().item()
    optimizer = torch.optim.Adam(prior.parameters(), 0.05)
    for _ in range(80):
        optimizer.zero_grad()
        (-prior(y).log_prob(z).mean()).backward()
        optimizer.step()
    truth = dist.Normal(torch.where(y == 1, 2.0, -1.0)[:, None].expand(200, 2), 0.5).to_event(1).log_prob(z).mean()
    after = prior(y).log_prob(z).mean().item()
    assert before < truth - 1 and after > truth - 0.3, (before, after, truth)
