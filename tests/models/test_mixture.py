"""The mixture VAE: its bound is that of the marginal prior, its assignments are Bayes' rule, its training resumes."""

import copy
import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from torch import nn

from ppl_vae import SVI, VAE, estimators, evaluation, fit, likelihoods, models, networks, objectives, posteriors, priors
from ppl_vae.statistics.clusters import cluster_accuracy, cluster_agreement, confusion, matched
from ppl_vae.training.capture import Captured

X = torch.rand(50, 6, generator=torch.Generator().manual_seed(5)).round()


def made(components=4, dim=2, seed=0):
    torch.manual_seed(seed)
    prior = priors.MixtureOfGaussians(dim, components)
    with torch.no_grad():
        prior.logits.add_(torch.randn(components))
        prior.raw_scales.add_(0.5 * torch.randn(components, dim))
    posterior = posteriors.Normal(networks.MLP(6, [8]), dim)
    return models.MixtureVAE(prior, posterior, likelihoods.Bernoulli(networks.MLP(dim, [8]), 6))


def marginal(mixture):
    """The same parts without the site y, built here and not by the model."""
    return VAE(mixture.prior, mixture.posterior, mixture.likelihood)


def step(model, estimator, beta=1.0):
    model.zero_grad()
    torch.manual_seed(3)
    loss = SVI(model, estimator, beta)(X[:7])
    loss.value.backward()
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


# The bound


@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("k", [1, 3])
def test_the_sum_over_components_is_the_bound_of_the_marginal_prior(k, beta):
    mixture = made()
    plain = marginal(mixture)
    with_site, gradients = step(mixture, estimators.Enum(k), beta)
    without, expected = step(plain, estimators.TraceELBO(k), beta)
    for name in ("elbo", "reconstruction", "kl"):
        assert torch.allclose(with_site.terms[name], without.terms[name], atol=1e-5)
    assert torch.allclose(with_site.value, without.value, atol=1e-5)
    if beta:
        assert len(gradients) == len(expected) == len([*mixture.parameters()])
    assert all(map(lambda a, b: torch.allclose(a, b, atol=1e-5), gradients, expected))


def test_pyros_own_enumeration_agrees():
    mixture = made()
    ours, gradients = step(mixture, estimators.Enum())
    pyros, expected = step(mixture, pyro.infer.TraceEnum_ELBO(max_plate_nesting=1))
    assert torch.allclose(ours.value, pyros.value, atol=1e-5)
    assert all(map(lambda a, b: torch.allclose(a, b, atol=1e-5), gradients, expected))


def test_importance_weights_are_those_of_the_marginal_prior_whatever_component_is_drawn():
    mixture = made()
    with pyro.validation_enabled(True):
        torch.manual_seed(1)
        guide = pyro.poutine.trace(mixture.guide).get_trace(X)
        log_w = []
        for y in (guide.nodes["y"]["value"], *(torch.full((50,), c) for c in range(4))):
            guide.nodes["y"]["value"] = y
            model = pyro.poutine.trace(pyro.poutine.replay(mixture.model, trace=guide)).get_trace(X)
            model.compute_log_prob()
            log_q = guide.nodes["z"]["fn"].log_prob(guide.nodes["z"]["value"]) + guide.nodes["y"]["fn"].log_prob(y)
            log_w.append(sum(model.nodes[name]["log_prob"] for name in "xyz") - log_q)
    assert all(torch.allclose(one, log_w[0], atol=1e-5) for one in log_w)
    a, b = (evaluation.log_likelihood(m, X, num_particles=50) for m in (mixture, marginal(mixture)))
    assert a.mean == pytest.approx(b.mean, abs=4 * math.hypot(a.mean_stderr, b.mean_stderr))


def test_the_decoder_runs_once_for_all_components():
    mixture, rows = made(components=5), []
    network = mixture.likelihood.network
    network.register_forward_hook(lambda _, __, out: rows.append(out.shape[:-1].numel()))
    estimator = estimators.Enum()
    estimator.terms(mixture.model, mixture.guide, X)
    rows.clear()
    estimator.terms(mixture.model, mixture.guide, X)
    assert rows == [len(X)]


def test_captured_steps_equal_eager_ones():
    objective = objectives.Clustering(made())
    objective.prepare(X)
    step = Captured(objective, (X,), compiled=False)
    torch.manual_seed(2)
    captured = step((X,)).value
    gradients = [p.grad.clone() for p in objective.parameters()]
    objective.zero_grad()
    torch.manual_seed(2)
    loss = objective(X).value
    loss.backward()
    assert torch.equal(captured, loss)
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, objective.parameters(), strict=True))


@pytest.mark.parametrize("estimator", [estimators.IWAE(5), estimators.DReG(5), estimators.STL()])
def test_estimators_that_need_reparameterised_sites_take_the_marginal(estimator):
    mixture = made()
    torch.manual_seed(3)
    found = objectives.Clustering(mixture, estimator, beta=0.5)(X[:7])
    torch.manual_seed(3)
    assert torch.equal(found.value, SVI(marginal(mixture), estimator, beta=0.5)(X[:7]).value)
    with pytest.raises(ValueError, match="site y of the guide is a Categorical"):
        SVI(mixture, estimator)(X[:7])


# Assignments and generation


class Fixed(nn.Module):
    """q(z | x) = N(x, 0.5^2) of one-dimensional data."""

    dim, support = 1, priors.MixtureOfGaussians.support

    def forward(self, x, y=None):
        return pyro.distributions.Normal(x, 0.5).to_event(1)


def test_assignments_are_bayes_rule_averaged_over_the_posterior():
    prior = priors.MixtureOfGaussians(1, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.1, 0.7, 0.2]).log())
        prior.means.copy_(torch.tensor([[-2.0], [0.0], [1.5]]))
    mixture = models.MixtureVAE(prior, Fixed(), likelihoods.Normal(networks.MLP(1, [4]), 1))
    x = torch.tensor([[-1.0], [0.6], [2.0]])
    nodes, weights = map(torch.tensor, np.polynomial.hermite_e.hermegauss(80))
    z = x + 0.5 * nodes
    scale = prior.component(torch.tensor([0])).stddev.item()
    joint = prior.logits.softmax(-1) * torch.exp(-0.5 * ((z.unsqueeze(-1) - prior.means[:, 0]) / scale) ** 2)
    exact = (weights[:, None] * joint / joint.sum(-1, keepdim=True)).sum(1) / weights.sum()
    many = torch.stack([evaluation.assign(mixture, x.repeat(200, 1)).reshape(200, 3, 3)]).mean((0, 1))
    # 200 x 64 draws of a number in [0, 1], whose standard deviation is below 0.5: 5 standard errors
    assert (many - exact).abs().max() < 5 * 0.5 / math.sqrt(200 * 64)
    one = evaluation.assign(mixture, x)
    assert torch.allclose(one.sum(-1), torch.ones(3)) and torch.equal(one, evaluation.assign(mixture, x))


def test_a_component_is_drawn_on_demand():
    mixture = made()
    with torch.no_grad():
        mixture.prior.means.copy_(100.0 * torch.arange(4)[:, None].expand(4, 2))
    y = torch.tensor([3, 0, 1])
    for program in (mixture.model, mixture.guide):
        trace = pyro.poutine.trace(program).get_trace(y=y)
        assert trace.nodes["z"]["value"].div(100).round().tolist() == [[c, c] for c in y.tolist()]
    assert mixture.model(n=5).shape == (5, 6) and mixture.guide(n=5).shape == (5, 2)
    assert mixture.model(y=y).shape == (3, 6)
    for bad in (torch.tensor([4]), torch.tensor([-1]), torch.tensor([0.5])):
        with pytest.raises(ValueError, match="Label\\(4\\)"):
            mixture.model(y=bad)


def test_labels_beside_x_are_never_read():
    mixture = made()
    losses = []
    for y in ((), (torch.full((50,), 99),)):
        torch.manual_seed(0)
        losses.append(SVI(mixture)(X, *y).value.item())
    assert losses[0] == losses[1]


def test_other_parts_are_refused():
    mixture = made()
    with pytest.raises(TypeError, match="prior must be a priors.MixtureOfGaussians, .* not a Normal"):
        models.MixtureVAE(priors.Normal(2), likelihood=mixture.likelihood)
    with pytest.raises(ValueError, match="1 component"):
        models.MixtureVAE(priors.MixtureOfGaussians(2, 1), likelihood=mixture.likelihood)
    decoder = networks.Conditioned(networks.MLP(2 + 3, [8]), networks.Label(3))
    with pytest.raises(ValueError, match="conditional on Label\\(3\\), but its y is the component"):
        models.MixtureVAE(mixture.prior, likelihood=likelihoods.Bernoulli(decoder, 6))
    with pytest.raises(TypeError, match="models.MixtureVAE, not a VAE"):
        objectives.Clustering(marginal(mixture))
    with pytest.raises(ValueError, match="pretrain must be a whole number of at least 0"):
        objectives.Clustering(mixture, pretrain=-1)


# Training


def clusters(n=240):
    """Rows of three prototypes, each entry flipped with probability 0.05, and which of them."""
    generator = torch.Generator().manual_seed(11)
    y = torch.arange(n) % 3
    prototypes = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0, 1, 1, 1.0]])
    flipped = torch.rand(n, 9, generator=generator) < 0.05
    return (prototypes[y] - flipped.float()).abs(), y


def clustering(seed=0, **options):
    torch.manual_seed(seed)
    prior = priors.MixtureOfGaussians(2, 3)
    posterior = posteriors.Normal(networks.MLP(9, [32]), 2)
    mixture = models.MixtureVAE(prior, posterior, likelihoods.Bernoulli(networks.MLP(2, [32]), 9))
    return objectives.Clustering(mixture, **{"pretrain": 10, **options})


def test_finds_clusters_and_its_figures_say_so():
    x, y = clusters()
    objective = clustering()
    history = fit(objective, (x, y), epochs=10, batch_size=30, lr=5e-3, progress=False)
    assert [row["stage"] for row in history.rows] == ["autoencoder"] * 10 + [""] * 10
    found = evaluation.evaluate(objective.model, (x, y), num_particles=5)
    assert found["cluster_accuracy"] > 0.95 and found["nmi"] > 0.8 and found["ari"] > 0.85
    assert {"elbo", "kl", "log_likelihood", "active_units"} <= found.keys()


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    x, _ = clusters()
    run = {"train": x, "epochs": 3, "batch_size": 60, "progress": False, "seed": 4}
    whole = clustering(pretrain=2)
    fit(whole, **run)

    class Killed(Exception):
        pass

    for stage, epoch in (("autoencoder", 1), ("autoencoder", 2), ("", 1), ("", 2)):

        def kill(row, stage=stage, epoch=epoch):
            if (row["stage"], row["epoch"]) == (stage, epoch):
                raise Killed

        folder = tmp_path / f"{stage}{epoch}"
        with pytest.raises(Killed):
            fit(clustering(pretrain=2), **run, out=folder, callback=kill)
        again = clustering(seed=9, pretrain=2)
        fit(again, **run, out=folder, resume=True)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), (stage, epoch, name)


def test_the_mixture_starts_at_the_clusters_of_codes():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0]])
    counts = torch.tensor([100, 200, 300])
    codes = centres.repeat_interleave(counts, 0) + torch.tensor([1.0, 2.0]) * torch.randn(600, 2)
    prior = priors.MixtureOfGaussians(2, 3).start_at(codes)
    order = prior.logits.argsort()
    assert torch.allclose(prior.logits.softmax(-1)[order], counts / 600, atol=1e-3)
    assert (prior.means[order] - centres).abs().max() < 5 * 2 / math.sqrt(100)  # standard errors of a mean
    expected = torch.tensor([1.0, 2.0]).expand(3, 2)
    assert torch.allclose(prior.component(order).stddev, expected, rtol=5 / math.sqrt(200))
    for bad in (codes[:2], codes[:, :1], torch.full((9, 2), torch.nan)):
        with pytest.raises(ValueError, match="codes must"):
            copy.deepcopy(prior).start_at(bad)


def test_fewer_rows_than_components_are_refused_before_anything_is_trained(tmp_path):
    x, _ = clusters(2)
    with pytest.raises(ValueError, match="train holds 2 rows, too few to fit a mixture of 3 components"):
        fit(clustering(), x, epochs=1, progress=False, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# The figures of clusters


def test_matching_equals_brute_force_over_permutations():
    for seed, (classes, found) in enumerate([(3, 3), (4, 4), (3, 5), (5, 3)]):
        generator = torch.Generator().manual_seed(100 + seed)
        y, c = (torch.randint(n, (60,), generator=generator) for n in (classes, found))
        table = confusion(y, c)
        size = max(table.shape)
        square = torch.zeros(size, size, dtype=table.dtype)
        square[: table.shape[0], : table.shape[1]] = table
        best = max(sum(int(square[p[j], j]) for j in range(size)) for p in itertools.permutations(range(size)))
        assert cluster_accuracy(y, c) == best / 60
        assert len({*matched(table).values()}) == len(matched(table)) == min(table.shape)


def test_figures_of_clusters_at_their_ends():
    y = torch.arange(12) % 3
    assert cluster_agreement(y, (y + 1) % 3) == {"cluster_accuracy": 1.0, "nmi": 1.0, "ari": 1.0}
    one = cluster_agreement(y, torch.zeros(12, dtype=torch.long))
    assert one["cluster_accuracy"] == pytest.approx(1 / 3) and one["nmi"] == one["ari"] == 0
    each = cluster_agreement(y, torch.arange(12))
    assert each["cluster_accuracy"] == pytest.approx(3 / 12) and each["ari"] == 0
    assert each["nmi"] == pytest.approx(2 * math.log(3) / (math.log(3) + math.log(12)))
    with pytest.raises(ValueError, match="as many, at least one, not 0 and 0"):
        cluster_agreement(y[:0], y[:0])
