"""``SVI(Program, estimator)``: the loss is the estimator's loss of all data by their number, whose ever it is."""

import families
import pyro
import pytest
import torch
from compare import figures
from pyro import infer
from pyro.infer.enum import config_enumerate

from ppl_vae import SVI, estimators, models

LATENTS = ("normal", "chain", "bernoulli", "mixed")
PLATES = ("sized", "given", "internal", "chosen", "unsized", "rows", "dim", "one", "particles")
MAKE = {
    "Trace_ELBO": lambda nesting: infer.Trace_ELBO(),
    "TraceMeanField_ELBO": lambda nesting: infer.TraceMeanField_ELBO(),
    "TraceEnum_ELBO": lambda nesting: infer.TraceEnum_ELBO(max_plate_nesting=nesting),
    "TraceELBO": lambda nesting: estimators.TraceELBO(),
    "MeanFieldELBO": lambda nesting: estimators.MeanFieldELBO(),
    "Enum": lambda nesting: estimators.Enum(),
    "IWAE": lambda nesting: estimators.IWAE(3),
}
DISCRETE = {"TraceEnum_ELBO", "Enum"}  # whose programs have discrete latents
CONTINUOUS = {"TraceMeanField_ELBO", "IWAE"}
LOCAL = {"Enum", "IWAE"}  # which take no global latents


@pytest.mark.parametrize("name", MAKE)
def test_loss_is_the_estimators_by_the_number_of_data(name):
    """At the same seed, in value and gradient; the first call is validated, the second is not."""
    latents = LATENTS[2:] if name in DISCRETE else LATENTS[:2] if name in CONTINUOUS else LATENTS
    shared = ("",) if name in LOCAL else ("", "normal")
    wrong = []
    for spec in families.grid(plate=PLATES, latent=latents, shared=shared, scale=("", "float")):
        case = families.build(spec)
        model, guide, parameters = case.programs()
        if name == "TraceEnum_ELBO":
            model, guide = config_enumerate(model), config_enumerate(guide)
        estimator = MAKE[name](case.nesting)
        torch.manual_seed(1)
        with pyro.validation_enabled(False):
            expected = figures(estimator.differentiable_loss(model, guide, *case.args), parameters) / case.total
        objective = SVI(models.Program(model, guide), MAKE[name](case.nesting))
        for _ in range(2):
            torch.manual_seed(1)
            got = figures(objective(*case.args).value, parameters)
            if not torch.allclose(got, expected, rtol=1e-7, atol=1e-7):
                wrong.append(f"{spec}: {got.tolist()} where {expected.tolist()} is right")
    assert not wrong, "\n".join(wrong)
