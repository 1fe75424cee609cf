"""The auxiliary semi-supervised VAE: its bound by hand, and p(x), which a leaves as it is."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal, normal

from ppl_vae import SVI, estimators, evaluation, likelihoods, models, networks, objectives, posteriors, priors
from ppl_vae.models.averaged import beside
from ppl_vae.objectives.semi_supervised import classification_cost

D, A, DIM, CLASSES = 5, 3, 2, 3
X = (torch.rand(6, D, generator=torch.Generator().manual_seed(3)) < 0.5).float()
Y = torch.tensor([0, 2, 1, 1, 0, 2])
UNKNOWN = torch.full((6,), -1)
P = torch.tensor([0.5, 0.2, 0.3])


def parts(label, extra):
    """Prior, q(z | .), p(x | z, y) and classifier, of x with so many entries beside it."""
    return (
        priors.Given(priors.Normal(DIM, learned=True), label),
        posteriors.Normal(networks.Conditioned(networks.MLP(D + extra + CLASSES, [7]), label), DIM),
        likelihoods.Bernoulli(networks.Conditioned(networks.MLP(DIM + CLASSES, [7]), label), D),
        networks.MLP(D + extra, [6]),
    )


def tiny(spread=0.3, wrap=lambda likelihood: likelihood):
    label = networks.Label(CLASSES)
    torch.manual_seed(1)
    prior, posterior, likelihood, classifier = parts(label, A)
    reverse = posteriors.Normal(networks.Conditioned(networks.MLP(D + DIM + CLASSES, [7]), label), A)
    auxiliary = posteriors.Normal(networks.MLP(D, [6]), A)
    model = models.AuxiliaryVAE(prior, posterior, wrap(likelihood), classifier, auxiliary=auxiliary, reverse=reverse)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
        for part, wider in ((posterior, 1.5), (auxiliary, 1.5), (reverse, 1.0)):  # for light-tailed weights
            part.head.layer.weight[part.dim :] = 0
            part.head.bias(1).add_(wider)
    model.frequency.copy_(P)
    return model


def elbo(model, *batch, estimator=None):
    return SVI(model, estimator)(*batch).terms["elbo"]


@pytest.fixture
def noise(monkeypatch):
    """Every draw of a Normal has noise 0.3, so that two computations see the same a and z; the shapes drawn."""
    drawn = []

    def fixed(shape, dtype, device):
        drawn.append(tuple(shape))
        return torch.full(shape, 0.3, dtype=dtype)

    monkeypatch.setattr(normal, "_standard_normal", fixed)
    return drawn


def by_hand(model, known):
    """The bound of each example with a and z at 0.3 standard deviations from their means."""
    q_a = model.auxiliary(X).base_dist
    a = q_a.loc + 0.3 * q_a.scale
    both = torch.cat([X, a], 1)
    q_y, each = model.log_q(both), []
    for value in range(CLASSES):
        y = torch.full((6,), value)
        q_z, p_z = model.conditional.posterior.posterior(both, y).base_dist, model.prior(y).base_dist
        z = q_z.loc + 0.3 * q_z.scale
        p_a = model.reverse(torch.cat([X, z], 1), y).base_dist
        log_p = P[value].log() + p_z.log_prob(z).sum(1) + model.likelihood(z, y).log_prob(X)
        log_p = log_p + Normal(p_a.loc, p_a.scale).log_prob(a).sum(1)
        each.append(log_p - q_a.log_prob(a).sum(1) - q_z.log_prob(z).sum(1))
    each = torch.stack(each, 1)
    of_known = each.gather(1, Y[:, None])[:, 0]
    return torch.where(known, of_known, (q_y.exp() * (each - q_y)).sum(1))


@pytest.mark.parametrize("known", [[1] * 6, [0] * 6, [1, 0, 0, 1, 1, 0]])
def test_the_bound_is_that_computed_by_hand(noise, known):
    model, known = tiny(), torch.tensor(known).bool()
    found = elbo(model, X, torch.where(known, Y, -1))
    drawn = math.prod(noise[-2])
    torch.testing.assert_close(found, by_hand(model, known))
    assert drawn == 6 * A, "all classes share one draw of a"


def test_several_particles_have_the_mean_of_one():
    """The bound is unbiased in K: 4,000 single draws beside one run with 4,000."""
    model = tiny().eval()
    with torch.no_grad():
        many = elbo(model, X, UNKNOWN, estimator=estimators.Enum(num_particles=4000))
        each = elbo(model, X.repeat(4000, 1), UNKNOWN.repeat(4000)).reshape(4000, 6)
    error = each.std(0) * math.sqrt(2 / 4000)
    assert ((many - each.mean(0)).abs() < 4 * error).all()
    assert torch.equal(many.isfinite(), torch.ones(6).bool())


def test_a_known_label_gives_the_classifier_no_gradient_and_an_unknown_one_does():
    model = tiny()
    for y, reached in ((Y, False), (UNKNOWN, True)):
        model.zero_grad()
        SVI(model)(X, y).value.backward()
        assert any(bool(p.grad.any()) for p in model.classifier.parameters()) == reached
        for part in (model.auxiliary, model.reverse, model.conditional.posterior.posterior, model.likelihood):
            assert all(bool(p.grad.any()) for p in part.parameters())


def without_a(p_a_is_q_a):
    """A SemiSupervisedVAE, and an AuxiliaryVAE of the same p(x, y, z) and q(y, z | x), which do not look at a."""
    model, label = tiny(0.2), networks.Label(CLASSES)
    plain = models.SemiSupervisedVAE(*parts(label, 0))
    plain.frequency.copy_(P)
    with torch.no_grad():
        inner = model.conditional.posterior.posterior
        for own in (inner.network.layers.layers[1], model.classifier.layers[1]):
            own.weight[:, D : D + A] = 0
        if p_a_is_q_a:
            for part in (model.auxiliary, model.reverse):
                part.head.layer.weight.zero_()
                part.head.layer.bias.copy_(torch.arange(2.0 * A) / 7)
        plain.conditional.prior.load_state_dict(model.conditional.prior.state_dict())
        plain.likelihood.load_state_dict(model.likelihood.state_dict())
        pairs = [(plain.conditional.posterior, inner), (plain.classifier, model.classifier), (plain.head, model.head)]
        for mine, other in pairs:
            state = other.state_dict()
            kept = [i for i in range(D + A + CLASSES) if not D <= i < D + A]
            for name, value in mine.state_dict().items():
                source = state[name]
                if source.dim() == 2 and source.shape[1] > value.shape[1]:
                    source = source[:, [i for i in kept if i < source.shape[1]]]
                value.copy_(source)
    return plain.eval(), model.eval()


def test_where_nothing_depends_on_a_it_is_the_semi_supervised_vae(noise):
    plain, model = without_a(True)
    for y in (Y, UNKNOWN):
        torch.testing.assert_close(elbo(model, X, y), elbo(plain, X, y))
    torch.testing.assert_close(evaluation.predict(model, X), evaluation.predict(plain, X))


@pytest.mark.parametrize("p_a_is_q_a", [True, False])
def test_a_leaves_the_likelihood_of_x_as_it_is(p_a_is_q_a):
    plain, model = without_a(p_a_is_q_a)
    for batch in ((X,), (X, Y)):
        one, other = (evaluation.log_likelihood(m, *batch, num_particles=4000) for m in (plain, model))
        error = (one.stderr.square() + other.stderr.square()).sqrt()
        assert error.max() < 0.15
        assert ((one.value - other.value).abs() < 4 * error + 1e-3).all()


def test_predictions_average_over_a():
    model = tiny(1.0).eval()
    with torch.no_grad():
        a = model.auxiliary(X).sample((20_000,))
        each = model.log_q(beside(X, a, 1)).exp()
        found = torch.stack([evaluation.predict(model, X)])
        at_the_mean = model.log_q(beside(X, model.auxiliary(X).mean, 1)).exp()
    error = each.std(0) / math.sqrt(32)  # of 32 draws
    assert ((found[0] - each.mean(0)).abs() < 4.5 * error + 1e-6).all()
    assert ((at_the_mean - each.mean(0)).abs() > 0.01).any(), "the average is not the value at the mean"
    torch.testing.assert_close(found[0].sum(1), torch.ones(6))


def test_the_classification_term_is_the_mean_of_minus_log_q_at_draws_of_a():
    model, y = tiny(1.0), torch.where(torch.arange(6) < 4, Y, -1)
    with torch.no_grad():
        found = torch.stack([classification_cost(model, X, y) for _ in range(4000)])
        each = -model.log_q(beside(X, model.auxiliary(X).sample((4000,)), 1))[:, range(4), Y[:4]].mean(1)
    error = math.hypot(found.std().item(), each.std().item()) / math.sqrt(4000)
    assert abs(found.mean() - each.mean()) < 4 * error
    assert each.mean() > -model.classify(X)[range(4), Y[:4]].mean() + 4 * error
    classification_cost(model, X, y).backward()
    assert all(bool(p.grad.any()) for p in (*model.auxiliary.parameters(), *model.classifier.parameters()))


def moments_of_z(model, y, draws=20_000):
    with torch.no_grad():
        a = model.auxiliary(X).sample((draws,))
        z = model.conditional.posterior.posterior(beside(X, a, 1), y.expand(draws, -1)).sample()
    return z.mean(0), z.var(0)


def test_codes_and_their_kl_are_of_the_posterior_averaged_over_a():
    model = tiny(1.0).eval()
    mean, variance = moments_of_z(model, Y)
    found = evaluation.codes(model, X, Y)
    assert ((found - mean).abs() < 4.5 * (variance / 32).sqrt()).all()
    with torch.no_grad():
        p = model.prior(Y).base_dist
    exact = 0.5 * ((variance + (mean - p.loc) ** 2) / p.scale**2 - 1 - (variance / p.scale**2).log())
    by_dimension = evaluation.kl_by_dimension(model, X, Y, num_particles=10_000)
    torch.testing.assert_close(by_dimension, exact.mean(0), rtol=0.05, atol=0.02)  # 10,000 draws of each moment


def test_draws_with_their_weights_estimate_the_likelihood():
    model = tiny(0.2).eval()
    for y in (None, torch.where(torch.arange(6) < 3, Y, -1)):
        with torch.no_grad():
            label, z, ratio = model.draw(X, y, 8000)
            log_w = model.likelihood(z, label).log_prob(X) + ratio
        value = log_w.logsumexp(0) - math.log(8000)
        exact = evaluation.log_likelihood(model, X, y, num_particles=8000)
        assert ((value - exact.value).abs() < 6 * exact.stderr + 1e-3).all()
        assert y is None or (label[:, :3] == Y[:3]).all()


def test_networks_that_turn_missing_entries_into_nan_are_refused():
    with pytest.raises(ValueError, match="the network of auxiliary gives NaN where entries of x are missing"):
        tiny(wrap=likelihoods.Missing)


def test_it_trains_and_generates():
    model = tiny()
    objective = objectives.SemiSupervised(model).train()
    loss = objective(X, torch.where(torch.arange(6) < 3, Y, -1))
    assert loss.value.isfinite() and loss.terms["classification"] > 0
    assert model.model(y=Y).shape == (6, D) and model.guide(n=4).shape == (4, DIM)
    assert evaluation.sample_draws(model.eval(), 7).shape == (7, D)
    figures = evaluation.evaluate(model, (X, Y), num_particles=20)
    assert {"accuracy", "label_kl", "log_likelihood", "active_units"} <= figures.keys()
    q = Categorical(evaluation.predict(model, X))
    assert 0 <= figures["label_kl"] < math.log(CLASSES) / P.min() and q.probs.shape == (6, CLASSES)


def test_refused():
    label = networks.Label(CLASSES)
    prior, posterior, likelihood, classifier = parts(label, A)
    small = posteriors.Normal(networks.MLP(D, [6]), A)
    make = models.AuxiliaryVAE
    for arguments, message in (
        ({"posterior": parts(label, 0)[1]}, r"network of posterior takes \(5,\), but is given 5 \+ 3 = 8 entries"),
        ({"classifier": networks.MLP(D, [6])}, r"network of classifier takes \(5,\), but is given 5 \+ 3 = 8 entries"),
        ({"reverse": posteriors.Normal(networks.MLP(D + A, [6]), A)}, r"of reverse takes \(8,\), .* of x and of z"),
        ({"reverse": posteriors.Normal(networks.MLP(D + DIM, [6]), 2)}, "must have the dim and the support of aux"),
        ({"auxiliary": networks.MLP(D)}, "auxiliary must be one of ppl_vae.posteriors"),
        ({"likelihood": None}, "likelihood must be a Likelihood of ppl_vae, not None"),
        ({"prior": priors.VampPrior(posteriors.Normal(networks.MLP(D), DIM))}, "made of a posterior of x alone"),
        (
            {
                "prior": priors.Normal(DIM),
                "posterior": None,
                "likelihood": likelihoods.Bernoulli(networks.MLP(DIM, [7]), D),
            },
            "no part of the CVAE is conditional",
        ),
    ):
        given = {"prior": prior, "posterior": posterior, "likelihood": likelihood, "auxiliary": small}
        with pytest.raises((ValueError, TypeError), match=message):
            make(**given | {"classifier": classifier} | arguments)
    with pytest.raises(ValueError, match=r"label 3 in row 1, but Label\(3\) takes 0 to 2"):
        SVI(tiny())(X, torch.tensor([0, 3, -1, -1, 0, 0]))
