"""``fit`` and ``pyro.infer.SVI`` walk the same path, given the same noise, order and reduction."""

import copy

import pyro
import pytest
import torch

from ppl_vae import SVI, VAE, data, estimators, fit, likelihoods, networks, posteriors, priors

STEPS, BATCH = 60, 64  # a power of two, so that dividing by it is exact


def make_vae():
    torch.manual_seed(0)
    return VAE(
        priors.Normal(4),
        posteriors.Normal(networks.MLP((1, 8, 8), [32]), 4),
        likelihoods.Bernoulli(networks.MLP(4, [32]), (1, 8, 8)),
    )


def train_with_pyro(vae, estimator, x, seed):
    pyro.clear_param_store()
    torch.manual_seed(seed)
    # Pyro sums over the data where fit takes the mean: scale both programs alike.
    model, guide = (pyro.poutine.scale(program, 1 / BATCH) for program in (vae.model, vae.guide))
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), estimator)
    for start in range(0, len(x), BATCH):
        svi.step(x[start : start + BATCH])
    pyro.clear_param_store()


PAIRS = {
    "trace": (estimators.TraceELBO, pyro.infer.Trace_ELBO),
    "mean-field": (estimators.MeanFieldELBO, pyro.infer.TraceMeanField_ELBO),
    "ours in both": (estimators.TraceELBO, estimators.TraceELBO),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("fused", "tolerance"), [(False, 0.0), (True, 1e-6)])
def test_fit_follows_pyro(pair, fused, tolerance):
    # Unfused Adam: the same bits. Fused Adam rounds its update differently: 1e-7 a step on weights of size 0.1.
    ours, pyros = PAIRS[pair]
    x = data.load("digits", binarize="static").train.x
    x = torch.cat([x, x, x])[: STEPS * BATCH]
    fitted = make_vae()
    fitted.start(data.as_split(x))  # as fit does
    reference = copy.deepcopy(fitted)
    start = copy.deepcopy(fitted)
    optimizer = (lambda p: torch.optim.Adam(p, lr=1e-3)) if not fused else "adam"
    fit(
        SVI(fitted, ours()),
        (x,),
        epochs=1,
        batch_size=BATCH,
        shuffle=False,
        seed=7,
        progress=False,
        optimizer=optimizer,
    )
    train_with_pyro(reference, pyros(), x, seed=7)
    moved = max((a - b).abs().max().item() for a, b in zip(fitted.parameters(), start.parameters(), strict=True))
    apart = max((a - b).abs().max().item() for a, b in zip(fitted.parameters(), reference.parameters(), strict=True))
    assert moved > 0.02
    assert apart <= tolerance


def test_fit_leaves_the_caller_and_pyro_as_they_were():
    pyro.clear_param_store()
    before = torch.get_rng_state()
    x = data.load("digits", binarize="static").train.x[:256]
    vae = make_vae()
    before = torch.get_rng_state()
    history = fit(SVI(vae), (x,), valid=(x[:100],), epochs=2, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert len(pyro.get_param_store()) == 0
    assert pyro.settings.get("validate_distributions_pyro") is True
    assert [row["epoch"] for row in history.rows] == [1, 2]
    assert set(history.rows[0]["valid"]) == {"loss", "elbo", "reconstruction", "kl"}


def test_two_models_in_one_process_do_not_touch_each_other():
    x = data.load("digits", binarize="static").train.x[:256]
    alone, first, second = make_vae(), make_vae(), make_vae()
    fit(SVI(alone), (x,), epochs=2, progress=False)
    fit(SVI(first), (x,), epochs=1, progress=False)
    untouched = copy.deepcopy(second.state_dict())
    fit(SVI(first), (x,), epochs=1, progress=False)
    assert all(torch.equal(untouched[name], value) for name, value in second.state_dict().items())
    fit(SVI(second), (x,), epochs=2, progress=False)
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in second.state_dict().items())
