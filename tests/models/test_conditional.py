"""A conditional VAE: p(z | y), q(z | x, y) and p(x | z, y), from parts."""

import copy
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import Predictive
from torch import nn

from ppl_vae import SVI, VAE, estimators, fit, likelihoods, load, models, networks, parts, posteriors, priors
from ppl_vae.networks import MLP, Conditioned, Label
from ppl_vae.training.capture import Captured

SHAPE, CLASSES, DIM = (1, 4, 4), 3, 2
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)).bernoulli()
Y = torch.tensor([0, 2, 1, 2, 0, 0])


def cvae(family="Normal", dim=DIM, label=CLASSES):
    """All of a conditional VAE."""
    torch.manual_seed(0)
    y = Label(label)
    vae = VAE(
        priors.Given(getattr(priors, family)(dim, learned=True), y),
        getattr(posteriors, family)(Conditioned.around(MLP, y, SHAPE, [5], "tanh"), dim),
        likelihoods.Bernoulli(Conditioned(MLP(dim + label, [5], "tanh"), y), SHAPE),
    )
    nn.init.normal_(vae.prior.move.weight)  # which starts at 0, where every label is the same
    return vae


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def by_hand(vae, z=None):
    """q and p of every datum from the weights alone: (mean, scale) of q, (mean, scale) of p(z | y), logits of x."""
    hot = F.one_hot(Y, CLASSES).float()
    encoder, decoder = (part.network.layers.layers for part in (vae.posterior, vae.likelihood))
    q = linear(vae.posterior.head.layer, linear(encoder[1], torch.cat([X.flatten(1), hot], 1)).tanh())
    moved = vae.prior.move.weight.T[Y]
    p = (vae.prior.prior.mean + moved[:, :DIM], F.softplus(vae.prior.prior.raw_scale + moved[:, DIM:]))
    z = q[:, :DIM] if z is None else z
    joint = torch.cat([z, hot.expand(*z.shape[:-1], CLASSES)], -1)
    logits = linear(vae.likelihood.head.layer, linear(decoder[1], joint).tanh())
    return (q[:, :DIM], F.softplus(q[:, DIM:]) + 1e-6), p, logits


def normal(mean, scale):
    return dist.Normal(mean, scale).to_event(1)


def score(logits):
    return dist.Bernoulli(logits=logits).to_event(1).log_prob(X.flatten(1))


def test_parts_by_hand():
    vae = cvae()
    q, p, logits = by_hand(vae)
    z = vae.encode(X, Y)
    assert torch.allclose(z, q[0], atol=1e-6) and torch.allclose(vae.posterior(X, Y).base_dist.scale, q[1], atol=1e-6)
    assert torch.allclose(vae.prior(Y).base_dist.loc, p[0]) and torch.allclose(vae.prior(Y).base_dist.scale, p[1])
    assert torch.allclose(vae.decode(z, Y), logits.sigmoid().reshape(X.shape), atol=1e-6)
    assert vae.decode(z.expand(4, 6, 2), Y).shape == (4, *X.shape)


@pytest.mark.parametrize("k", [1, 3])
def test_estimators_by_hand(k):
    """TraceELBO, MeanFieldELBO and IWAE of a seed against the log-densities of the same draws, written out."""
    vae = cvae()

    def draws():
        torch.manual_seed(7)
        return q.rsample((k,) if k > 1 else ())

    q, p, _ = by_hand(vae)
    q, p = normal(*q), normal(*p)
    z = draws().reshape(k, 6, DIM)
    fits = score(by_hand(vae, z)[2])
    log_w = fits + p.log_prob(z) - q.log_prob(z)
    kl = torch.distributions.kl_divergence(q, p)
    for estimator, expected in (
        (estimators.TraceELBO(k, max_plate_nesting=1), log_w.mean(0)),
        (estimators.MeanFieldELBO(k, max_plate_nesting=1), fits.mean(0) - kl),
        (estimators.IWAE(k, max_plate_nesting=1), log_w.logsumexp(0) - torch.tensor(float(k)).log()),
    ):
        torch.manual_seed(7)
        assert torch.allclose(estimator.terms(vae.model, vae.guide, X, Y).surrogate, expected, atol=1e-4), estimator


def test_enum_sums_over_the_codes():
    vae = cvae("OneHotCategorical", dim=4)
    codes = torch.eye(4)
    q, p = vae.posterior(X, Y), vae.prior(Y)
    fits = torch.stack([vae.likelihood(code.expand(6, 4), Y).log_prob(X) for code in codes], 1)
    expected = (q.probs * (fits + p.probs.log() - q.probs.log())).sum(1)
    assert not torch.allclose(p.probs[0], p.probs[1])
    assert torch.allclose(estimators.Enum().terms(vae.model, vae.guide, X, Y).elbo, expected, atol=1e-5)


def test_enum_sums_over_a_label_that_is_latent():
    """x | y and y | x of a program, with y enumerated to the left of the data in one Conditioned network."""
    torch.manual_seed(0)
    decoder = likelihoods.Bernoulli(Conditioned(MLP(DIM + CLASSES, [5]), Label(CLASSES)), SHAPE)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))

    def model(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(CLASSES) / CLASSES))
            pyro.sample("x", decoder(torch.ones(len(x), DIM), y), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(logits=encoder(x)))

    q = encoder(X).softmax(1)
    fits = [decoder(torch.ones(6, DIM), torch.full((6,), label)).log_prob(X) for label in range(CLASSES)]
    expected = (q * (torch.stack(fits, 1) - q.log() - torch.tensor(3.0).log())).sum(1)
    program = models.Program(model, guide)
    assert torch.allclose(estimators.Enum().terms(program.model, program.guide, X).elbo, expected, atol=1e-5)


@pytest.mark.parametrize("estimator", [estimators.MeanFieldELBO(), estimators.IWAE(3)], ids=lambda e: type(e).__name__)
def test_captured_is_eager_to_the_bit(estimator):
    eager, captured = (SVI(cvae(), estimator) for _ in range(2))
    eager(X, Y)  # validated
    captured(X, Y)
    step = Captured(captured, (X, Y), compiled=False)
    torch.manual_seed(3)
    loss = eager(X, Y)
    loss.value.backward()
    torch.manual_seed(3)
    assert torch.equal(step((X, Y)).value, loss.value)
    for (name, a), b in zip(eager.named_parameters(), captured.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    assert eager.model.prior.move.weight.grad[:, :CLASSES].abs().sum() > 0


def test_plain_pyro_trains_it():
    vae = cvae()
    before = [p.detach().clone() for p in vae.parameters()]
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.TraceMeanField_ELBO())
    losses = [svi.step(X, Y) for _ in range(2)]
    assert losses[0] != losses[1]
    assert all(not torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True))
    assert Predictive(vae.model, num_samples=4)(y=Y)["x"].shape == (4, *X.shape)
    assert Predictive(vae.model, num_samples=4, parallel=True)(y=Y)["x"].shape == (4, *X.shape)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"y is missing: the model is conditional on Label\(3\)"),
        (Y[:, None], r"y must be labels 0 to 2 of shape \(6,\), not of shape \(6, 1\)"),
        (Y.float(), "y must hold whole numbers, such as torch.int64"),
        (Y + 1, r"y holds the label 3 in row 1, but Label\(3\) takes 0 to 2"),
    ],
)
def test_labels_that_are_refused(y, message):
    vae = cvae()
    for program in (vae.model, vae.guide, SVI(vae)):
        with pytest.raises(ValueError, match=message):
            program(*((X,) if y is None else (X, y)))


def test_a_tracer_sees_the_shape_of_y():
    """Where Pyro checks no values, as in captured steps, y of another shape is refused all the same."""
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=r"not of shape \(6, 1\)"):
        cvae().model(X, Y[:, None])


def test_parts_that_do_not_fit():
    y, q = Label(CLASSES), posteriors.Normal(Conditioned.around(MLP, Label(CLASSES), SHAPE, [5]), DIM)
    with pytest.raises(ValueError, match=r"the likelihood's network must take 5 = 2 \+ 3 entries, .*, not 7"):
        VAE(priors.Normal(DIM), q, likelihoods.Bernoulli(Conditioned(MLP(7, [5]), y), SHAPE))
    with pytest.raises(ValueError, match=r"the posterior's network must take \(4, 4, 4\), .*, not \(3, 4, 4\)"):
        posterior = posteriors.Normal(Conditioned(networks.Conv((3, 4, 4), [2]), Label(2)), DIM)
        VAE(priors.Normal(DIM), posterior, likelihoods.Bernoulli(Conditioned(MLP(4, [5]), Label(2)), (2, 4, 4)))
    with pytest.raises(ValueError, match=r"conditional on Label\(3\) and on Label\(4\)"):
        VAE(priors.Normal(DIM), q, likelihoods.Bernoulli(Conditioned(MLP(6, [5]), Label(4)), SHAPE))


def test_a_prior_whose_batch_is_not_that_of_y():
    class Wrong(priors.Normal):
        def forward(self, y=None):
            return super().forward().expand((3,))

    q = posteriors.Normal(Conditioned.around(MLP, Label(CLASSES), SHAPE, [5]), DIM)
    with pytest.raises((ValueError, RuntimeError)):
        VAE(Wrong(DIM), q, likelihoods.Bernoulli(MLP(DIM, [5]), SHAPE))


def test_the_natural_posterior_sees_y():
    prior = priors.Given(priors.Normal(DIM, learned=True), Label(CLASSES))
    vae = VAE(prior, likelihood=likelihoods.Bernoulli(MLP(DIM, [5]), SHAPE))
    assert isinstance(vae.posterior.network, Conditioned) and vae.posterior.network.in_shape == SHAPE
    assert not torch.equal(vae.encode(X, Y), vae.encode(X, 2 - Y))


def test_the_condition_of_a_model():
    vae = cvae()
    assert isinstance(vae.condition, Label) and vae.condition is copy.copy(vae).condition
    clone = copy.deepcopy(vae)
    assert clone.condition is clone.prior.condition is not vae.condition
    assert not any(name.startswith(("condition", "_condition")) for name in vae.state_dict())  # not a second time
    assert VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(MLP(2, [3]), 3)).condition is None
    again = parts.build(json.loads(json.dumps(parts.describe(vae))))
    again.load_state_dict(vae.state_dict())
    assert torch.equal(again.encode(X, Y), vae.encode(X, Y))


@pytest.mark.parametrize("name", [name for name in likelihoods.__all__ if name != "Completed"])  # of a part of x
def test_every_likelihood_sees_y_under_particles(name):
    """Every family reads y through its network alone: (K, B) codes beside (B,) labels, row by row."""
    special = {"Of": {"distribution": dist.Gamma}, "Columns": {"kinds": {0: "count", 1: "categorical(3)"}}}
    network = Conditioned(MLP(DIM + CLASSES, [5]), Label(CLASSES))
    if name == "Missing":
        likelihood = likelihoods.Missing(likelihoods.Bernoulli(network, 4))
    elif name == "Scaled":
        likelihood = likelihoods.Scaled(likelihoods.Normal(network, 4))
    else:
        likelihood = getattr(likelihoods, name)(network, 4, **special.get(name, {}))
    likelihood.eval()
    z = torch.randn(3, 6, DIM)
    p = likelihood(z, Y)
    assert p.batch_shape == (3, 6) and p.event_shape == (4,)
    x = p.sample()
    alone = torch.stack([likelihood(z[:, i], Y[i].expand(3)).log_prob(x[:, i]) for i in range(6)], 1)
    assert torch.allclose(p.log_prob(x), alone, rtol=1e-4, atol=1e-4)
    assert likelihood(z[0, 0], Y).batch_shape == (6,)  # one code under every label


@pytest.mark.parametrize("name", posteriors.__all__)
def test_every_posterior_sees_y(name):
    network = Conditioned.around(MLP, Label(CLASSES), SHAPE, [5])
    posterior = getattr(posteriors, name)(network, 3, **({"distribution": dist.Laplace} if name == "Of" else {}))
    q = posterior(X, Y)
    assert q.batch_shape == (6,) and q.event_shape == (3,)
    z = q.sample()
    alone = torch.cat([posterior(X[i : i + 1], Y[i : i + 1]).log_prob(z[i : i + 1]) for i in range(6)])
    assert torch.allclose(q.log_prob(z), alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(q.log_prob(z), posterior(X, 2 - Y).log_prob(z))


def test_trained_from_python_it_draws_what_y_says(tmp_path):
    torch.manual_seed(1)
    y = torch.arange(96) % CLASSES
    x = (torch.eye(CLASSES)[y] @ torch.rand(CLASSES, 16).round()).reshape(-1, *SHAPE)
    vae = cvae()
    history = fit(SVI(vae), (x, y), (x, y), epochs=30, batch_size=16, lr=0.03, progress=False, out=tmp_path / "run")
    assert history.rows[-1]["valid"]["loss"] < 0.3 * history.rows[0]["valid"]["loss"]
    labels = torch.arange(CLASSES)
    drawn = load(tmp_path / "run").model(y=labels)
    assert (drawn != x[:CLASSES]).float().mean() < 0.05 < (x[0] != x[1]).float().mean()
    assert torch.equal(vae.decode(torch.zeros(CLASSES, DIM), labels).round(), x[:CLASSES])


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "labels y are needed|y is missing"),
        (Y[:, None], r"y must be labels 0 to 2 of shape \(6,\), not of shape \(6, 1\)"),
        (Y.float(), "y must hold whole numbers, such as torch.int64"),
        (Y + 1, r"y holds the label 3 in row \d, but Label\(3\) takes 0 to 2"),
    ],
)
def test_fit_refuses_labels_before_anything_is_written(y, message, compile, tmp_path):
    data = X if y is None else (X, y)
    with pytest.raises(ValueError, match=message):
        fit(SVI(cvae()), data, epochs=1, progress=False, compile=compile, out=tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


class Pairs(torch.utils.data.Dataset):
    """Rows that are read one at a time, the label of the last one out of range."""

    def __len__(self):
        return 12

    def __getitem__(self, row):
        return X[row % 6], CLASSES if row == 11 else row % CLASSES


@pytest.mark.parametrize("streamed", [False, True])
def test_a_label_out_of_range_in_a_later_batch_is_refused(streamed, tmp_path):
    data = (
        Pairs() if streamed else (X.repeat(2, *[1] * len(SHAPE)), torch.tensor([Pairs()[row][1] for row in range(12)]))
    )
    with pytest.raises(ValueError, match=r"y holds the label 3 in row \d+, but Label\(3\) takes 0 to 2"):
        fit(SVI(cvae()), data, epochs=1, batch_size=3, shuffle=False, progress=False, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
