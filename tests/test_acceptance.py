"""The fixed names, used as somebody who has only read the documentation would use them."""

import pyro
import pytest
import torch
from contracts import SHAPE, vae
from torch.utils.data import TensorDataset

from ppl_vae import SVI, Reconstruction, fit, models, networks

X = (torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5).float()
Y = torch.arange(24) % 3


def objectives():
    encoder, decoder = networks.MLP(SHAPE, [4]), networks.MLP(2, [4])
    return SVI(vae()), Reconstruction(models.Autoencoder(encoder, decoder, 2, SHAPE))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (TensorDataset(X.double()), "is float64, but the model's parameters are float32; convert one to the other"),
        (X.half(), "is float16, but the model's parameters are float32"),
        (X[..., 1:], r"has examples of shape \(1, 4, 3\), but the model's are \(1, 4, 4\)"),
        (TensorDataset(X, Y, Y), r"data must be x, \(x,\) or \(x, y\), not 3 tensors"),
    ],
)
def test_data_of_another_make_are_one_sentence(train, message):
    for objective in objectives():
        for given in ({"train": train}, {"train": X, "valid": train}):
            with pytest.raises(ValueError, match=message) as caught:
                fit(objective, **given, epochs=1, progress=False)
            assert "\n" not in str(caught.value)
            if "tensors" not in message:
                assert f"x of the {'valid' if 'valid' in given else 'train'} split" in str(caught.value)


def test_a_double_model_takes_double_data():
    for objective in objectives():
        fit(objective.double(), TensorDataset(X.double(), Y), valid=X.double(), epochs=1, progress=False)


@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO])
def test_pyros_own_vectorized_particles_leave_the_store_empty(elbo):
    fit(SVI(vae(), elbo(num_particles=2, vectorize_particles=True)), X, epochs=1, progress=False)
    assert not len(pyro.get_param_store())
