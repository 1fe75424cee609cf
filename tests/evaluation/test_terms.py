import math

import pytest
import torch
from contracts import LinearGaussian, within
from instances import vae
from torch import nn

from ppl_vae import SVI, VAE, estimators, evaluation, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.data import Split

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def linear_vae(w, mean, noise, a, c, t, posterior=posteriors.Normal):
    """A VAE with z ~ N(0, I), x ~ N(W z + mean, noise^2), q = N(A x + c, diag t^2), in float64."""
    size, dim = w.shape
    vae = VAE(
        priors.Normal(dim),
        posterior(networks.MLP(size, []), dim),
        likelihoods.Normal(networks.MLP(dim, []), size, scale=noise),
    ).double()
    with torch.no_grad():
        vae.likelihood.head.layer.weight.copy_(w)
        vae.likelihood.head.layer.bias.copy_(mean)
        vae.posterior.head.layer.weight.zero_()
        vae.posterior.head.layer.weight[:dim] = a
        vae.posterior.head.layer.bias[:dim] = c
        vae.posterior.head.layer.bias[dim:] = (t - posteriors.normal.SCALE_FLOOR).expm1().log()
    return vae


def data(n=400, size=5):
    draw = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64))[0]
    x = torch.randn(n, size, generator=draw, dtype=torch.float64) * torch.tensor([2.0, 1.3, 0.6, 0.5, 0.4])[:size]
    return x @ basis + 1.0


def ppca(x, dim):
    """W, mean, noise variance and the maximum of the mean log-likelihood (Tipping and Bishop 1999)."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values.flip(0), vectors.flip(1)
    noise = values[dim:].mean()
    w = vectors[:, :dim] * (values[:dim] - noise).sqrt()
    d = x.shape[1]
    best = -0.5 * (d * math.log(2 * math.pi) + values[:dim].log().sum() + (d - dim) * noise.log() + d)
    return w, mean, noise, best.item()


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_best_diagonal_guide_of_the_ppca_solution(angle):
    x = data()
    w, mean, noise, best = ppca(x, 2)
    rotation = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )
    w = w @ rotation
    m = w.T @ w + noise * torch.eye(2, dtype=torch.float64)
    a = torch.linalg.solve(m, w.T)
    t = (noise / m.diagonal()).sqrt()
    vae = linear_vae(w, mean, noise.sqrt().item(), a, -a @ mean, t)
    gap = 0.5 * (m.diagonal().log().sum() - m.logdet()).item()
    assert (gap < 1e-8) == (angle == 0.0)
    terms = evaluation.elbo(vae, x, num_particles=400)
    error = terms.elbo.std().item() / math.sqrt(400 * 400)
    assert abs(terms.elbo.mean().item() - (best - gap)) < max(4 * error, 0.005)
    result = evaluation.log_likelihood(vae, x, num_particles=200)
    assert abs(result.mean - best) < max(4 * result.mean_stderr, 1e-4) and result.mean_stderr < 0.01
    if angle == 0.0:
        assert result.ess.min() > 199.9  # the guide is the exact posterior


@pytest.mark.parametrize("posterior", ["Normal", "MultivariateNormal"])
def test_training_reaches_the_ppca_optimum(posterior):
    x = data()
    best = ppca(x, 2)[3]
    vae = VAE(
        priors.Normal(2),
        getattr(posteriors, posterior)(networks.MLP(5, []), 2),
        likelihoods.Normal(networks.MLP(2, []), 5, scale="learned"),
    ).double()
    objective = SVI(vae, estimators.MeanFieldELBO(num_particles=8))
    fit(objective, x, epochs=400, batch_size=len(x), lr=0.03, schedule="cosine", progress=False)
    assert -1e-4 < best - evaluation.log_likelihood(vae, x, num_particles=500).mean < 0.01
    # log p(x | z) varies by about 1.2 nats over z, so that the mean over 400 data and 2000 particles errs by 0.0014.
    assert -0.005 < best - evaluation.elbo(vae, x, num_particles=2000).elbo.mean().item() < 0.01


def test_elbo_terms_against_the_closed_form():
    pair = LinearGaussian()
    reconstruction, kl = (t.detach() for t in pair.terms(X))
    draws = [evaluation.elbo(pair, X, num_particles=20, seed=seed) for seed in range(200)]
    within(torch.stack([t.reconstruction for t in draws]), reconstruction)
    assert torch.allclose(draws[0].kl, kl, atol=1e-5)
    assert torch.allclose(draws[0].elbo, draws[0].reconstruction - draws[0].kl, atol=1e-5)


def test_elbo_does_not_depend_on_pieces_but_for_its_noise(monkeypatch):
    pair = LinearGaussian()
    whole = evaluation.elbo(pair, X, num_particles=5)
    monkeypatch.setattr(evaluation.doors, "PIECE", 7)
    pieces = evaluation.elbo(pair, X, num_particles=5)
    assert pieces.elbo.shape == whole.elbo.shape and torch.allclose(pieces.kl, whole.kl)


@pytest.mark.parametrize("name", ["Normal", "MultivariateNormal", "LowRankNormal"])
def test_kl_by_dimension(name):
    model = vae(shape=(3,), posterior=getattr(posteriors, name)(networks.MLP(3, [4]), 2))
    x = torch.rand(5, 3).bernoulli()
    q = model.posterior(x)
    mean, variance = q.mean, q.variance
    exact = 0.5 * (mean**2 + variance - 1 - variance.log()).mean(0)
    by_dimension = evaluation.kl_by_dimension(model, x)
    assert by_dimension.shape == (2,) and torch.allclose(by_dimension, exact, atol=1e-4)
    if name == "Normal":
        assert by_dimension.sum().item() == pytest.approx(evaluation.elbo(model, x).kl.mean().item(), abs=1e-5)


def test_kl_by_dimension_with_a_learned_prior():
    model = vae(shape=(3,), prior=priors.Normal(2, learned=True))
    nn.init.constant_(model.prior.mean, 0.7)
    nn.init.constant_(model.prior.raw_scale, 2.0)
    x = torch.rand(5, 3).bernoulli()
    exact = torch.distributions.kl_divergence(model.posterior(x).base_dist, model.prior().base_dist).mean(0)
    assert torch.allclose(evaluation.kl_by_dimension(model, x), exact, atol=1e-5)


def test_active_units():
    w = torch.eye(3, dtype=torch.float64)
    a = torch.diag(torch.tensor([1.0, 0.05, 0.0], dtype=torch.float64))
    model = linear_vae(w, torch.zeros(3), 1.0, a, torch.ones(3), torch.ones(3))
    x = 2 * torch.randn(4000, 3, dtype=torch.float64)  # variances of the means: 4, 0.01 (less a little), 0
    assert evaluation.active_units(model, x, threshold=0.02).tolist() == [True, False, False]
    assert evaluation.active_units(model, x, threshold=0.005).tolist() == [True, True, False]
    assert torch.allclose(evaluation.codes(model, x), x @ a.T + 1)


def test_reconstruction_error_is_of_the_mean_at_the_posterior_mean():
    model = vae(shape=(3,))
    x = torch.rand(5, 3).bernoulli()
    expected = (x - model.likelihood(model.posterior(x).mean).mean).square().sum(1)
    assert torch.allclose(evaluation.reconstruction_error(model, x), expected)
    ae = models.Autoencoder(networks.MLP(3, [4]), networks.MLP(2, [4]), 2, 3)
    assert torch.allclose(evaluation.reconstruction_error(ae, x), (x - ae(x)).square().sum(1))


def test_bits_per_dim():
    # 8-bit data under the uniform density on [0, 1]: log-likelihood 0, and 8 bits for every one of 256 levels.
    assert evaluation.bits_per_dim(0.0, (3, 4, 4), levels=256) == pytest.approx(8.0)
    assert evaluation.bits_per_dim(-math.log(2) * 12, (3, 4)) == pytest.approx(1.0)
    # A density that puts all mass on one level is 256 on it: 0 bits.
    assert evaluation.bits_per_dim(5 * math.log(256), (5,), levels=256) == pytest.approx(0.0)
    values = evaluation.bits_per_dim(torch.tensor([-1.0, -2.0]), (2,))
    assert torch.allclose(values, torch.tensor([0.5, 1.0]) / math.log(2))


@pytest.mark.parametrize("name", ["active_units", "kl_by_dimension", "reconstruction_error", "codes"])
def test_bad_input(name):
    function = getattr(evaluation, name)
    with pytest.raises(ValueError, match="x is empty; give at least one example"):
        function(vae(shape=(3,)), torch.ones(0, 3))
    with pytest.raises(ValueError, match="x has examples of shape"):
        function(vae(shape=(3,)), torch.ones(2, 4))
    if name == "kl_by_dimension":
        with pytest.raises(ValueError, match="x holds 0.5, outside the likelihood's support"):
            function(vae(shape=(3,)), torch.full((2, 3), 0.5))


def test_evaluate_gives_the_fixed_keys():
    model = vae(shape=(3,))
    x = torch.rand(9, 3).bernoulli()
    figures = evaluation.evaluate(model, Split(x, torch.arange(9)), num_particles=50, limit=7)
    fixed = {"log_likelihood", "log_likelihood_stderr", "elbo", "reconstruction", "kl", "bits_per_dim", "active_units"}
    assert fixed | {"n"} <= set(figures) and figures["n"] == 7
    assert figures["elbo"] == pytest.approx(figures["reconstruction"] - figures["kl"], abs=1e-5)
    assert figures["bits_per_dim"] == pytest.approx(-figures["log_likelihood"] / 3 / math.log(2))
    again = evaluation.log_likelihood(model, x[:7], num_particles=50)
    assert figures["log_likelihood"] == pytest.approx(again.mean, abs=1e-5)
    assert figures["log_likelihood_stderr"] == pytest.approx(again.mean_stderr, rel=1e-4)
    assert evaluation.evaluate(model, Split(x), limit=100)["n"] == 9
    ae = models.Autoencoder(networks.MLP(3, [4]), networks.MLP(2, [4]), 2, 3)
    assert set(evaluation.evaluate(ae, Split(x))) == {"reconstruction_error", "n"}
    with pytest.raises(ValueError, match="limit must be a whole number of at least 1, not 0"):
        evaluation.evaluate(model, Split(x), limit=0)


def test_evaluate_takes_the_levels_out_of_dequantized_data():
    model = vae(shape=(3,), likelihood=likelihoods.Normal(networks.MLP(2, [4]), 3))
    splits = [Split(torch.rand(4, 3), levels=levels) for levels in (None, 256)]
    plain, dequantized = (evaluation.evaluate(model, s, num_particles=20)["bits_per_dim"] for s in splits)
    assert plain != dequantized


def test_evaluate_says_mass_or_density_and_corrects_only_densities():
    x = torch.randint(0, 16, (40, 3)) / 15
    mass = vae(shape=(3,), likelihood=likelihoods.Categorical(networks.MLP(2, [4]), 3, levels=16))
    density = vae(shape=(3,), likelihood=likelihoods.ContinuousBernoulli(networks.MLP(2, [4]), 3))
    of_mass = evaluation.evaluate(mass, Split(x), num_particles=20)
    of_density = evaluation.evaluate(density, Split(x, part="test", levels=16), num_particles=20)
    assert (of_mass["log_likelihood_kind"], of_density["log_likelihood_kind"]) == ("mass", "density")
    assert of_mass["bits_per_dim"] == pytest.approx(-of_mass["log_likelihood"] / 3 / math.log(2))
    assert of_density["bits_per_dim"] == pytest.approx(4 - of_density["log_likelihood"] / 3 / math.log(2))
    # Under the prior as the guide, and a likelihood that knows nothing, both are at 4 bits: uniform over levels.
    for model in (mass, density):
        for layer in (model.likelihood.head.layer, model.posterior.head.layer):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        model.posterior.head.layer.bias.data[2:] = math.log(math.expm1(1 - posteriors.normal.SCALE_FLOOR))
    assert evaluation.evaluate(mass, Split(x), num_particles=2)["bits_per_dim"] == pytest.approx(4.0, abs=1e-5)
    dequantized = Split(x, part="test", levels=16)
    assert evaluation.evaluate(density, dequantized, num_particles=2)["bits_per_dim"] == pytest.approx(4.0, abs=1e-5)


def test_reconstructions_of_bags_of_words_have_their_totals():
    model = vae(shape=(3,), likelihood=likelihoods.Multinomial(networks.MLP(2, [4]), 3))
    nn.init.zeros_(model.likelihood.head.layer.weight)
    nn.init.zeros_(model.likelihood.head.layer.bias)
    x = torch.tensor([[2.0, 2.0, 2.0], [50.0, 50.0, 50.0]])
    assert evaluation.reconstruction_error(model, x).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
