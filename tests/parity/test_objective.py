"""``SVI(Program, estimator)``: the loss is Pyro's loss of the whole data divided by their number, whoever estimates."""

import itertools

import families
import pyro
import pytest
import torch
from programs import PLATES, Spec
from pyro import infer
from pyro.infer.enum import config_enumerate

from ppl_vae import SVI, estimators, models

LATENTS = {"normal": (), "bernoulli": ("enum",), "chain": (), "mixed": ("enum",)}
PAIRS = {
    "trace": (infer.Trace_ELBO, estimators.TraceELBO),
    "mean field": (infer.TraceMeanField_ELBO, estimators.MeanFieldELBO),
    "enum": (infer.TraceEnum_ELBO, estimators.Enum),
}
CASES = [
    (Spec(plate=plate, latent=latent, shared=shared, scale=scale), kind)
    for plate, latent, shared, scale in itertools.product(
        PLATES[:5] + PLATES[6:], LATENTS, ("", "normal"), ("", "float")
    )
    for kind in ("trace", *LATENTS[latent], *(["mean field"] if latent in ("normal", "chain") else []))
]


@pytest.fixture(autouse=True)
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def gradients(value, parameters):
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([torch.zeros(1) if g is None else g.reshape(-1) for g in found])


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("whose", ["Pyro's", "ours"])
def test_loss_is_pyros_by_the_number_of_data(kind, whose):
    """At the same seed, value and gradient; ours may refuse a global latent where it weighs data by themselves."""
    wrong, compared = [], 0
    for spec, _ in (case for case in CASES if case[1] == kind):
        case = families.build(spec)
        model, guide, parameters = case.programs()
        if kind == "enum":
            model, guide = config_enumerate(model), config_enumerate(guide)
        theirs = PAIRS[kind][0](max_plate_nesting=case.nesting)
        torch.manual_seed(1)
        with pyro.validation_enabled(False):
            loss = theirs.differentiable_loss(model, guide, *case.args)
        expected = torch.cat([loss.detach()[None], gradients(loss, parameters)]) / case.total
        objective = SVI(models.Program(model, guide), theirs if whose == "Pyro's" else PAIRS[kind][1]())
        for _ in range(2):  # validated, and not
            torch.manual_seed(1)
            try:
                value = objective(*case.args).value
            except ValueError as error:
                if kind == "trace" or not spec.shared or "\n" in str(error):
                    wrong.append(f"{spec}: {error}")
                break
            got = torch.cat([value.detach()[None], gradients(value, parameters)])
            compared += 1
            if whose == "ours" and (spec.latent == "mixed" or (spec.latent == "bernoulli" and spec.shared)):
                got, expected = got[:1], expected[:1]  # other score terms of the same mean
            if not torch.allclose(got, expected, rtol=1e-7, atol=1e-7):
                wrong.append(f"{spec}: {got.tolist()} where {expected.tolist()} is right")
    assert not wrong, "\n".join(wrong)
    assert compared >= 50
