import dataclasses
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from instances import SHAPE, vae
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from ppl_vae import estimators, models, networks, posteriors, priors
from ppl_vae.evaluation.gradients import _resized, snr

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
GROUPS = ("encoder", "decoder")


def exact(pair, x=X):
    """Gradient of the exact loss, mean nats per example, flat in the order of the parameters."""
    reconstruction, kl = pair.terms(x)
    return pair.gradient(-(reconstruction - kl).mean())


def z_scores(estimate, expected=0.0):
    return (estimate.value - expected) / estimate.stderr


class Scaled(estimators.TraceELBO):
    """Biased on purpose: gradients 1.1 times too large."""

    def terms(self, *args, **kwargs):
        terms = super().terms(*args, **kwargs)
        return dataclasses.replace(terms, surrogate=1.1 * terms.surrogate)


def test_trace_elbo_is_unbiased_and_its_variance_falls_as_1_over_k():
    pair = LinearGaussian()
    found = snr(pair, estimators.TraceELBO(), X, num_particles=[1, 4, 16], repeats=400, reference=exact(pair))
    value = (lambda terms: (terms[0] - terms[1]).mean().item())(pair.terms(X))
    assert (z_scores(found.bound, value).abs() < 4).all()
    means = dict(zip(("decoder", "encoder"), exact(pair).split([9, 10]), strict=True))  # w, b; then a, c, t
    for group in GROUPS:
        assert (z_scores(found.squared_bias[group]).abs() < 4).all(), group
        per_sample = found.variance[group].value * torch.tensor([1.0, 4.0, 16.0])
        errors = found.variance[group].stderr * torch.tensor([1.0, 4.0, 16.0])
        assert ((per_sample - per_sample[0]).abs()[1:] < 4 * errors[1:].hypot(errors[0])).all()
        signal = means[group].square().sum()
        ratio = found.squared_snr[group]
        assert ((ratio.value - signal / found.variance[group].value).abs() < 4 * ratio.stderr).all()
        assert torch.allclose(found.snr[group].value, ratio.value.sqrt())


def test_a_bias_of_a_tenth_is_found():
    pair = LinearGaussian()
    for reference in (exact(pair), estimators.TraceELBO(num_particles=64)):
        found = snr(pair, Scaled(num_particles=64), X, repeats=200, reference=reference)
        right = snr(pair, estimators.TraceELBO(num_particles=64), X, repeats=200, reference=reference, seed=1)
        for group in GROUPS:
            assert z_scores(found.squared_bias[group]) > 4 and abs(z_scores(right.squared_bias[group])) < 4
        norm = exact(pair).norm().item()
        total = sum(found.squared_bias[g].value.item() for g in GROUPS) ** 0.5
        assert total == pytest.approx(0.1 * norm, rel=0.2)
        assert found.bias["encoder"].value.item() == pytest.approx(found.squared_bias["encoder"].value.item() ** 0.5)


def test_the_noise_of_the_reference_is_not_bias():
    """The same estimator against few draws of its own: 0 on average, where the naive bias^2 is v/20 + v/10."""
    pair, estimator = LinearGaussian(), estimators.TraceELBO(4)
    arguments = {"repeats": 20, "reference": estimator, "reference_repeats": 10}
    found = [snr(pair, estimator, X, seed=seed, **arguments) for seed in range(25)]
    for group in GROUPS:
        excess = torch.cat([f.squared_bias[group].value / f.variance[group].value for f in found])
        assert excess.mean().abs() < 4 * excess.std() / 5 and excess.mean().abs() < 1 / 20


def test_without_signal_the_snr_is_0_where_the_naive_one_is_not():
    """At the best decoder bias the gradient by it is 0; freezing the rest leaves nothing but noise."""
    pair = LinearGaussian()
    with torch.no_grad():
        pair.b.copy_((X - (X @ pair.a.T + pair.c) @ pair.w.T).mean(0))
    pair.w.requires_grad_(False)
    squares = []
    for seed in range(8):
        found = snr(pair, estimators.TraceELBO(), X, repeats=50, seed=seed)
        assert found.parameters["decoder"] == ("b",)
        squares.append(found.squared_snr["decoder"].value)
        assert abs(z_scores(found.squared_snr["decoder"])) < 4
        assert found.snr["decoder"].value < 3 * found.snr["decoder"].stderr
    squares = torch.cat(squares)
    assert squares.mean().abs() < 4 * squares.std() / math.sqrt(8)
    assert squares.mean().abs() < 1 / 50 / 2  # the naive |m|^2 / v is 1 / R here


def slope(estimator, pair, ks, repeats):
    """d log SNR / d log K between two Ks, and its standard error, by group."""
    found = snr(pair, estimator, X, num_particles=ks, repeats=repeats).snr
    length = math.log(ks[1] / ks[0])
    return {
        group: (
            (found[group].value.log().diff() / length).item(),
            ((found[group].stderr / found[group].value).norm() / length).item(),
        )
        for group in GROUPS
    }


def near_posterior():
    """The guide is 1.7 times as wide as the best one, and displaced by 0.1: weights of finite variance."""
    pair = LinearGaussian()
    with torch.no_grad():
        m = pair.w.T @ pair.w + pair.s**2 * torch.eye(2)
        pair.a.copy_(m.inverse() @ pair.w.T)
        pair.c.copy_(0.1 - pair.a @ pair.b)
        pair.t.copy_(1.7 * pair.s * m.diagonal().rsqrt())
    return pair


def test_more_particles_drown_iwae_in_noise_and_not_dreg():
    """Rainforth et al. 2018: K^-1/2 for IWAE's encoder, K^1/2 for its decoder and for DReG; up to O(1/K), here 0.05."""
    fading = slope(estimators.IWAE(), LinearGaussian(), [16, 256], 600)
    growing = slope(estimators.DReG(), near_posterior(), [16, 256], 200)
    decoding = slope(estimators.IWAE(), near_posterior(), [16, 256], 200)["decoder"]
    assert fading["encoder"][1] < 0.12 and abs(fading["encoder"][0] + 0.5) < 0.05 + 4 * fading["encoder"][1]
    for value, error in (growing["encoder"], growing["decoder"], decoding):
        assert error < 0.05 and abs(value - 0.5) < 0.05 + 4 * error


def test_dreg_has_the_gradient_of_iwae():
    pair = near_posterior()
    found = snr(pair, estimators.DReG(8), X, repeats=300, reference=estimators.IWAE(8), reference_repeats=600)
    for group in GROUPS:
        assert abs(z_scores(found.squared_bias[group])) < 4


def test_the_loss_is_averaged_over_the_batch_in_pieces_or_whole():
    pair = LinearGaussian()
    whole, pieces = (
        snr(pair, estimators.TraceELBO(8), X, repeats=40, batch_size=size, reference=exact(pair)) for size in (None, 4)
    )
    for group in GROUPS:
        assert abs(z_scores(pieces.squared_bias[group])) < 4
        error = whole.variance[group].stderr.hypot(pieces.variance[group].stderr)
        assert abs(whole.variance[group].value - pieces.variance[group].value) < 4 * error


def test_the_whole_s_size_does_not_enter():
    class Part(LinearGaussian):
        """The batch is six of a hundred data."""

        def model(self, x):
            with pyro.plate("data", 100, subsample_size=len(x)):
                z = pyro.sample("z", self.prior(x))
                pyro.sample("x", dist.Normal(z @ self.w.T + self.b, self.s).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", 100, subsample_size=len(x)):
                pyro.sample("z", dist.Normal(x @ self.a.T + self.c, self.t).to_event(1))

    found = snr(Part(), estimators.TraceELBO(8), X, repeats=60, reference=exact(LinearGaussian()))
    assert all(abs(z_scores(found.squared_bias[group])) < 4 for group in GROUPS)


def vamp():
    posterior = posteriors.Normal(networks.MLP(SHAPE, [5]), 2)
    return vae(prior=priors.VampPrior(posterior, 3), posterior=posterior)


def program():
    def model(x):
        mean = pyro.param("mean", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        t = pyro.param("t", torch.tensor(0.5), constraint=dist.constraints.positive)
        m = pyro.param("m", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(m * x, t).to_event(1))

    return models.Program(model, guide)


def test_encoder_and_decoder():
    images = torch.rand(4, *SHAPE).bernoulli()
    plain = snr(vae(), estimators.TraceELBO(), images, repeats=4).parameters
    assert all(name.startswith("posterior.") for name in plain["encoder"]) and len(plain["encoder"]) == 4
    assert all(name.startswith("likelihood.") for name in plain["decoder"]) and len(plain["decoder"]) == 4
    # The prior shares the posterior; its pseudo-inputs are the decoder's.
    mixed = snr(vamp(), estimators.TraceELBO(), images, repeats=4).parameters
    assert "prior.raw" in mixed["decoder"] and len(mixed["encoder"]) == 4 and len(mixed["decoder"]) == 5
    own = snr(program(), estimators.TraceELBO(), X, repeats=4).parameters
    assert set(own["encoder"]) == {"sites.t", "sites.m"} and own["decoder"] == ("sites.mean",)
    point = models.Program(program()._programs[0], pyro.infer.autoguide.AutoDelta(program()._programs[0]))
    assert len(snr(point, estimators.TraceELBO(), X, repeats=4).parameters["encoder"]) == 1


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("cls", [Trace_ELBO, TraceMeanField_ELBO])
def test_estimators_of_pyro(cls, vectorize):
    pair = LinearGaussian()
    nesting = {"max_plate_nesting": 1} if vectorize else {}
    given = cls(vectorize_particles=vectorize, **nesting)
    found = snr(pair, given, X, num_particles=[1, 5], repeats=60, reference=exact(pair))
    value = (lambda terms: (terms[0] - terms[1]).mean().item())(pair.terms(X))
    assert (z_scores(found.bound, value).abs() < 4).all() and found.num_particles == (1, 5)
    for group in GROUPS:
        assert (z_scores(found.squared_bias[group]).abs() < 4).all()
        assert found.variance[group].value[1] < 0.5 * found.variance[group].value[0]
    assert given.num_particles == 1 and len(snr(program(), given, X, repeats=4).rows()) == 2
    # Where Pyro looks for the plates by itself, it hides the handlers outside.
    guessed = cls(vectorize_particles=vectorize, num_particles=2)
    assert snr(vae(), guessed, torch.zeros(3, *SHAPE), repeats=4).bound.value < 0
    assert not len(pyro.get_param_store())


def test_nothing_is_left_behind():
    model = vae().train()
    images = torch.rand(4, *SHAPE).bernoulli()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    one = snr(model, estimators.TraceELBO(), images, num_particles=[1, 3], repeats=6)
    assert torch.equal(torch.get_rng_state(), state) and model.training and not len(pyro.get_param_store())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all((p.grad == 1).all() for p in model.parameters())
    torch.manual_seed(9)
    again, other = (snr(model, estimators.TraceELBO(), images, num_particles=3, repeats=6, seed=s) for s in (0, 1))
    assert again.bound.value == one.bound.value[1] != other.bound.value
    assert again.rows() == [row for row in one.rows() if row["num_particles"] == 3]


def test_what_an_estimator_has_learned_is_kept_at_every_k():
    baseline = nn.Linear(3, 1)
    for given in (estimators.NVIL(baseline=baseline), estimators.NVIL()):
        if given.baseline is None:
            given.prepare(X)
        state = {name: value.clone() for name, value in given.state_dict().items()}
        resized = _resized(given, 7)
        assert resized.num_particles == 7 and given.num_particles == 1 and state
        assert all(torch.equal(value, state[name]) for name, value in resized.state_dict().items())
        assert not {id(p) for p in resized.parameters()} & {id(p) for p in given.parameters()}
        assert len(resized.state_dict()) == len(state)


def test_exact_gradients_have_no_noise():
    posterior = posteriors.Bernoulli(networks.MLP(SHAPE, [5]), 2)
    model = vae(prior=priors.Bernoulli(2), posterior=posterior)
    found = snr(model, estimators.Enum(), torch.rand(4, *SHAPE).bernoulli(), repeats=4)
    assert all(found.snr[group].value == math.inf and found.variance[group].value == 0 for group in GROUPS)


def test_rows():
    found = snr(LinearGaussian(), estimators.TraceELBO(3), X, repeats=5)
    assert [row["group"] for row in found.rows()] == ["encoder", "decoder"] and found.bias is None
    columns = ["bound", "bound_stderr", "snr", "snr_stderr", "variance", "variance_stderr"]
    assert all(list(row) == ["num_particles", "group", *columns] for row in found.rows())
    assert found.rows()[1]["variance"] == found.variance["decoder"].value.item() and found.num_particles == (3,)


def test_refusals():
    pair = LinearGaussian()
    one = estimators.TraceELBO()
    with pytest.raises(TypeError, match="RenyiELBO has no differentiable_loss"):
        snr(pair, RenyiELBO(), X)
    with pytest.raises(TypeError, match="estimator must be an instance of a pyro.infer.ELBO class"):
        snr(pair, estimators.TraceELBO, X)
    with pytest.raises(ValueError, match="reference_repeats must be a whole number of at least 4, not 0"):
        snr(pair, one, X, reference=one, reference_repeats=0)
    with pytest.raises(ValueError, match="repeats must be a whole number of at least 4, not 3"):
        snr(pair, one, X, repeats=3)
    for ks in (0, [4, 0]):
        with pytest.raises(ValueError, match="num_particles must be a whole number of at least 1"):
            snr(pair, one, X, num_particles=ks)
    with pytest.raises(ValueError, match="at least one K"):
        snr(pair, one, X, num_particles=[])
    with pytest.raises(ValueError, match="reference must be flat with 19 entries"):
        snr(pair, one, X, reference=torch.zeros(5), repeats=4)
    with pytest.raises(ValueError, match="x is empty"):
        snr(pair, one, X[:0])
    with pytest.raises(ValueError, match="no parameters that require a gradient"):
        snr(LinearGaussian().requires_grad_(False), one, X)

    def bayes(x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(3), 10.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    whole = models.Program(bayes, pyro.infer.autoguide.AutoNormal(bayes))
    assert snr(whole, one, X, repeats=4).bound.value < 0
    with pytest.raises(ValueError, match="batch_size must be None here, since site mean.* is outside the data plate"):
        snr(whole, one, X, repeats=4, batch_size=2)
