import math

import pytest
import torch

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors
from ppl_vae.evaluation import impute

NAN = math.nan


def table(rows, seed=0):
    """Six columns of six kinds that follow one number."""
    draw = torch.Generator().manual_seed(seed)
    t, noise = torch.randn(rows, generator=draw), torch.randn(rows, 6, generator=draw)
    near = t[:, None] + 0.2 * noise
    level = (near > -0.5).float() + (near > 0.5)
    count = torch.poisson((2 + 0.7 * t).exp(), generator=draw)
    columns = [1700 + 80 * near[:, 0], (3 + 0.4 * near[:, 1]).exp(), count, (near[:, 3] > 0).float()]
    return torch.stack([*columns, level[:, 4], level[:, 5]], 1)


KINDS = dict(enumerate(("real", "positive", "count", "binary", "categorical(3)", "ordinal(3)")))


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    full = table(400)
    missing = torch.rand(full.shape) < 0.2
    split = data.as_split(full.masked_fill(missing, NAN))
    encoder = networks.TableEncoder(6, [32], kinds=KINDS, mask=True).start_at(split.mean(), split.std())
    likelihood = likelihoods.Columns(networks.MLP(2, [32]), 6, KINDS).start_at(split.mean(), split.std())
    vae = VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihood)
    fit(SVI(vae), split, epochs=150, batch_size=100, lr=5e-3, progress=False)
    return vae, full, split.x


@pytest.mark.parametrize("weighted", [False, True])
def test_better_than_the_mean_and_the_most_frequent(trained, weighted):
    vae, full, x = trained
    done = impute(vae, x, num_samples=50, weighted=weighted)
    gone = x.isnan()
    assert torch.equal(done.missing, gone) and torch.equal(done.x[~gone], x[~gone]) and not done.x.isnan().any()
    assert (done.uncertainty[~gone] == 0).all() and (done.uncertainty[gone] >= 0).all()
    assert vae.likelihood.support.check(done.x).all()
    for i in range(6):
        here, seen = gone[:, i], x[~gone[:, i], i]
        if i < 3:
            ours = (done.x[here, i] - full[here, i]).square().mean().sqrt()
            assert ours < 0.7 * (seen.mean() - full[here, i]).square().mean().sqrt(), i
            assert 0.5 < ours / done.uncertainty[here, i].square().mean().sqrt() < 2, i
        else:
            right = (done.x[here, i] == full[here, i]).float().mean()
            assert right > 0.1 + (seen.mode().values == full[here, i]).float().mean(), i
            assert abs(1 - done.uncertainty[here, i].mean() - right) < 0.2, i


def test_seed_pieces_and_modes(trained, monkeypatch):
    vae, _, x = trained
    state = torch.get_rng_state()
    vae.train()
    a, b, c = (impute(vae, x[:20], num_samples=10, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.x, b.x) and not torch.equal(a.x, c.x)
    assert vae.training and torch.equal(state, torch.get_rng_state())
    vae.eval()
    monkeypatch.setattr("ppl_vae.evaluation.imputation.NUMBERS", 1)
    pieces = impute(vae, x[:20], num_samples=500)
    monkeypatch.undo()
    whole = impute(vae, x[:20], num_samples=500)
    assert torch.allclose(pieces.x[:, 0], whole.x[:, 0], rtol=0.02)


def test_weights_lead_to_the_exact_posterior():
    """z ~ N(0, 1), x_i | z ~ N(z, 1), a poor q: x_2 | x_1 ~ N(x_1 / 2, 3/2)."""

    class Poor(torch.nn.Module):
        out_shape = (2,)

        def forward(self, x):
            return torch.zeros(len(x), 2)

    likelihood = likelihoods.Missing(likelihoods.Normal(networks.MLP(1, []), 2, scale=1.0))
    vae = VAE(priors.Normal(1), posteriors.Normal(networks.FillMissing(Poor(), 2), 1), likelihood)
    with torch.no_grad():
        likelihood.head.layer.weight.fill_(1.0)
        likelihood.head.layer.bias.zero_()
        vae.posterior.head.layer.bias.zero_()
    x = torch.tensor([[1.5, NAN]])
    done = impute(vae, x, num_samples=100_000, weighted=True)
    assert done.x[0, 1].item() == pytest.approx(0.75, abs=0.03)
    assert done.uncertainty[0, 1].item() == pytest.approx(math.sqrt(1.5), abs=0.03)
    assert abs(impute(vae, x, num_samples=10_000).x[0, 1]) < 0.1


def test_likelihoods_in_missing_and_errors(trained):
    likelihood = likelihoods.Missing(likelihoods.Bernoulli(networks.MLP(1, [4]), (1, 2, 2)))
    encoder = networks.FillMissing(networks.MLP((1, 2, 2), [4]), (1, 2, 2))
    vae = VAE(priors.Normal(1), posteriors.Normal(encoder, 1), likelihood)
    x = torch.ones(3, 1, 2, 2)
    x[0, 0, 0] = NAN
    done = impute(vae, x)
    assert done.x.shape == x.shape and set(done.x.unique().tolist()) <= {0.0, 1.0} and done.uncertainty.max() <= 0.5
    with pytest.raises(ValueError, match="num_samples"):
        impute(vae, x, num_samples=0)
    with pytest.raises(ValueError, match="empty"):
        impute(vae, x[:0])
    with pytest.raises(TypeError, match="vae must be a VAE to impute, not MLP"):
        impute(networks.MLP(2), x)
    with pytest.raises(ValueError, match="-1"):
        impute(trained[0], torch.full((1, 6), -1.0))


def test_every_figure_of_a_model_with_missing_entries_is_finite(trained):
    vae, _, x = trained
    figures = evaluation.evaluate(vae, data.as_split(x), num_particles=30, limit=50)
    assert all(math.isfinite(value) for value in figures.values() if not isinstance(value, str))
