"""VAEs with categorical codes: their bounds against sums over every code, their temperatures, what they refuse."""

import itertools
import math

import pytest
import torch
from instances import SHAPE, vae
from pyro import infer

from ppl_vae import SVI, VAE, estimators, evaluation, fit, likelihoods, load, networks, posteriors, priors, supports
from ppl_vae.estimators import Enum, MeanFieldELBO

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(5)).round().double()


def model(groups=2, classes=3, posterior=posteriors.OneHotCategorical, prior=priors.OneHotCategorical, **options):
    torch.manual_seed(0)
    dim = groups * classes
    made = vae(
        dim,
        prior=prior(dim, groups=groups, **({"learned": True} if prior is priors.OneHotCategorical else {})),
        posterior=posterior(networks.MLP(SHAPE, [5], "tanh"), dim, groups=groups, **options),
    ).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return made


def brute_force(made, x):
    """ELBO and log p(x) of every datum, from the encoder's logits and the decoder at each code in turn."""
    groups, classes = made.posterior.arguments["groups"], made.dim // made.posterior.arguments["groups"]
    q = made.posterior.head(made.posterior.network(x))[0].unflatten(-1, (groups, classes)).log_softmax(-1)
    p = made.prior.raw.reshape(groups, classes).log_softmax(-1)
    elbo, joint = 0.0, []
    for code in itertools.product(range(classes), repeat=groups):
        z = torch.cat([torch.eye(classes, dtype=torch.float64)[k] for k in code]).expand(len(x), -1)
        log_q, log_p = (sum(t[..., g, k] for g, k in enumerate(code)) for t in (q, p))
        joint.append(log_p + made.likelihood(z).log_prob(x))
        elbo = elbo + log_q.exp() * (joint[-1] - log_q)
    return elbo, torch.stack(joint).logsumexp(0)


@pytest.mark.parametrize(("groups", "classes"), [(1, 10), (2, 8), (3, 2)])
def test_enumeration_gives_the_bound_and_its_gradient(groups, classes):
    made = model(groups, classes)
    terms = Enum().terms(made.model, made.guide, X)
    exact, log_likelihood = brute_force(made, X)
    assert torch.allclose(terms.elbo, exact) and torch.allclose(terms.surrogate, exact)
    assert (terms.elbo < log_likelihood).all()
    found, expected = (torch.autograd.grad(v.sum(), [*made.parameters()]) for v in (terms.surrogate, exact))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-10) and b.abs().max() > 1e-3


def test_a_tight_posterior_makes_the_enumerated_bound_the_log_likelihood():
    made = model(1, 4)
    optimum = torch.stack(
        [made.prior().log_prob(z) + made.likelihood(z.expand(len(X), -1)).log_prob(X) for z in torch.eye(4).double()], 1
    )
    made.posterior.head.forward = lambda features: (optimum,)
    terms = Enum().terms(made.model, made.guide, X)
    assert torch.allclose(terms.elbo, optimum.logsumexp(1))


def test_too_many_codes_are_refused_before_they_are_listed():
    made = model(8, 16)
    with pytest.raises(ValueError, match=r"more than 4096 joint values \(16\^8 of z\); use VIMCO") as caught:
        SVI(made, Enum())(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("groups", [1, 2])
def test_straight_through_values_are_the_discrete_models(groups):
    """The mean of many draws of the bound, and the log-likelihood of many, are the sums over all codes."""
    made = model(groups, 3, posteriors.GumbelSoftmax)
    exact, log_likelihood = brute_force(made, X)
    draws = torch.stack([MeanFieldELBO(500).terms(made.model, made.guide, X).elbo.detach() for _ in range(10)])
    error = draws.std(0) / math.sqrt(len(draws))  # of the mean; t of 9 degrees of freedom: 6 data within 5 errors
    assert ((draws.mean(0) - exact).abs() < 5 * error).all()
    estimate = evaluation.log_likelihood(made, X, num_particles=5000)
    assert ((estimate.value - log_likelihood).abs() < 5 * estimate.stderr + 1e-9).all()
    assert torch.allclose(evaluation.elbo(made, X).kl, Enum().terms(made.model, twin(made).guide, X).kl)


def twin(made):
    """The same model with the posterior that has no straight-through gradient."""
    plain = model(made.posterior.groups, 3)
    plain.load_state_dict(made.state_dict(), strict=False)
    return plain


def test_the_gradient_is_the_relaxed_ones_and_the_exact_kls():
    made = model(2, 3, posteriors.GumbelSoftmax)
    torch.manual_seed(7)
    terms = MeanFieldELBO().terms(made.model, made.guide, X)
    found = torch.autograd.grad(terms.surrogate.sum(), made.posterior.head.layer.weight)[0]
    torch.manual_seed(7)
    q = made.posterior(X)
    z = q.rsample()
    hard = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(made.likelihood(hard).log_prob(X).sum(), hard)
    torch.manual_seed(7)
    relaxed = posteriors.RelaxedOneHotCategorical.forward
    soft = relaxed(made.posterior, X).rsample()
    kl = torch.distributions.kl_divergence(q, made.prior().expand((len(X),)))
    expected = torch.autograd.grad((soft * slope).sum() - kl.sum(), made.posterior.head.layer.weight)[0]
    assert torch.allclose(found, expected) and expected.abs().max() > 1e-3


OURS = [e for e in ("TraceELBO", "STL", "IWAE", "DReG", "VIMCO", "Enum", "RWS", "FreeBits", "MMD", "NVIL")]


@pytest.mark.parametrize("name", OURS)
def test_estimators_that_need_the_gradient_of_log_q_are_refused(name):
    estimator = getattr(estimators, name)(num_particles=2)
    with pytest.raises(ValueError, match=f"GumbelSoftmax.*{name} would need it; use MeanFieldELBO") as caught:
        SVI(model(2, 3, posteriors.GumbelSoftmax), estimator)(X)
    assert "\n" not in str(caught.value)


def test_pyros_estimators_are_refused_or_agree():
    made = model(2, 3, posteriors.GumbelSoftmax)
    for refused in (infer.Trace_ELBO(), infer.TraceEnum_ELBO()):
        with pytest.raises(ValueError, match=f"{type(refused).__name__} would need it; use MeanFieldELBO"):
            SVI(made, refused)(X)
    values = []
    for estimator in (infer.TraceMeanField_ELBO(), MeanFieldELBO()):
        objective = SVI(made, estimator)
        objective(X)
        torch.manual_seed(3)
        values.append(objective(X).value)
    assert torch.allclose(*values)


def test_a_prior_without_a_closed_kl_is_refused():
    made = model(1, 3, posteriors.GumbelSoftmax).float()
    with pytest.raises(
        ValueError, match="GumbelSoftmax needs a prior to which its KL has a closed form.*not VampPrior"
    ):
        VAE(priors.VampPrior(made.posterior, 3), made.posterior, made.likelihood)


@pytest.mark.parametrize("name", ["OneHotCategorical", "RelaxedOneHotCategorical"])
def test_groups_of_prior_and_posterior_agree(name):
    prior = getattr(priors, name)(8, groups=4)
    made = VAE(prior, likelihood=likelihoods.Bernoulli(networks.MLP(8, [4]), SHAPE))
    assert type(made.posterior).__name__ == name and supports.same(made.posterior.support, prior.support)
    assert made.encode(X.float()).shape == (6, 8)
    z = made.posterior(X.float()).sample().unflatten(-1, (4, 2))
    assert torch.allclose(z.sum(-1), torch.ones(6, 4))
    q = getattr(posteriors, name)(networks.MLP(SHAPE, [4]), 8, groups=2)
    said = rf"posterior has groups=2, but the prior has groups=4; use .* posteriors.{name}\(..., groups=4\)"
    with pytest.raises(ValueError, match=said):
        VAE(prior, q, made.likelihood)


def test_a_posterior_that_knows_no_groups_is_refused():
    decoder, q = likelihoods.Bernoulli(networks.MLP(8, [4]), SHAPE), posteriors.Dirichlet(networks.MLP(SHAPE, [4]), 8)
    with pytest.raises(
        ValueError, match=r"groups=1, but .* such as posteriors.RelaxedOneHotCategorical\(..., groups=4"
    ):
        VAE(priors.RelaxedOneHotCategorical(8, groups=4), q, decoder)
    with pytest.raises(
        ValueError, match=r"Dirichlet lives on the simplex.*4 one-hot vectors side by side; use .*OneHot"
    ):
        VAE(priors.OneHotCategorical(8, groups=4), q, decoder)


@pytest.mark.parametrize("name", ["OneHotCategorical", "RelaxedOneHotCategorical"])
def test_probabilities_of_all_groups_or_of_each(name):
    for probs in ([0.1, 0.2, 0.7], torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])):
        full = torch.as_tensor(probs).expand(2, 3)
        for learned in (False, True):
            p = getattr(priors, name)(6, probs, groups=2, learned=learned)()
            assert torch.allclose(p.base_dist.probs, full)
    with pytest.raises(ValueError, match="probs has shape"):
        getattr(priors, name)(6, [0.1] * 10, groups=2)
    with pytest.raises(ValueError, match="probs must be in the simplex"):
        getattr(priors, name)(6, [0.5, 0.5, 0.5], groups=2)


def test_a_prior_given_y_has_groups_too():
    prior = priors.Given(priors.OneHotCategorical(6, groups=2, learned=True), networks.Label(3))
    encoder, decoder = (networks.Conditioned.around(networks.MLP, networks.Label(3), s, [4]) for s in (SHAPE, (6,)))
    made = VAE(prior, posteriors.GumbelSoftmax(encoder, 6, groups=2), likelihoods.Bernoulli(decoder, SHAPE))
    loss = SVI(made)(X.float(), torch.tensor([0, 1, 2, 0, 1, 2]))
    loss.value.backward()
    assert prior.move.weight.grad.abs().max() > 0


# Temperatures


@pytest.mark.parametrize("name", ["GumbelSoftmax", "RelaxedOneHotCategorical"])
def test_two_numbers_make_a_linear_schedule(name):
    q = getattr(posteriors, name)(networks.MLP(SHAPE, [4]), 6, 1.0, 2, end_temperature=0.2, steps=100)
    for step, temperature in ((0, 1.0), (50, 0.6), (100, 0.2), (500, 0.2)):
        q.at_step(step)
        assert q(X.float()).base_dist.temperature.item() == pytest.approx(temperature)
    assert "temperature" in q.state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end_temperature": 0.0}, "end_temperature must be a positive number"),
        ({"end_temperature": 0.5, "steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 10}, "steps is the time until end_temperature, which is not given; give both"),
        ({"temperature": lambda step: 1.0, "end_temperature": 0.5}, "is a schedule and says where it ends; leave out"),
        ({"groups": 4}, "groups is 4, but the 6 entries"),
    ],
)
def test_bad_temperatures_and_groups(options, message):
    with pytest.raises(ValueError, match=message):
        posteriors.GumbelSoftmax(networks.MLP(SHAPE, [4]), 6, **options)


def test_a_resumed_run_has_the_temperature_and_the_bits_of_one_never_stopped(tmp_path):
    def train(folder, epochs, **more):
        torch.manual_seed(0)
        cooled = vae(
            6,
            prior=priors.OneHotCategorical(6, groups=2),
            posterior=posteriors.GumbelSoftmax(networks.MLP(SHAPE, [4]), 6, groups=2, end_temperature=0.2, steps=8),
        )
        fit(
            SVI(cooled),
            X.float(),
            epochs=epochs,
            batch_size=2,
            out=tmp_path / folder,
            progress=False,
            compile=False,
            **more,
        )
        return cooled

    whole = train("whole", 2)
    train("parts", 1)
    resumed = train("parts", 2, resume=True)
    assert resumed.posterior.temperature.item() == pytest.approx(1 - 0.8 * 5 / 8)  # of the last of six steps
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    for made in (resumed, load(tmp_path / "parts")):
        assert torch.equal(made.posterior.temperature, whole.posterior.temperature)
        assert made.posterior.groups == 2
