import copy
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from finite import Finite, Mixed, elbo, iwae, unbiased
from instances import vae

from ppl_vae import SVI, fit, likelihoods, networks, parts, posteriors, priors
from ppl_vae.estimators import IWAE, NVIL, VIMCO, TraceELBO
from ppl_vae.estimators.tracing import sites

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("kind", "beta"), [("categorical", 1.0), ("categorical", 0.5), ("bits", 1.0)])
def test_vimco_is_unbiased_for_the_importance_weighted_bound(kind, beta, k):
    unbiased(VIMCO(k), lambda n: Finite(kind, n), lambda pair: pair.exact(k, iwae, beta), beta=beta)


def plain(k, pair):
    """Gradients of the same bound by the score function without baselines."""
    traced = sites(pair.model, pair.guide, (pair.x,), k)
    bound = iwae(traced.weights().log_w)
    return pair.gradient((bound + bound.detach() * traced.score().sum(0)).sum())


@pytest.mark.parametrize("kind", ["categorical", "bits"])
def test_vimco_is_quieter_than_the_plain_score_function(kind):
    many = Finite(kind, 20000)
    vimco = many.gradient(VIMCO(3).terms(many.model, many.guide, many.x).surrogate.sum())
    assert (vimco.var(0)[3:] < 0.85 * plain(3, many).var(0)[3:]).all()


@pytest.mark.parametrize("order", ["cd", "dc"])
@pytest.mark.parametrize(("estimator", "k", "of"), [(VIMCO(2), 2, iwae), (NVIL(2), 1, elbo), (TraceELBO(2), 1, elbo)])
def test_a_guide_of_a_discrete_and_a_reparameterised_site(estimator, k, of, order):
    unbiased(estimator, lambda n: Mixed(order, n), lambda pair: pair.exact(k, of), n=40000)


@pytest.mark.parametrize("ours", [VIMCO(4), NVIL(4)])
def test_reparameterised_guides_keep_the_pathwise_gradient(ours):
    pair, losses = LinearGaussian(), []
    for estimator in (ours, IWAE(4) if isinstance(ours, VIMCO) else TraceELBO(4)):
        torch.manual_seed(3)
        losses.append(estimator.differentiable_loss(pair.model, pair.guide, X))
    assert torch.equal(*losses)
    assert torch.allclose(*(pair.gradient(loss) for loss in losses), atol=1e-5)


def test_one_sample_has_no_others():
    with pytest.raises(ValueError, match="num_particles is 1, but VIMCO compares samples .* needs at least 2"):
        VIMCO(1)


@pytest.mark.parametrize("estimator", [VIMCO(), NVIL()])
def test_a_site_outside_the_data_plate_is_refused(estimator):
    def model(x):
        g = pyro.sample("g", dist.Bernoulli(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(g, 1.0), obs=x)

    def guide(x):
        pyro.sample("g", dist.Bernoulli(0.3))

    with pytest.raises(ValueError, match="site g is outside the plate data, .*use TraceELBO"):
        estimator.terms(model, guide, X[:, 0])


class Constant(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, x):
        return self.value.expand(len(x), 1)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("baseline", [None, Constant(-2.0), Constant(5.0)], ids=["untrained", "near", "far"])
@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_nvil_is_unbiased_for_every_baseline(baseline, k, beta):
    exact = lambda pair: pair.exact(1, elbo, beta)  # noqa: E731
    unbiased(NVIL(k, baseline), lambda n: Finite("categorical", n), exact, beta=beta)


def test_a_baseline_near_the_log_weight_makes_the_gradient_quieter():
    pair = Finite("bits", 5000)
    near = Finite("bits").exact(1, elbo).item()
    loud, quiet = (
        pair.gradient(NVIL(1, Constant(value)).terms(pair.model, pair.guide, pair.x).surrogate.sum()).var(0)[3:]
        for value in (near + 10.0, near)
    )
    assert (quiet < 0.2 * loud).all()


def test_a_baseline_that_is_far_off_rounds_nothing_off_the_value():
    model, _ = coded()
    torch.manual_seed(2)
    near = NVIL(1, Constant(0.0)).terms(model.model, model.guide, X)
    torch.manual_seed(2)
    assert torch.equal(NVIL(1, Constant(3000.0)).terms(model.model, model.guide, X).surrogate, near.surrogate)


def test_the_baselines_loss_is_the_squared_error_and_changes_no_value():
    pair, values = Finite("categorical", 7), []
    baselines = Constant(0.0), Constant(3.0)
    for baseline in baselines:
        torch.manual_seed(2)
        terms = NVIL(4, baseline).terms(pair.model, pair.guide, pair.x)
        torch.manual_seed(2)
        log_w = sites(pair.model, pair.guide, (pair.x,), 4).weights().log_w.detach()
        (-terms.surrogate.sum()).backward()
        expected = -2 * (log_w - baseline.value.detach()).mean(0).sum()
        assert torch.allclose(baseline.value.grad, expected)
        values.append(terms.surrogate.detach())
    assert torch.equal(*values)


def coded(baseline=None, k=1):
    torch.manual_seed(1)
    prior = priors.Bernoulli(2)
    model = vae(2, 3, prior, posteriors.Bernoulli(networks.MLP(3, [4]), 2), likelihoods.Normal(networks.MLP(2, [4]), 3))
    return model, NVIL(k, baseline)


def test_preparing_leaves_the_random_numbers_alone_and_follows_the_seed():
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        _ = torch.rand(seed)
        before = torch.get_rng_state()
        estimator = NVIL()
        estimator.prepare(X)
        assert torch.equal(before, torch.get_rng_state())
        made.append(estimator.baseline[0].weight)
        first = estimator.baseline
        estimator.prepare(X)
        assert estimator.baseline is first
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_noise_does_not_depend_on_whose_baseline_it_is():
    model, _ = coded()
    draws = []
    for estimator in (NVIL(), NVIL(baseline=networks.MLP(3, [5, 1], "tanh")), NVIL()):
        torch.manual_seed(4)
        if len(draws) == 2:
            estimator.prepare(X)
        draws.append(estimator.terms(model.model, model.guide, X).elbo)
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("make", [lambda: X.long(), lambda: X > 0, lambda: X.double(), lambda: X[:, 0]])
def test_data_of_any_dtype_and_of_one_entry(make):
    x = make()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            p = dist.Normal(z[..., None] if x.dim() > 1 else z, 1.0)
            pyro.sample("x", p.expand([*p.batch_shape[:-1], 3]).to_event(1) if x.dim() > 1 else p, obs=x.float())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.full((len(x),), 0.4)))

    assert NVIL().terms(model, guide, x).surrogate.isfinite().all()


def test_missing_entries_are_looked_at_as_zeros():
    torch.manual_seed(0)
    network = networks.FillMissing(networks.MLP(3, [4]), 3)
    likelihood = likelihoods.Missing(likelihoods.Bernoulli(networks.MLP(2, [4]), 3))
    model, estimator = vae(2, 3, priors.Bernoulli(2), posteriors.Bernoulli(network, 2), likelihood), NVIL()
    x = torch.tensor([[1.0, float("nan"), 0.0], [float("nan"), 1.0, 1.0]])
    estimator.loss_and_grads(model.model, model.guide, x)
    assert all(p.grad.isfinite().all() for part in (model, estimator) for p in part.parameters())


def test_a_baseline_that_is_not_needed_takes_no_part_in_fit():
    objective, x = SVI(vae(2, (3,)), NVIL()), X.sigmoid().round()
    objective.prepare(x)
    before = {name: p.detach().clone() for name, p in objective.named_parameters()}
    assert any("baseline" in name for name in before)
    fit(objective, x, epochs=1, clip=1.0, progress=False)
    for name, p in objective.named_parameters():
        assert torch.equal(p, before[name]) == ("baseline" in name), name


def error(estimator, model, x):
    """Mean square of log w - b(x)."""
    with torch.no_grad():
        log_w = sites(model.model, model.guide, (x,), 50).weights().log_w
        return (log_w - estimator.baseline(x)[:, 0]).square().mean().item()


def test_fit_trains_the_baseline_and_resumes_it_bit_for_bit(tmp_path):
    x = torch.cat([X, 6 + X, -4 * X]).repeat(4, 1)

    def run(folder, stop=None, resume=False):
        model, estimator = coded()
        untrained = copy.deepcopy(estimator)
        torch.manual_seed(0)
        untrained.prepare(x)

        def callback(row):
            if row["epoch"] == stop:
                raise KeyboardInterrupt

        settings = {"epochs": 8, "lr": 1e-2, "batch_size": 12, "progress": False, "callback": callback}
        objective = SVI(model, estimator)
        try:
            fit(objective, x, out=tmp_path / folder, resume=resume, **settings)
        except KeyboardInterrupt:
            assert stop
        return objective, untrained

    whole, untrained = run("whole")
    assert len(pyro.get_param_store()) == 0
    assert "estimator.baseline.0.weight" in whole.state_dict()
    assert not any(
        torch.equal(a, b)
        for a, b in zip(whole.estimator.baseline.parameters(), untrained.baseline.parameters(), strict=True)
    )
    assert error(whole.estimator, whole.model, x) < 0.5 * error(untrained, whole.model, x)
    run("parts", stop=4)
    resumed, _ = run("parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_pyros_own_svi_trains_every_baseline():
    x = torch.cat([X, 6 + X])
    model, first = coded()
    names = set()
    for estimator in (first, NVIL(baseline=networks.MLP(3, [5, 1], "tanh")), copy.deepcopy(first), NVIL()):
        estimator.prepare(x)
        before = [p.detach().clone() for p in estimator.parameters()]
        svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), estimator)
        svi.step(x)
        after = list(estimator.parameters())
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        stored = {name for name in pyro.get_param_store() if name.startswith("nvil")}
        assert len(stored - names) == len(after)
        names = stored
    at_first = error(estimator, model, x)
    for _ in range(150):
        svi.step(x)
    assert error(estimator, model, x) < 0.7 * at_first


def test_the_module_form_owns_the_baseline():
    model, estimator = coded()
    estimator.prepare(X)
    module = estimator(model.model, model.guide)
    assert {id(p) for p in estimator.parameters()} <= {id(p) for p in module.parameters()}


def test_a_copy_shares_nothing():
    _, estimator = coded()
    estimator.prepare(X)
    name = estimator._name  # held from here on, and not by the copy
    twin = copy.deepcopy(estimator)
    assert name == estimator._name != twin._name
    assert not {p.data_ptr() for p in estimator.parameters()} & {p.data_ptr() for p in twin.parameters()}


@pytest.mark.parametrize("baseline", [None, networks.MLP(3, [5, 1], "tanh")])
def test_description(baseline):
    record = json.loads(json.dumps(parts.describe(NVIL(3, baseline))))
    again = parts.build(record)
    assert again.num_particles == 3 and type(again.baseline) is type(baseline) and parts.describe(again) == record


def test_what_the_baseline_cannot_look_at_is_refused():
    model, estimator = coded()
    with pytest.raises(ValueError, match="first positional argument .* VIMCO"):
        estimator.terms(model.model, model.guide, x=X)

    def few(x):
        with pyro.plate("data", len(x), subsample_size=2) as i:
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        with pyro.plate("data", len(x), subsample_size=2):
            pyro.sample("z", dist.Bernoulli(0.3))

    with pytest.raises(ValueError, match=r"baseline returns shape \(5, 1\) for x \(5,\); .*, \(2,\) or \(2, 1\)$"):
        NVIL().terms(few, guide, X[:, 0])
    with pytest.raises(
        ValueError, match=r"baseline returns shape \(5, 2\) .* it must return one number for every datum"
    ):
        NVIL(baseline=torch.nn.Linear(3, 2)).terms(model.model, model.guide, X)
    with pytest.raises(TypeError, match=r"baseline must be a torch.nn.Module from x \(B, \*shape\)"):
        NVIL(baseline=lambda x: x)
