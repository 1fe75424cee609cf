import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, check_estimator, within
from instances import every, instance, vae
from pyro import poutine

from ppl_vae import estimators
from ppl_vae.estimators import MeanFieldELBO, TraceELBO, log_weights

BOTH = pytest.mark.parametrize("estimator", [TraceELBO, MeanFieldELBO])
PAIRS = pytest.mark.parametrize(
    ("ours", "theirs"), [(TraceELBO, pyro.infer.Trace_ELBO), (MeanFieldELBO, pyro.infer.TraceMeanField_ELBO)]
)
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def loss_and_gradient(estimator, pair, *args, seed=3, **kwargs):
    torch.manual_seed(seed)
    pyro.set_rng_seed(seed)
    loss = estimator.differentiable_loss(pair.model, pair.guide, *args, **kwargs)
    return loss.detach(), pair.gradient(loss)


def same(a, b):
    assert torch.allclose(a[0], b[0], rtol=1e-5, atol=1e-5) and torch.allclose(a[1], b[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", every("estimators"), ids=str)
def test_contract(case):
    check_estimator(instance("estimators", case))


@PAIRS
@pytest.mark.parametrize("k", [1, 4])
def test_pyros_own_value_and_gradient_for_the_same_noise(ours, theirs, k):
    pair = LinearGaussian()
    reference = theirs(num_particles=k, vectorize_particles=True, max_plate_nesting=1)
    same(loss_and_gradient(ours(num_particles=k), pair, X), loss_and_gradient(reference, pair, X))


@BOTH
@pytest.mark.parametrize("k", [1, 3])
def test_unbiased_value_and_gradient_against_the_closed_form(estimator, k):
    pair = LinearGaussian()
    reconstruction, kl = pair.terms(X)
    exact, exact_gradient = (reconstruction - kl).detach(), pair.gradient(-(reconstruction - kl).sum())
    draws = [estimator(k).terms(pair.model, pair.guide, X) for _ in range(400)]
    within(torch.stack([t.elbo.detach() for t in draws]), exact)
    within(torch.stack([t.reconstruction.detach() for t in draws]), reconstruction.detach())
    within(torch.stack([t.kl.detach() for t in draws]), kl.detach())
    within(torch.stack([pair.gradient(-t.surrogate.sum()) for t in draws]), exact_gradient)


def test_mean_field_kl_is_exact_and_trace_kl_is_not():
    pair = LinearGaussian()
    exact = pair.terms(X)[1]
    assert torch.allclose(MeanFieldELBO().terms(pair.model, pair.guide, X).kl, exact, atol=1e-5)
    assert not torch.allclose(TraceELBO().terms(pair.model, pair.guide, X).kl, exact, atol=1e-2)


@BOTH
def test_more_particles_average(estimator):
    pair = LinearGaussian()
    one = torch.stack([estimator(1).terms(pair.model, pair.guide, X).elbo.detach() for _ in range(500)]).var(0)
    many = torch.stack([estimator(16).terms(pair.model, pair.guide, X).elbo.detach() for _ in range(500)]).var(0)
    # The ratio of two sample variances of 500 draws has a relative standard error near 0.09 (more for heavy tails).
    assert ((one / many - 16).abs() < 16 * 0.4).all()


class Mixture(LinearGaussian):
    """A discrete z, which the guide cannot reparameterise; x | z ~ N(m_z, 1)."""

    def __init__(self):
        super().__init__()
        self.m = torch.nn.Parameter(torch.tensor([-1.0, 0.5, 2.0]))
        self.logits = torch.nn.Parameter(torch.tensor([0.1, -0.4, 0.3]))

    def logits_of(self, x):
        return self.logits * x[:, None]

    def prior(self, x):
        return dist.Categorical(logits=self.m)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.m[z], 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=self.logits_of(x)))

    def exact(self, x, beta=1.0):
        """ELBO by enumeration, (B,)."""
        q = self.logits_of(x).softmax(-1)
        log_joint = dist.Normal(self.m, 1.0).log_prob(x[:, None]) + beta * self.m.log_softmax(-1)
        return (q * (log_joint - beta * q.log())).sum(-1)


@BOTH
@pytest.mark.parametrize("validation", [True, False])
def test_discrete_latents_keep_their_score_term(estimator, validation):
    pair, x = Mixture(), X[:4, 0]
    exact = pair.exact(x)
    with pyro.validation_enabled(validation):
        draws = [estimator(20).terms(pair.model, pair.guide, x) for _ in range(300)]
    within(torch.stack([t.elbo.detach() for t in draws]), exact.detach())
    gradients = torch.stack([pair.gradient(-t.surrogate.sum()) for t in draws])
    within(gradients, pair.gradient(-exact.sum()))
    assert pair.gradient(-pair.exact(x).sum())[-3:].abs().min() > 0.05  # the guide's own gradient is tested


@PAIRS
def test_discrete_latents_against_pyro(ours, theirs):
    if ours is MeanFieldELBO:
        pytest.skip("Pyro's TraceMeanField_ELBO drops the score term")
    pair, x = Mixture(), X[:4, 0]
    same(loss_and_gradient(ours(), pair, x), loss_and_gradient(theirs(), pair, x))
    draws = [loss_and_gradient(theirs(), pair, x, seed=i)[1] for i in range(100)]
    within(torch.stack(draws), pair.gradient(-pair.exact(x).sum()))


class Nested(LinearGaussian):
    """One z a datum, a plate of three entries inside the data plate, a global latent mean outside it."""

    subsample = None

    def plates(self, x):
        data = pyro.plate("data", 10 if self.subsample else len(x), subsample_size=self.subsample)
        return data, pyro.plate("entries", 3)

    def model(self, x):
        g = pyro.sample("g", dist.Normal(self.b[0], 1.0))
        data, entries = self.plates(x)
        with data as i:
            x = x[i] if self.subsample else x
            z = pyro.sample("z", dist.Normal(g, 1.0))
            with entries:
                h = pyro.sample("h", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z + h + self.b[1], self.s), obs=x.T)

    def guide(self, x):
        pyro.sample("g", dist.Normal(self.c[0], 0.3))
        data, entries = self.plates(x)
        with data as i:
            x = x[i] if self.subsample else x
            pyro.sample("z", dist.Normal(x.mean(-1) * self.a[0, 0], self.t[0]))
            with entries:
                pyro.sample("h", dist.Normal(x.T * self.a[0, 1], self.t[1]))


@PAIRS
@pytest.mark.parametrize("k", [1, 4])
def test_nested_plate_and_global_latent_against_pyro(ours, theirs, k):
    pair = Nested()
    reference = theirs(num_particles=k, vectorize_particles=True, max_plate_nesting=2)
    estimator = ours(k, max_plate_nesting=2)
    same(loss_and_gradient(estimator, pair, X), loss_and_gradient(reference, pair, X))
    terms = estimator.terms(pair.model, pair.guide, X)
    assert terms.elbo.shape == (5,)


@PAIRS
def test_subsampling_scales_local_terms_alone(ours, theirs):
    pair, x = Nested(), torch.randn(10, 3)
    pair.subsample = 4
    # The guide's plate draws the indices first: the same for the same seed.
    reference = theirs(max_plate_nesting=2)
    same(loss_and_gradient(ours(max_plate_nesting=2), pair, x), loss_and_gradient(reference, pair, x))
    losses = torch.stack([loss_and_gradient(ours(max_plate_nesting=2), pair, x, seed=i)[0] for i in range(150)])
    pair.subsample = None
    full = torch.stack([loss_and_gradient(ours(max_plate_nesting=2), pair, x, seed=i)[0] for i in range(150)])
    within(torch.cat([losses - full.mean()]), 0.0)


class Left(LinearGaussian):
    """The data plate at -3, left of the particles at -2 and of the entries at -1."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-3):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("entries", 3, dim=-1):
                pyro.sample("x", dist.Normal(z + self.b[1], 3.0), obs=x[:, None])

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-3):
            pyro.sample("z", dist.Normal(x.mean(-1)[:, None, None] * self.a[0, 0], self.t[0]))


@BOTH
def test_particles_to_the_right_of_the_data_plate(estimator):
    pair = Left()
    one = torch.stack([estimator(1).terms(pair.model, pair.guide, 5 * X).elbo.detach() for _ in range(1000)])
    many = torch.stack([estimator(50).terms(pair.model, pair.guide, 5 * X).elbo.detach() for _ in range(100)])
    error = (one.var(0) / 1000 + many.var(0) / 100).sqrt()
    assert ((one.mean(0) - many.mean(0)).abs() < 4 * error).all()
    assert one.mean(0).std() > 8 * error.max()  # the data differ, so a scrambled order would show


@PAIRS
def test_common_scale(ours, theirs):
    pair = LinearGaussian()
    plain = loss_and_gradient(ours(), pair, X)
    pair.model, pair.guide = poutine.scale(pair.model, 0.25), poutine.scale(pair.guide, 0.25)
    scaled = loss_and_gradient(ours(), pair, X)
    same(scaled, (plain[0] / 4, plain[1] / 4))
    same(scaled, loss_and_gradient(theirs(), pair, X))
    assert ours().terms(pair.model, pair.guide, X).scale == 0.25


@BOTH
def test_scales_that_differ_are_refused(estimator):
    pair = LinearGaussian()
    with pytest.raises(ValueError, match="has scale .* and .*; wrap all of model and guide"):
        estimator().terms(poutine.scale(pair.model, 2.0), pair.guide, X)


@PAIRS
def test_mask_leaves_data_out(ours, theirs):
    pair, mask = LinearGaussian(), torch.tensor([True, False, True, False, True])
    pair.model, pair.guide = poutine.mask(pair.model, mask), poutine.mask(pair.guide, mask)
    same(loss_and_gradient(ours(3), pair, X), loss_and_gradient(theirs(3, 1, vectorize_particles=True), pair, X))
    terms = ours().terms(pair.model, pair.guide, X)
    assert (terms.elbo[~mask] == 0).all() and (terms.elbo[mask] != 0).all()


@BOTH
def test_mask_on_the_model_alone(estimator):
    pair = LinearGaussian()
    torch.manual_seed(0)
    q = TraceELBO().terms(pair.model, poutine.mask(pair.guide, False), X)
    torch.manual_seed(0)
    masked = estimator().terms(pair.model, poutine.mask(pair.guide, False), X)
    assert torch.allclose(masked.kl, q.kl, atol=1e-5)


class GlobalCoin(LinearGaussian):
    """A discrete latent that all data share."""

    def __init__(self):
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(0.3))

    def model(self, x):
        g = pyro.sample("g", dist.Bernoulli(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.b[0] + g, 1.0), obs=x)

    def guide(self, x):
        pyro.sample("g", dist.Bernoulli(logits=self.logit))

    def exact(self, x):
        g, q = torch.tensor([0.0, 1.0]), dist.Bernoulli(logits=self.logit)
        joint = dist.Normal(self.b[0] + g, 1.0).log_prob(x[:, None]).sum(0) + dist.Bernoulli(0.3).log_prob(g)
        return (q.log_prob(g).exp() * (joint - q.log_prob(g))).sum()


@BOTH
def test_a_global_discrete_latent_is_scored_by_all_data(estimator):
    pair, x = GlobalCoin(), X[:, 0]
    draws = [loss_and_gradient(estimator(10), pair, x, seed=i) for i in range(500)]
    within(torch.stack([loss for loss, _ in draws]), -pair.exact(x).detach())
    within(torch.stack([gradient for _, gradient in draws]), pair.gradient(-pair.exact(x)))


def test_mean_field_samples_the_kl_where_guide_and_model_are_ordered_differently():
    t = torch.tensor(0.5, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Normal(0.0, 1.0))
            a = pyro.sample("a", dist.Normal(2 * b, 1.0))
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x, t))
            pyro.sample("b", dist.Normal(a * t, 0.5))

    x = X[:, 0]
    draws = torch.stack([MeanFieldELBO(10).terms(model, guide, x).kl.detach() for _ in range(300)])
    within(torch.stack([TraceELBO(10).terms(model, guide, x).kl.detach() for _ in range(300)]) - draws, 0.0)


def test_mean_field_keeps_the_jacobian_of_an_autoguide():
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Exponential(rate), obs=x)

    guide = pyro.infer.autoguide.AutoNormal(model)
    x = X[:, 0].abs()
    guide(x)
    values = []
    for estimator in (TraceELBO(), MeanFieldELBO(), pyro.infer.Trace_ELBO()):
        torch.manual_seed(1)
        values.append(estimator.loss(model, guide, x))
    assert values[0] == pytest.approx(values[1], abs=1e-4) and values[0] == pytest.approx(values[2], abs=1e-4)


def test_deterministic_sites_do_not_count():
    pair = LinearGaussian()
    plain = loss_and_gradient(TraceELBO(), pair, X)

    class Noted(LinearGaussian):
        def model(self, x):
            pyro.deterministic("w2", 2 * self.w)
            super().model(x)

    same(loss_and_gradient(TraceELBO(), Noted(), X), plain)


@BOTH
def test_sites_of_one_side_alone_are_refused(estimator):
    pair = LinearGaussian()

    def misspelt(x):
        with pyro.plate("data", len(x)):
            pyro.sample("zz", dist.Normal(x @ pair.a.T, 1.0).to_event(1))

    with pyro.validation_enabled(False), pytest.raises(ValueError, match="the model samples z, but the guide does not"):
        estimator().terms(pair.model, misspelt, X)

    def more(x):
        pair.guide(x)
        pyro.sample("extra", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="the guide samples extra, but the model does not"):
        estimator().terms(pair.model, more, X)


@PAIRS
def test_a_program_without_plates_is_one_datum(ours, theirs):
    pair = LinearGaussian()

    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal((pair.w[0, 0] * z)[..., None] * torch.ones(5), pair.s).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(pair.c[0], pair.t[0]))

    pair.model, pair.guide = model, guide
    for k in (1, 4):
        reference = theirs(num_particles=k, vectorize_particles=True, max_plate_nesting=0)
        same(loss_and_gradient(ours(k), pair, X[:, 0]), loss_and_gradient(reference, pair, X[:, 0]))
    assert ours().terms(model, guide, X[:, 0]).elbo.shape == (1,)


@BOTH
def test_a_batch_without_a_plate_is_refused(estimator):
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match=r"site z .* of size 5 at dim -1 that no plate .*plate\('data', 5"):
        estimator().terms(model, lambda x: pyro.sample("z", dist.Normal(torch.zeros(5), 1.0)), X[:, 0])


@BOTH
def test_a_second_plate_of_the_same_dim_is_not_the_data(estimator):
    def model(x):
        with pyro.plate("others", 3):
            pyro.sample("o", dist.Normal(0.0, 1.0), obs=torch.ones(3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    x = X[:, 0]
    expected = dist.Normal(0.0, 1.0).log_prob(torch.cat([x, torch.ones(3)])).sum()
    assert torch.allclose(estimator().differentiable_loss(model, lambda x: None, x), -expected)


@BOTH
@pytest.mark.parametrize("name", ["num_particles", "max_plate_nesting"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_sizes(estimator, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1"):
        estimator(**{name: value})


@BOTH
def test_keyword_arguments_and_pyros_svi(estimator):
    model = vae(shape=(3,))
    svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), estimator(2))
    x = torch.ones(6, 3)
    before = [p.detach().clone() for p in model.parameters()]
    losses = [svi.step(x, y=None) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert svi.evaluate_loss(x) > 0
    module = estimator()(model.model, model.guide)
    assert module(x).requires_grad


def test_log_weights_are_log_p_minus_log_q():
    pair = LinearGaussian()
    torch.manual_seed(2)
    log_w = log_weights(pair.model, pair.guide, X, num_particles=7)
    torch.manual_seed(2)
    q = dist.Normal(X @ pair.a.T + pair.c, pair.t).to_event(1)
    z = q.rsample((7,))
    log_p = dist.Normal(z @ pair.w.T + pair.b, pair.s).to_event(1).log_prob(X)
    log_p = log_p + dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z)
    assert torch.allclose(log_w, log_p - q.log_prob(z), atol=1e-5) and log_w.shape == (7, 5)
    torch.manual_seed(2)
    scaled = log_weights(poutine.scale(pair.model, 3.0), poutine.scale(pair.guide, 3.0), X, num_particles=7)
    assert torch.equal(scaled, log_w)


def test_log_weights_refuse_a_site_outside_the_data_plate():
    pair = GlobalCoin()
    with pytest.raises(ValueError, match="site g is outside the plate data; log-weights of single data"):
        log_weights(pair.model, pair.guide, X[:, 0])


def test_everything_listed_is_an_elbo():
    assert all(issubclass(getattr(estimators, name), pyro.infer.ELBO) for name in estimators.__all__)
