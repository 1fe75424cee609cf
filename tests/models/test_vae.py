import copy
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import SHAPE, vae
from pyro import poutine
from pyro.infer import Predictive
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn
from torch.distributions import constraints

from ppl_vae import SVI, VAE, estimators, likelihoods, networks, posteriors, priors

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)).bernoulli()
ELBOS = [pyro.infer.Trace_ELBO(), pyro.infer.TraceMeanField_ELBO(), estimators.TraceELBO(2), estimators.MeanFieldELBO()]


def snapshot(model):
    return [p.detach().clone() for p in model.parameters()]


def all_moved(model, before):
    return all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("elbo", ELBOS, ids=lambda e: type(e).__name__)
def test_two_models_in_one_process_both_train_in_plain_pyro(elbo):
    pair = [vae(prior=priors.Normal(2, learned=True)) for _ in range(2)]
    before = [snapshot(model) for model in pair]
    for model in pair:
        svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), elbo)
        for _ in range(3):
            assert svi.step(X) > 0
    assert all(all_moved(model, b) for model, b in zip(pair, before, strict=True))
    names = list(pyro.get_param_store().keys())
    assert len(names) == len(set(names)) == sum(len(list(model.parameters())) for model in pair)
    store = {id(p) for p in dict(pyro.get_param_store().named_parameters()).values()}
    assert store == {id(p) for model in pair for p in model.parameters()}


def test_copies_register_under_names_of_their_own():
    model = vae()
    assert model.name == model.name
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)]
    assert len({m.name for m in (model, *copies)}) == 4
    other = copies[0]
    before, mine = snapshot(other), snapshot(model)
    pyro.infer.SVI(other.model, other.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO()).step(X)
    assert all_moved(other, before)
    assert all(torch.equal(a, b) for a, b in zip(mine, model.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:.*requires_grad=False")  # Pyro says so
def test_frozen_parameters_stay():
    model = vae()
    model.likelihood.requires_grad_(False)
    before = snapshot(model.likelihood)
    pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO()).step(X)
    assert all(torch.equal(a, b) for a, b in zip(before, model.likelihood.parameters(), strict=True))


def test_generation():
    model = vae()
    assert model.model(n=7).shape == (7, *SHAPE)
    assert model.model(y=torch.arange(5)).shape == (5, *SHAPE)
    assert model.support.check(model.model(n=7)).all()
    trace = poutine.trace(model.model).get_trace(n=7)
    assert trace.nodes["z"]["value"].shape == (7, 2) and not trace.nodes["x"]["is_observed"]
    draws = Predictive(model.model, num_samples=4)(n=3)
    assert draws["x"].shape == (4, 3, *SHAPE) and draws["z"].shape == (4, 3, 2)
    assert Predictive(model.model, num_samples=4, parallel=True)(n=3)["x"].shape == (4, 3, *SHAPE)
    after = Predictive(model.model, guide=model.guide, num_samples=4)(X)
    assert after["z"].shape == (4, 6, 2)
    prior_again = Predictive(model.model, guide=model.guide, num_samples=4)(n=3)
    assert prior_again["x"].shape == (4, 3, *SHAPE)


def test_generation_draws_from_the_prior():
    model = vae(prior=priors.Normal(2, learned=True))
    nn.init.constant_(model.prior.mean, 5.0)
    z = poutine.trace(model.model).get_trace(n=2000).nodes["z"]["value"]
    assert (z.mean(0) - 5).abs().max() < 4 / 2000**0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "model needs x, y or n: without data, say how many"),
        ({"n": 0}, "n must be a whole number of at least 1, not 0"),
        ({"n": 2.5}, "n must be a whole number of at least 1, not 2.5"),
        ({"n": 4, "y": torch.arange(3)}, "n is 4, but x or y holds 3 examples"),
    ],
)
def test_bad_sizes(arguments, message):
    for program in (vae().model, vae().guide):
        with pytest.raises(ValueError, match=message):
            program(**arguments)


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal])
@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO(), estimators.TraceELBO()], ids=lambda e: type(e).__name__)
def test_autoguides(autoguide, elbo):
    model = vae()
    guide = autoguide(model.model)
    svi = pyro.infer.SVI(model.model, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    losses = [svi.step(X) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_render_model():
    graph = pyro.render_model(vae().model, model_args=(X,))
    assert "z" in graph.source and "x" in graph.source and "data" in graph.source
    assert "z -> x" in pyro.render_model(vae().model, model_kwargs={"n": 3}).source


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"prior": priors.Normal(3)}, "posterior has dim 2, but the prior has dim 3"),
        (
            {"likelihood": likelihoods.Bernoulli(networks.MLP(3, [4]), SHAPE)},
            r"the likelihood's network takes \(3,\), but the codes have shape \(2,\)",
        ),
        (
            {"posterior": posteriors.Normal(networks.MLP(7, [4]), 2)},
            r"the posterior's network takes \(7,\), but the likelihood's data is \(1, 4, 4\)",
        ),
        (
            {"posterior": posteriors.Normal(nn.Linear(4, 3), 2)},
            r"posterior gave batch shape \(2, 1, 4\) and event shape \(2,\) for 2 examples, where \(2,\) and \(2,\)",
        ),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        vae(**parts)


def test_parts_in_each_others_places():
    with pytest.raises(TypeError, match="prior must be one of ppl_vae.priors, such as priors.Normal"):
        vae(prior="normal")
    with pytest.raises(TypeError, match="likelihood must be one of ppl_vae.likelihoods"):
        vae(likelihood=priors.Normal(2))


def test_supports_that_differ():
    class Positive(priors.Prior):
        support = constraints.independent(constraints.positive, 1)

        def forward(self, y=None):
            return dist.LogNormal(torch.zeros(self.dim), 1.0).to_event(1)

    with pytest.raises(ValueError, match="posterior Normal lives on the reals, but prior Positive lives on the posi"):
        vae(prior=Positive(2))
    with pytest.raises(ValueError, match="prior Beta lives on the unit interval; .* such as posteriors.Beta$"):
        vae(prior=priors.Beta(2))


@pytest.mark.parametrize("k", [1, 3])
def test_networks_of_the_users_own(k):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x)).relu().flatten(1)

    decoder = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))
    model = VAE(
        priors.Normal(2), posteriors.MultivariateNormal(Encoder(), 2), likelihoods.Normal(decoder, SHAPE, "network")
    )
    assert model.likelihood.head.layer.in_features == 6
    assert not any(torch.nn.parameter.is_lazy(p) for p in model.parameters())
    assert all(m.training for m in model.modules())
    assert (decoder[1].running_mean == 0).all()  # trying the parts leaves the statistics alone
    objective = SVI(model, estimators.TraceELBO(num_particles=k))
    loss = objective(X)
    loss.value.backward()
    assert loss.terms["elbo"].shape == (6,)
    assert all(p.grad is not None for p in model.parameters())
    again = copy.deepcopy(model)
    again.load_state_dict(model.state_dict())


def test_building_leaves_the_generator_alone():
    prior, posterior = priors.Normal(2), posteriors.Normal(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), 2)
    likelihood = likelihoods.Bernoulli(networks.MLP(2, [4]), SHAPE)
    before = torch.get_rng_state()
    first = VAE(prior, posterior, likelihood)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.posterior.head.layer.weight.std() > 0


@pytest.mark.parametrize("k", [1, 4])
def test_particles_share_the_data_and_not_the_codes(k):
    model = vae(
        posterior=posteriors.Normal(networks.ResNet(SHAPE, [2]), 2),
        likelihood=likelihoods.Bernoulli(networks.ResNet.decoder(2, [3, 2], SHAPE), SHAPE),
    )
    shapes = []
    model.likelihood.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
    terms = estimators.TraceELBO(num_particles=k).terms(model.model, model.guide, X)
    assert terms.elbo.shape == (6,)
    assert shapes[-1] == ((6, 2) if k == 1 else (k, 6, 2)) and len(shapes) == (1 if k == 1 else 3)  # plates found


def test_a_double_model():
    model = vae().double()
    assert SVI(model)(X.double()).value.dtype == torch.float64
    assert model.model(n=3).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    model = vae(prior=priors.Normal(2, learned=True)).to("cuda")
    loss = SVI(model, estimators.MeanFieldELBO(num_particles=2), beta=0.5)(X.to("cuda"))
    loss.value.backward()
    assert all(p.grad.is_cuda for p in model.parameters()) and model.model(n=3).is_cuda


def test_encode_and_decode():
    model = vae()
    z = model.encode(X)
    assert torch.equal(z, model.posterior(X).mean) and z.shape[1:] == model.code_shape
    assert model.code_support is model.prior.support
    assert torch.equal(model.decode(z), model.likelihood(z).mean)
    assert model.decode(torch.randn(4, 3, 2)).shape == (4, 3, *SHAPE)
    with pytest.raises(ValueError, match=r"z must have shape \(..., 2\), not \(5, 3\)"):
        model.decode(torch.zeros(5, 3))


def test_encode_averages_draws_where_no_mean_is_known():
    model = vae(posterior=posteriors.Flow(networks.MLP(SHAPE, [5]), 2, context=3))
    with pytest.raises(NotImplementedError):
        _ = model.posterior(X).mean
    torch.manual_seed(3)
    z = model.encode(X)
    torch.manual_seed(3)
    assert torch.equal(z, model.posterior(X).sample((256,)).mean(0))


def test_decode_brings_codes_onto_the_prior():
    posterior = posteriors.Hyperspherical(networks.MLP(SHAPE, [5]), 3)
    model = vae(dim=3, prior=priors.Hyperspherical(3), posterior=posterior)
    z = torch.tensor([[0.3, 0.0, 0.4]])
    assert torch.equal(model.decode(z), model.likelihood(z / 0.5).mean)


def test_decode_takes_the_totals_of_data():
    model = vae(likelihood=likelihoods.Multinomial(networks.MLP(2, [5]), SHAPE, total_count=7))
    x, z = torch.randint(9, (6, *SHAPE)).float(), torch.randn(6, 2)
    assert torch.allclose(model.decode(z).flatten(1).sum(1), torch.full((6,), 7.0))
    assert torch.allclose(model.decode(z, like=x).flatten(1).sum(1), x.flatten(1).sum(1))


def test_parts_that_are_plain_modules():
    class Prior(nn.Module):
        dim, support = 2, constraints.independent(constraints.real, 1)

        def forward(self, y=None):
            return dist.Normal(torch.zeros(2), 1.0).to_event(1)

    class Posterior(Prior):
        def forward(self, x, y=None):
            return dist.Normal(x.flatten(1)[:, :2], 1.0).to_event(1)

    class Likelihood(nn.Module):
        shape, support = SHAPE, constraints.boolean

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 16)

        def forward(self, z, y=None):
            return dist.Bernoulli(logits=self.layer(z).unflatten(-1, SHAPE)).to_event(3)

    model = VAE(Prior(), Posterior(), Likelihood())
    assert SVI(model)(X).value.isfinite() and model.decode(model.encode(X)).shape == X.shape
