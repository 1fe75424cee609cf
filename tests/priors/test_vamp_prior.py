import copy
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import within
from instances import SHAPE, vae
from torch import nn

from ppl_vae import SVI, VAE, evaluation, fit, likelihoods, networks, parts, posteriors, priors, training
from ppl_vae.data import as_split

X = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1)).bernoulli()


def model(posterior=None, components=5, **arguments):
    posterior = posterior or posteriors.Normal(networks.MLP(SHAPE, [5], "tanh"), 2)
    return vae(prior=priors.VampPrior(posterior, components, **arguments), posterior=posterior)


POSTERIORS = [posteriors.Normal, posteriors.MultivariateNormal, posteriors.Flow, posteriors.Laplace]


@pytest.mark.parametrize("family", POSTERIORS)
def test_density_is_the_average_posterior(family):
    prior = model(family(networks.MLP(SHAPE, [5], "tanh"), 2)).prior
    z = torch.randn(3, 7, 2)
    log_q = torch.stack([prior.posterior(u[None]).log_prob(z) for u in prior.pseudo_inputs])
    assert torch.allclose(prior().log_prob(z), log_q.logsumexp(0) - math.log(5), atol=1e-5)
    assert torch.allclose(prior.responsibilities(z), log_q.movedim(0, -1).softmax(-1), atol=1e-5)


@pytest.mark.parametrize("family", POSTERIORS[:2])
def test_samples_come_from_the_mixture_and_not_from_a_standard_normal(family):
    prior = model(family(networks.MLP(SHAPE, [5], "tanh"), 2)).prior
    with torch.no_grad():
        prior.raw.mul_(20)
        prior.posterior.head.layer.weight.mul_(5)
        prior.posterior.head.layer.bias.add_(
            torch.tensor([4.0, -4.0, *[-1.0] * (len(prior.posterior.head.layer.bias) - 2)])
        )
        q = prior.posterior(prior.pseudo_inputs)
        z = prior().sample((20_000,))
    within(z, q.mean.mean(0))
    within(z.square(), (q.variance + q.mean.square()).mean(0))
    assert z.mean(0)[0] > 2


def test_every_parameter_is_trained_and_the_shared_module_counts_once():
    m = model()
    names = [name for name, _ in m.named_parameters()]
    assert "prior.raw" in names and len(names) == len({id(p) for p in m.parameters()})
    assert m.prior.posterior is m.posterior
    SVI(m)(X).value.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in m.parameters())


def test_plain_pyro_trains_it():
    m = model()
    before = [p.detach().clone() for p in m.parameters()]
    svi = pyro.infer.SVI(m.model, m.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    losses = [svi.step(X) for _ in range(60)]
    assert all(not torch.equal(a, b) for a, b in zip(before, m.parameters(), strict=True))
    assert sum(losses[-10:]) < sum(losses[:10])


def test_config_records_the_shared_module_once():
    m = model(inputs="real")
    record = json.loads(json.dumps(parts.describe(m)))
    assert record["posterior"] == {"same_as": "/prior/posterior"}
    again = parts.build(record)
    assert again.prior.posterior is again.posterior and parts.describe(again) == record
    again.load_state_dict(m.state_dict())
    z = torch.randn(3, 2)
    assert torch.equal(again.prior().log_prob(z), m.prior().log_prob(z))


def test_deep_copies_share_within_and_not_without():
    m = model()
    other = copy.deepcopy(m)
    assert other.prior.posterior is other.posterior is not m.posterior
    with torch.no_grad():
        other.posterior.head.layer.bias.add_(1.0)
    z = torch.randn(3, 2)
    assert not torch.equal(other.prior().log_prob(z), m.prior().log_prob(z))
    assert parts.describe(other) == parts.describe(m)


def test_fit_save_and_load(tmp_path):
    m = model()
    fit(SVI(m), X, epochs=1, batch_size=20, out=tmp_path / "run", progress=False)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["model"]["posterior"] == {"same_as": "/prior/posterior"}
    again = training.load(tmp_path / "run")
    assert again.prior.posterior is again.posterior
    z = torch.randn(3, 2)
    assert torch.equal(again.prior().log_prob(z), m.eval().prior().log_prob(z))
    a, b = (evaluation.log_likelihood(k, X[:4], num_particles=20).value for k in (m, again))
    assert torch.equal(a, b)


def test_evaluation_does_not_count_the_pseudo_inputs_as_particles():
    from ppl_vae.estimators.program_layout import program_layout

    posterior = posteriors.Normal(networks.MLP(SHAPE, [5], "tanh"), 2)
    few, many = (model(posterior, components) for components in (2, 400))
    cpu = torch.device("cpu")
    assert program_layout(many, X, None, cpu).bytes < 2 * program_layout(few, X, None, cpu).bytes


@pytest.mark.parametrize(
    ("inputs", "low", "high"), [("unit-interval", 0, 1), ("positive", 0, None), ("real", None, None)]
)
def test_pseudo_inputs_live_where_the_data_does(inputs, low, high):
    prior = model(inputs=inputs).prior
    u = prior.pseudo_inputs
    assert u.shape == (5, *SHAPE)
    assert (low is None or u.min() > low) and (high is None or u.max() < high)
    assert (low is not None) or u.min() < 0


@pytest.mark.parametrize("inputs", ["unit-interval", "positive", "real"])
def test_start_at_data(inputs):
    prior = model(inputs=inputs).prior
    x = torch.rand(12, *SHAPE)
    x[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    assert prior.start_at(x) is prior
    assert (
        torch.allclose(prior.pseudo_inputs, x[[0, 2, 4, 7, 9]].clamp(0.01, 0.99), atol=1e-5)
        or inputs != "unit-interval"
    )
    assert (prior.pseudo_inputs - x[[0, 2, 4, 7, 9]]).abs().max() < 0.011


def test_batch_normalisation_and_user_networks():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Tanh())
    posterior = posteriors.Normal(network, 2)
    m = vae(prior=priors.VampPrior(posterior, 5, SHAPE), posterior=posterior)
    SVI(m)(X).value.backward()
    assert m.prior().log_prob(torch.zeros(2)).isfinite()
    with pytest.raises(ValueError, match="shape is needed, since the posterior's network does not state its in_shape"):
        priors.VampPrior(posterior)


def test_bad_arguments():
    posterior = posteriors.Normal(networks.MLP(SHAPE, [5]), 2)
    for arguments, message in [
        ({"components": 0}, "components must be a whole number of at least 1, not 0"),
        ({"inputs": "reals"}, r"inputs 'reals' is unknown; choose from .* \(did you mean real\?\)"),
        ({"shape": (1, 4, 5)}, r"shape is \(1, 4, 5\), but the posterior's network takes \(1, 4, 4\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            priors.VampPrior(posterior, **arguments)
    with pytest.raises(TypeError, match="posterior must be a posterior, such as"):
        priors.VampPrior(16)
    prior = priors.VampPrior(posterior, 5)
    with pytest.raises(
        ValueError, match=r"x must hold at least 5 examples of shape \(1, 4, 4\), not a tensor \(3, 1, 4, 4\)"
    ):
        prior.start_at(X[:3])
    with pytest.raises(ValueError, match="x holds values that are not unit-interval"):
        prior.start_at(X - 0.5)
    assert isinstance(prior(), dist.TorchDistribution)


def test_a_vamp_prior_fits_better_than_the_normal():
    """On data of four kinds, the prior that learns the codes has the higher bound, everything else equal."""
    kinds = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)) * 2
    x = kinds.repeat(50, 1) + 0.1 * torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    bounds = []
    for vamp in (False, True):
        torch.manual_seed(0)
        posterior = posteriors.Normal(networks.MLP(8, [16], "tanh"), 2)
        prior = priors.VampPrior(posterior, 4, inputs="real").start_at(x[:4]) if vamp else priors.Normal(2)
        m = vae(prior=prior, posterior=posterior, likelihood=likelihoods.Normal(networks.MLP(2, [16], "tanh"), 8, 0.1))
        optimizer = torch.optim.Adam(m.parameters(), 0.01)
        for _ in range(400):
            optimizer.zero_grad()
            SVI(m)(x).value.backward()
            optimizer.step()
        bounds.append(evaluation.elbo(m, x).elbo.mean().item())
    assert bounds[1] > bounds[0] + 0.5


KINDS = {0: "real", 1: "positive", 2: "count", 3: "binary", 4: "categorical(3)", 5: "ordinal(4)"}


def table_rows(n=60):
    rng = torch.Generator().manual_seed(11)
    u = torch.randn(n, 6, generator=rng)
    columns = [5e4 + 2e3 * u[:, 0], (u[:, 1] - 6).exp(), (9 * u[:, 2].abs()).floor(), (u[:, 3] > 0).float()]
    return torch.stack([*columns, torch.arange(n) % 3, (u[:, 5].abs() * 2).floor().clamp(max=3)], 1)


def table_vae(components=5):
    torch.manual_seed(0)
    encoder = networks.TableEncoder(6, [8], "tanh", KINDS)
    posterior = posteriors.Normal(encoder, 2)
    likelihood = likelihoods.Columns(networks.MLP(2, [8]), 6, KINDS)
    return VAE(priors.VampPrior(posterior, components, inputs="real"), posterior, likelihood)


def test_pseudo_inputs_of_a_table_are_learned_in_the_units_of_its_encoder():
    x, model = table_rows(), table_vae()
    fit(SVI(model), x, epochs=20, batch_size=30, lr=1e-3, progress=False)
    in_units, back = networks.units_of(model.posterior, (6,))
    assert torch.allclose(back(in_units(x)), x, rtol=1e-4, atol=1e-4) and torch.equal(back(in_units(x))[:, 4], x[:, 4])
    assert in_units(x)[:, :3].abs().max() < 6  # the raw numbers lie at 50,000 and at 0.002
    u = model.prior.pseudo_inputs
    moved = (in_units(u) - in_units(x[:5])).abs().amax(0)
    assert (moved[[0, 1, 2, 3, 5]] > 1e-3).all() and moved.max() < 0.1  # 40 steps of 0.001
    assert (u[:, 1] > 0).all() and torch.equal(u[:, 4], x[:5, 4])


def test_gradients_of_pseudo_inputs_are_finite_at_any_units():
    """exp of a column of 50,000 is infinite, but is only used for columns in logarithms."""
    x, model = table_rows(), table_vae()
    model.start(as_split(x))
    (gradient,) = torch.autograd.grad(model.prior().log_prob(torch.zeros(2)), model.prior.raw)
    assert gradient.isfinite().all() and (gradient != 0).any(0).tolist() == [True, True, True, True, False, True]
