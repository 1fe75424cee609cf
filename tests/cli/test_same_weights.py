"""The shell and Python make the same model from the same words, bit for bit, once ``fit`` has begun."""

import numpy as np
import pytest
import torch
from instances import instance

from ppl_vae import (
    VAE,
    catalog,
    code_priors,
    corruptions,
    likelihoods,
    models,
    networks,
    penalties,
    posteriors,
    priors,
    quantizers,
)
from ppl_vae.cli.build import build_objective, load_data
from ppl_vae.cli.settings import settings

DIM, SEED = 3, 4
SHELL = ["--hidden", "5", "--latent-dim", str(DIM), "--seed", str(SEED)]
KINDS = "0=real,1=positive,2=count,3=binary,4=categorical(3),5=ordinal(4)"
SUPPLIED = {"corruption": ("gaussian", corruptions.Gaussian), "penalty": ("kl", penalties.KLRate)}


def cls(role, name, folder):
    return getattr(folder, catalog.parts(role)[name].cls)


def started(words, likelihood, tmp_path, shape=(6,)):
    """The shell's model of ``words`` on rows that the likelihood can emit, started; and the rows it was started at."""
    torch.manual_seed(0)
    columns = likelihood == "columns"
    part = instance("likelihoods", ("Columns", 0)) if columns else None
    part = part or cls("likelihood", likelihood, likelihoods)(networks.MLP(2, [5]), shape)
    np.save(tmp_path / "rows.npy", part(torch.randn(60, 2)).sample().numpy())
    kinds = ["--likelihood.kinds", KINDS] if columns else []
    chosen = settings(["--data", str(tmp_path / "rows.npy"), *words, *kinds])
    data = load_data(chosen)
    objective = build_objective(chosen, data)
    train = data.train.resolve(objective.support)
    objective.start(train)
    return objective.model, train


def in_python(train, prior="normal", posterior=None, likelihood="normal"):
    """A VAE in the words of Python, started at the same rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        shape, kinds = tuple(train.shape), KINDS if likelihood == "columns" else None
        decoder = networks.MLP.decoder(DIM, [5], shape)
        encoder = networks.MLP(shape, [5]) if kinds is None else networks.TableEncoder(shape, [5], kinds=kinds)
        made = cls("likelihood", likelihood, likelihoods)
        scaled = likelihood in ("normal", "laplace", "student-t")  # on the reals
        encoder = networks.Scaled(encoder, shape) if scaled else encoder
        p = None
        if prior != "vamp-prior":
            with torch.random.fork_rng(devices=[]):  # the others start the same whatever the prior draws
                p = cls("prior", prior, priors)(DIM)
        q = (posteriors.natural(p) if posterior is None else cls("posterior", posterior, posteriors))(encoder, DIM)
        if p is None:
            with torch.random.fork_rng(devices=[]):
                p = priors.VampPrior(q, 10, inputs="real")
        own = {} if kinds is None else {"kinds": kinds}
        part = made(decoder, shape, **own)
        vae = VAE(p, q, likelihoods.Scaled(part) if scaled else part)
        vae.start(train)
        return vae


def check(shell, python):
    one, other = shell.state_dict(), python.state_dict()
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize("prior", catalog.parts("prior"))
def test_every_prior(prior, tmp_path):
    components = ["--prior.components", "10"] if prior == "vamp-prior" else []
    model, train = started(["--likelihood", "normal", "--prior", prior, *components, *SHELL], "normal", tmp_path)
    check(model, in_python(train, prior))
    units = model.likelihood.units
    assert torch.equal(units.shift, train.mean()) and torch.equal(model.likelihood.head.bias(), torch.zeros(6))
    if components:
        assert torch.equal(model.prior.raw, units(train.x[:10]))


@pytest.mark.parametrize("posterior", catalog.parts("posterior"))
def test_every_posterior(posterior, tmp_path):
    own = getattr(posteriors, catalog.parts("posterior")[posterior].cls)(networks.MLP(6, [5]), DIM)
    prior = next(
        name
        for name in catalog.parts("prior")
        if name != "vamp-prior" and str(cls("prior", name, priors)(DIM).support) == str(own.support)
    )
    words = ["--likelihood", "normal", "--prior", prior, "--posterior", posterior, *SHELL]
    model, train = started(words, "normal", tmp_path)
    check(model, in_python(train, prior, posterior))


@pytest.mark.parametrize("likelihood", catalog.parts("likelihood"))
def test_every_likelihood(likelihood, tmp_path):
    model, train = started(["--likelihood", likelihood, *SHELL], likelihood, tmp_path)
    check(model, in_python(train, likelihood=likelihood))
    assert not model.likelihood.head.fresh


def test_a_vqvae(tmp_path):
    shape, own = (1, 4, 4), ["--quantizer.num-codes", "4", "--code-prior.width", "8", "--likelihood", "bernoulli"]
    model, train = started(["--model", "vqvae", *own, *SHELL], "bernoulli", tmp_path, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        with torch.random.fork_rng(devices=[]):  # networks start the same whatever the codebook draws
            quantizer = quantizers.VectorQuantizer(4, DIM)
        decoder = networks.Conv.decoder((DIM, 2, 2), [5], shape, blocks=2)
        encoder = networks.Conv(shape, [5], flatten=False, blocks=2)
        likelihood = likelihoods.Bernoulli(decoder, shape)
        python = models.VQVAE(encoder, quantizer, likelihood, code_priors.Transformer(width=8))
        torch.manual_seed(1)
        python.start(train)
    states = model.state_dict(), python.state_dict()
    learned = ("quantizer.",)  # k-means draws from the generator of the moment
    assert states[0].keys() == states[1].keys()
    assert [n for n, v in states[0].items() if not n.startswith(learned) and not torch.equal(v, states[1][n])] == []


OTHERS = [name for name, entry in catalog.parts("model").items() if "likelihood" not in entry.takes]


def test_a_mixture_vae(tmp_path):
    words = ["--model", "mixture-vae", "--likelihood", "normal", *SHELL]
    model, train = started(words, "normal", tmp_path)
    vae = in_python(train, "mixture-of-gaussians")
    check(model, models.MixtureVAE(vae.prior, vae.posterior, vae.likelihood))


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_model(name, tmp_path):
    entry = catalog.parts("model")[name]
    words = ["--model", name, *SHELL[2 if name == "rbm" else 0 :]]
    supplied = {a.argument: SUPPLIED[a.argument] for a in entry.arguments if a.required and a.argument in SUPPLIED}
    words += [w for role, (word, _) in supplied.items() for w in (f"--{role}", word)]
    shape = (1, 4, 4) if name == "conv-autoencoder" else (6,)
    model, train = started(words, "bernoulli", tmp_path, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        known = {"dim": DIM, "shape": shape, "hidden": [5], "activation": "relu"}
        if "encoder" in entry.takes:
            known |= {"decoder": networks.MLP.decoder(DIM, [5], shape), "encoder": networks.MLP(shape, [5])}
        known |= {role: part() for role, (_, part) in supplied.items()}
        python = getattr(models, entry.cls)(**{k: known[k] for k in entry.takes & known.keys()})
    python.start(train)
    check(model, python)
