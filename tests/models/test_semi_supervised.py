"""The semi-supervised VAE: its bound with all, some and no labels, against the CVAE's and against sums over y."""

import pytest
import torch
from torch.distributions import normal

from ppl_vae import SVI, data, estimators, evaluation, likelihoods, models, networks, objectives, posteriors, priors

X = (torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.5).float()
Y = torch.tensor([0, 2, 1, 1, 0, 2])
P = torch.tensor([0.5, 0.2, 0.3])


def tiny(classes=3, dim=2, spread=0.5):
    """A model of 5 bits whose parts depend on y, with an uneven p(y)."""
    label = networks.Label(classes)
    torch.manual_seed(1)
    model = models.SemiSupervisedVAE(
        priors.Given(priors.Normal(dim, learned=True), label),
        posteriors.Normal(networks.Conditioned(networks.MLP(5 + classes, [7]), label), dim),
        likelihoods.Bernoulli(networks.Conditioned(networks.MLP(dim + classes, [7]), label), 5),
        networks.MLP(5, [6]),
    )
    with torch.no_grad():
        for parameter in model.parameters():  # a learned prior starts the same for every y
            parameter.add_(spread * torch.randn_like(parameter))
    model.frequency.copy_(P)
    return model


def elbo(model, *batch, estimator=None):
    return SVI(model, estimator)(*batch).terms["elbo"]


@pytest.fixture
def no_noise(monkeypatch):
    """q(z | x, y) gives its mean, so that two estimators see the same z."""
    monkeypatch.setattr(normal, "_standard_normal", lambda shape, dtype, device: torch.zeros(shape, dtype=dtype))


def of_the_cvae(model, y):
    """log p(y) and the bound of the CVAE at y, (6,)."""
    return model.frequency.log()[y] + elbo(model.conditional, X, y, estimator=estimators.TraceELBO())


def summed(model):
    """The unlabelled bound, by a loop over y."""
    log_q = model.classify(X)
    each = torch.stack([of_the_cvae(model, torch.full((6,), y)) for y in range(3)], 1)
    return (log_q.exp() * (each - log_q)).sum(1)


def test_with_all_labels_the_bound_is_the_cvaes_and_log_p_of_y(no_noise):
    model = tiny()
    torch.testing.assert_close(elbo(model, X, Y), of_the_cvae(model, Y))


def test_without_labels_it_is_the_sum_over_y(no_noise):
    model = tiny()
    torch.testing.assert_close(elbo(model, X), summed(model))
    assert torch.equal(elbo(model, X), elbo(model, X, torch.full((6,), -1)))


def test_some_labels(no_noise):
    model, known = tiny(), torch.tensor([True, False, False, True, True, False])
    found = elbo(model, X, torch.where(known, Y, -1))
    torch.testing.assert_close(found, torch.where(known, of_the_cvae(model, Y), summed(model)))


def test_a_known_label_gives_the_classifier_no_gradient_and_an_unknown_one_does():
    model = tiny()
    for y, reached in ((Y, False), (torch.full((6,), -1), True)):
        model.zero_grad()
        SVI(model)(X, y).value.backward()
        assert any(bool(p.grad.any()) for p in model.classifier.parameters()) == reached


def test_given_y_the_likelihood_is_the_joint_whose_sum_over_y_is_that_of_x():
    model = tiny(spread=0.2).eval()
    with torch.no_grad():
        model.conditional.posterior.head.bias(1).add_(1.5)  # wider than p(z | x, y), for light-tailed weights
    every = [torch.full((6,), y) for y in range(3)]
    joint = torch.stack([evaluation.log_likelihood(model, X, y, num_particles=4000).value for y in every], -1)
    whole = evaluation.log_likelihood(model, X, num_particles=4000).value
    with torch.no_grad():
        z = torch.stack([model.prior(y).sample((4000,)) for y in every])
        x_given = model.conditional.likelihood(z, torch.stack(every).unsqueeze(1).expand(z.shape[:-1])).log_prob(X)
    drawn = (x_given.logsumexp(1) - torch.tensor(4000.0).log()).T + P.log()
    # log-weights spread by less than 1: at 4,000 of them the standard error is below 0.02, the joint's sum below that.
    torch.testing.assert_close(joint, drawn, atol=0.06, rtol=0)
    torch.testing.assert_close(joint.logsumexp(-1), whole, atol=0.06, rtol=0)


def test_garbage_labels_are_refused():
    with pytest.raises(ValueError, match=r"label 3 in row 1, but Label\(3\) takes 0 to 2"):
        SVI(tiny())(X, torch.tensor([0, 3, -1, -1, 0, 0]))


def test_a_stacked_model_classifies_codes_and_its_features_take_no_gradient():
    m1 = models.VAE(priors.Normal(3), likelihood=likelihoods.Bernoulli(networks.MLP(3, [6]), 5))
    decoder = networks.Conditioned(networks.MLP(2 + 3, [6]), networks.Label(3))
    stacked = models.StackedSemiSupervisedVAE(m1, priors.Normal(2), likelihood=likelihoods.Normal(decoder, 3))
    torch.testing.assert_close(stacked.predict(X), stacked.log_q(m1.encode(X)).exp())
    objective = objectives.SemiSupervised(stacked).train()
    objective(X, Y).value.backward()
    assert not any(p.grad is not None and p.grad.any() for p in m1.parameters())
    assert all(p.grad is not None for p in stacked.classifier.parameters())
    assert [stage.name for stage in objective.stages()] == ["features", ""]


@pytest.mark.parametrize(("given", "rows", "epochs"), [(7, 1437, 7), (None, 1437, 250), (None, 55_000, 20)])
def test_features_are_trained_for_3000_steps_where_it_is_not_said(given, rows, epochs):
    m1 = models.VAE(priors.Normal(3), likelihood=likelihoods.Bernoulli(networks.MLP(3, [6]), 5))
    decoder = networks.Conditioned(networks.MLP(2 + 3, [6]), networks.Label(3))
    likelihood = likelihoods.Normal(decoder, 3)
    objective = objectives.SemiSupervised(
        models.StackedSemiSupervisedVAE(m1, priors.Normal(2), likelihood=likelihood, pretrain=given)
    )
    objective.attach(data.as_split((torch.zeros(rows, 5), torch.full((rows,), -1))))
    assert objective.stages()[0].epochs == epochs


def test_drawn_without_labels_or_rows():
    model = tiny()
    assert model.model(n=3).shape == (3, 5) and model.guide(n=3).shape == (3, 2)
