import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import VAE, evaluation, likelihoods, models, networks, posteriors, priors

SHAPE = (1, 8, 8)


def make_vae(dim=3, likelihood=likelihoods.Bernoulli):
    torch.manual_seed(0)
    return VAE(
        priors.Normal(dim),
        posteriors.Normal(networks.MLP(SHAPE, [16]), dim),
        likelihood(networks.MLP(dim, [16]), SHAPE),
    )


def make_autoencoder(dim=3):
    torch.manual_seed(0)
    return models.Autoencoder(networks.MLP(SHAPE, [16]), networks.MLP(dim, [16]), dim, SHAPE)


@pytest.fixture(params=[make_vae, make_autoencoder])
def model(request):
    return request.param()


X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_codes_are_posterior_means_or_encodings():
    vae, ae = make_vae(), make_autoencoder()
    assert torch.equal(evaluation.codes(vae, X), vae.posterior(X).mean.detach())
    assert torch.equal(evaluation.codes(ae, X), ae.encode(X).detach())


def test_pictures_are_likelihood_means_or_decodings():
    z = torch.randn(2, 5, 3)
    vae, ae = make_vae(likelihood=likelihoods.Normal), make_autoencoder()
    assert torch.allclose(evaluation.decode(vae, z), vae.likelihood(z).mean, atol=1e-6)
    assert torch.allclose(evaluation.decode(ae, z), ae.decode(z), atol=1e-6)


def test_a_reconstruction_is_the_decoded_code(model):
    assert torch.equal(evaluation.reconstruct(model, X), evaluation.decode(model, evaluation.codes(model, X)))


def test_batches_do_not_show(model, monkeypatch):
    whole = evaluation.reconstruct(model, X)
    monkeypatch.setattr(evaluation.coding, "PICTURES", 4)
    assert torch.allclose(evaluation.reconstruct(model, X), whole, atol=1e-6)


def test_the_ends_of_an_interpolation_are_reconstructions(model):
    line = evaluation.interpolate(model, X[:2], X[2:4], steps=5)
    assert line.shape == (2, 5, *SHAPE)
    assert torch.allclose(line[:, 0], evaluation.reconstruct(model, X[:2]), atol=1e-6)
    assert torch.allclose(line[:, -1], evaluation.reconstruct(model, X[2:4]), atol=1e-6)
    middle = (evaluation.codes(model, X[:2]) + evaluation.codes(model, X[2:4])) / 2
    assert torch.allclose(line[:, 2], evaluation.decode(model, middle), atol=1e-5)


def test_a_traversal_changes_one_entry_of_the_code(model):
    shown = evaluation.traverse(model, X, dims=[2, 0], values=[-2.0, 0.5])
    assert shown.shape == (2, 2, *SHAPE)
    z = evaluation.codes(model, X)[0]
    for row, d in enumerate([2, 0]):
        for column, value in enumerate([-2.0, 0.5]):
            changed = z.clone()
            changed[d] = value
            assert torch.allclose(shown[row, column], evaluation.decode(model, changed), atol=1e-6)


def test_a_traversal_without_data_starts_at_the_prior_mean_and_spans_its_quantiles():
    vae = make_vae()
    shown = evaluation.traverse(vae)
    assert shown.shape == (3, 9, *SHAPE)
    ends = torch.zeros(3)
    ends[1] = dist.Normal(0.0, 1.0).icdf(torch.tensor(0.98))
    assert torch.allclose(shown[1, -1], evaluation.decode(vae, ends), atol=1e-5)
    assert torch.allclose(shown[:, 4], evaluation.decode(vae, torch.zeros(3, 3)), atol=1e-5)


def test_a_traversal_of_an_autoencoder_spans_its_codes():
    ae = make_autoencoder()
    codes = evaluation.codes(ae, X)
    z = codes[0].clone()
    z[1] = torch.quantile(codes[:, 1], 0.02)
    assert torch.allclose(evaluation.traverse(ae, X, dims=[1])[0, 0], evaluation.decode(ae, z), atol=1e-5)


def test_the_manifold_runs_right_and_up_through_prior_quantiles():
    vae = make_vae(dim=2)
    grid = evaluation.manifold(vae, n=5)
    q = dist.Normal(0.0, 1.0).icdf(torch.tensor([0.02, 0.98]))
    corner = evaluation.decode(vae, torch.stack([torch.stack([q[1], q[1]]), torch.stack([q[0], q[1]])]))
    assert grid.shape == (5, 5, *SHAPE)
    assert torch.allclose(grid[0, -1], corner[0], atol=1e-5) and torch.allclose(grid[0, 0], corner[1], atol=1e-5)


def test_samples_follow_their_seed_alone():
    vae = make_vae()
    first = evaluation.sample_means(vae, 7, seed=3)
    assert first.shape == (7, *SHAPE) and torch.equal(first, evaluation.sample_means(vae, 7, seed=3))
    assert not torch.equal(first, evaluation.sample_means(vae, 7, seed=4))
    draws = evaluation.sample_draws(vae, 7, seed=3)
    assert set(draws.unique().tolist()) == {0.0, 1.0} and torch.equal(draws, evaluation.sample_draws(vae, 7, seed=3))


def test_draws_come_from_the_pictures_of_the_same_seed():
    vae = make_vae(likelihood=likelihoods.Normal)
    errors = evaluation.sample_draws(vae, 400, seed=1) - evaluation.sample_means(vae, 400, seed=1)
    scale = vae.likelihood(torch.zeros(1, 3)).base_dist.scale.mean().item()
    standard_error = scale / errors.numel() ** 0.5
    assert abs(errors.mean().item()) < 4 * standard_error
    assert errors.std().item() == pytest.approx(scale, rel=0.05)


def test_modes_gradients_and_random_numbers_are_left_alone(model):
    model.train()
    frozen = next(m for m in model.modules() if isinstance(m, nn.Linear))
    frozen.eval()
    state = torch.get_rng_state()
    out = [evaluation.reconstruct(model, X), evaluation.traverse(model, X)]
    out += [evaluation.interpolate(model, X[:1], X[1:2])]
    if isinstance(model, VAE):
        out += [evaluation.sample_means(model, 3), evaluation.sample_draws(model, 3)]
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and not frozen.training
    assert not any(t.requires_grad for t in out)


@pytest.mark.parametrize(
    "make, error, names",
    [
        (lambda: evaluation.codes(make_vae(), X[0]), ValueError, ["x", "(8, 8)", "(1, 8, 8)"]),
        (lambda: evaluation.codes(nn.Linear(1, 1), X), TypeError, ["Linear", "models.Codec"]),
        (lambda: evaluation.decode(make_vae(), torch.zeros(2, 4)), ValueError, ["z", "(..., 3)", "(2, 4)"]),
        (lambda: evaluation.sample_means(make_autoencoder(), 3), TypeError, ["Autoencoder", "prior"]),
        (lambda: evaluation.sample_means(make_vae(), 0), ValueError, ["n", "0"]),
        (lambda: evaluation.interpolate(make_vae(), X[:1], X[:2]), ValueError, ["x1", "(2, 1, 8, 8)"]),
        (lambda: evaluation.interpolate(make_vae(), X[:1], X[1:2], steps=1), ValueError, ["steps", "1"]),
        (lambda: evaluation.traverse(make_vae(), X, dims=[3]), ValueError, ["dims", "2", "[3]"]),
        (lambda: evaluation.traverse(make_autoencoder(), values=[0.0]), ValueError, ["x", "prior"]),
        (lambda: evaluation.traverse(make_autoencoder(), X[:1]), ValueError, ["values", "x"]),
        (lambda: evaluation.manifold(make_vae(), n=4), ValueError, ["dim 2", "3"]),
    ],
)
def test_mistakes_are_named_in_one_sentence(make, error, names):
    with pytest.raises(error) as caught:
        make()
    assert "\n" not in str(caught.value) and all(name in str(caught.value) for name in names), caught.value
