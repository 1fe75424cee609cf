"""Every prior x posterior x likelihood either works from training to loading, or is refused at construction."""

import itertools

import pytest
import torch
from instances import exported

from ppl_vae import SVI, VAE, evaluation, fit, likelihoods, load, networks, posteriors, priors, supports

DIM, SHAPE, N = 3, (4,), 6
LIKELIHOODS = [name for name in exported("likelihoods") if name not in ("Of", "Missing", "Completed")]
PRIORS = [name for name in exported("priors") if name not in ("Of", "Given")]  # Given is of y
POSTERIORS = [name for name in exported("posteriors") if name != "Of"]


def posterior_of(name, missing=False):
    network = networks.MLP(SHAPE, [5], "tanh")
    return getattr(posteriors, name)(networks.FillMissing(network, SHAPE) if missing else network, DIM)


def prior_of(name, posterior):
    return priors.VampPrior(posterior, 3) if name == "VampPrior" else getattr(priors, name)(DIM)


def likelihood_of(name):
    network = networks.MLP(DIM, [5], "tanh")
    if name == "Columns":
        return likelihoods.Columns(network, SHAPE, {0: "real", 1: "positive", 2: "binary", 3: "categorical(3)"})
    if name == "Scaled":
        return likelihoods.Scaled(likelihoods.Normal(network, SHAPE))
    return getattr(likelihoods, name)(network, SHAPE)


def try_triple(prior, posterior, likelihood, folder):
    """Build it and take it through its life; False if its construction is refused, as it should be."""
    torch.manual_seed(0)
    q = posterior_of(posterior, missing=likelihood == "Columns")
    p = prior_of(prior, q)
    decoder = likelihood_of(likelihood)
    if not supports.same(p.support, q.support):
        with pytest.raises(ValueError, match=f"posterior {posterior} lives on .*prior {prior} lives on "):
            VAE(p, q, decoder)
        return False
    if (prior, posterior) == ("VampPrior", "GumbelSoftmax"):
        with pytest.raises(ValueError, match="GumbelSoftmax needs a prior to which its KL has a closed form"):
            VAE(p, q, decoder)
        return False
    vae = VAE(p, q, decoder)
    with torch.no_grad():
        x = vae.model(n=N)
    history = fit(SVI(vae), (x,), epochs=2, batch_size=N, progress=False, out=folder)
    assert torch.tensor([row["train"]["loss"] for row in history.rows]).isfinite().all()
    figures = evaluation.log_likelihood(vae, x, num_particles=5)
    assert figures.value.isfinite().all()
    again = load(folder)
    assert torch.equal(evaluation.log_likelihood(again, x, num_particles=5).value, figures.value)
    assert again.model(n=2).shape == (2, *SHAPE)
    return True


def count(triples, tmp_path):
    worked = sum(try_triple(*triple, tmp_path / str(i)) for i, triple in enumerate(triples))
    return worked, len(triples) - worked


def test_every_pair_under_one_likelihood_and_every_likelihood_under_one_pair(tmp_path):
    triples = [
        *itertools.product(PRIORS, POSTERIORS, ["Normal"]),
        *itertools.product(["Normal"], ["Normal"], LIKELIHOODS),
    ]
    worked, refused = count(triples, tmp_path)
    print(f"{worked} combinations work, {refused} are refused")
    assert worked >= len(PRIORS) + len(LIKELIHOODS) and refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_triple(likelihood, tmp_path):
    worked, refused = count([*itertools.product(PRIORS, POSTERIORS, [likelihood])], tmp_path)
    print(f"{likelihood}: {worked} triples work, {refused} are refused")
    assert worked >= len(PRIORS)


def test_every_prior_has_a_natural_posterior():
    for name in PRIORS:
        prior = prior_of(name, posterior_of("Normal"))
        vae = VAE(prior, likelihood=likelihood_of("Normal"))
        assert supports.same(vae.posterior.support, prior.support)
        assert vae.model(n=2).shape == (2, *SHAPE)
