import copy
import json
import pickle

import pytest
import torch
from instances import SHAPE, vae
from torch import nn

from ppl_vae import SVI, VAE, checks, estimators, handlers, likelihoods, networks, parts, posteriors, priors


def test_an_objective_is_rebuilt_from_json():
    objective = SVI(vae(), estimators.MeanFieldELBO(num_particles=3), beta=handlers.Linear(steps=7))
    record = json.loads(json.dumps(parts.describe(objective)))
    again = parts.build(record)
    assert parts.describe(again) == record
    assert again.estimator.num_particles == 3 and again.beta.steps == 7
    assert record["model"]["prior"] == {"class": "priors.Normal", "dim": 2, "learned": False}


def test_shared_modules_stay_shared():
    network = networks.MLP(2, [2])
    model = VAE(priors.Normal(2), posteriors.Normal(network, 2), likelihoods.Bernoulli(network, 2))
    again = parts.build(json.loads(json.dumps(parts.describe(model))))
    assert again.posterior.network is again.likelihood.network
    separate = parts.build(parts.describe(vae()))
    assert separate.posterior.network is not separate.likelihood.network


def test_arguments_survive_copy_and_pickle():
    model = vae()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.arguments["prior"] is again.prior
        assert parts.describe(again) == parts.describe(model)


def test_a_class_of_the_users_own_is_named_not_built():
    model = vae(posterior=posteriors.Normal(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), 2))
    record = json.loads(json.dumps(parts.describe(model)))
    assert record["posterior"]["network"] == {"class": None, "custom": "torch.nn.modules.container.Sequential"}
    with pytest.raises(ValueError, match="Sequential, a class of your own .* pass model="):
        parts.build(record)


class Sub(priors.Normal):
    pass


def test_a_subclass_is_not_mistaken_for_its_parent():
    assert parts.describe(Sub(2)) == {"class": "test_parts.py:Sub", "dim": 2, "learned": False}


@pytest.mark.parametrize(
    "name",
    [
        "os.system", "networks.nn", "networks.ACTIVATIONS", "priors.Prior", "handlers.register",
        "handlers.scale_latents", "", "priors.", "parts.build", "networks.torch.load", "estimators.base.Estimator",
    ],
)  # fmt: skip
def test_records_name_nothing_but_exported_parts(name):
    with pytest.raises(ValueError, match="is not one that ppl_vae exports"):
        parts.build({"class": name})


def test_bad_records():
    with pytest.raises(ValueError, match="the record of priors.Normal does not fit its constructor"):
        parts.build({"class": "priors.Normal", "dims": 2})
    with pytest.raises(ValueError, match="refers to '/nowhere'"):
        parts.build({"class": "priors.Normal", "dim": {"same_as": "/nowhere"}})


def test_tensors_in_records():
    record = json.loads(json.dumps(parts.describe(SVI(vae(), beta=torch.tensor(2.0)))))
    assert torch.equal(parts.build(record).beta, torch.tensor(2.0))


def test_defaults_are_recorded():
    assert networks.MLP(SHAPE).arguments == {"in_shape_or_dim": SHAPE, "hidden": (200, 200), "activation": "relu"}


@pytest.mark.parametrize("value", [0, -3, 2.0, True, None, "4"])
def test_check_size(value):
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, not"):
        checks.check_size("epochs", value)


def test_nearest():
    assert checks.nearest("zzz", ["b", "a"]) == "choose from a, b"
    assert checks.did_you_mean("MNIST", ["mnist", "digits"]) == " (did you mean mnist?)"
    assert checks.did_you_mean("traceelbo", ["TraceELBO"]) == " (did you mean TraceELBO?)"


def test_a_mapping_with_columns_named_like_the_keys_of_a_record_is_kept():
    kinds = {"class": "categorical(3)", "items": "real", "same_as": "count", "tensor": "real", "dtype": "real"}
    made = parts.build(json.loads(json.dumps(parts.describe(likelihoods.Columns(networks.MLP(2, [3]), 5, kinds)))))
    assert made.arguments["kinds"] == kinds and [c.name for c in made.columns] == list(kinds)
