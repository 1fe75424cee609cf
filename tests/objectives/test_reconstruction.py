import math

import pytest
import torch
from instances import SHAPE
from torch import nn

from ppl_vae import Reconstruction, models, networks

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def autoencoder(output="sigmoid"):
    return models.Autoencoder(networks.MLP(SHAPE, [5]), networks.MLP(2, [5]), 2, SHAPE, output)


def test_squared_error_is_summed_over_entries_and_averaged_over_examples():
    ae = autoencoder()
    loss = Reconstruction(ae)(X)
    expected = (X - ae(X)).square().sum((1, 2, 3))
    assert torch.allclose(loss.terms["squared_error"], expected) and torch.allclose(loss.value, expected.mean())
    loss.value.backward()
    assert all(p.grad.isfinite().all() for p in ae.parameters())


def test_cross_entropy():
    ae = autoencoder()
    loss = Reconstruction(ae, loss="bce")(X, torch.arange(6))
    out = ae(X)
    expected = -(X * out.log() + (1 - X) * (1 - out).log()).sum((1, 2, 3))
    assert torch.allclose(loss.terms["cross_entropy"], expected, rtol=1e-5)
    assert torch.allclose(loss.value, expected.mean()) and set(loss.terms) == {"cross_entropy", "squared_error"}
    assert not loss.terms["squared_error"].requires_grad


def test_any_module_will_do():
    identity = Reconstruction(nn.Identity())
    assert identity(X).value == 0 and identity.support is None


def test_support_follows_the_output():
    assert Reconstruction(autoencoder()).support.check(torch.tensor([0.0, 1.0])).all()
    assert Reconstruction(autoencoder("identity")).support.check(torch.tensor(5.0))


def test_bad_arguments():
    with pytest.raises(ValueError, match="loss must be 'mse' or 'bce', not 'l2'"):
        Reconstruction(autoencoder(), loss="l2")
    with pytest.raises(TypeError, match="model must be a torch.nn.Module"):
        Reconstruction(lambda x: x)


def test_diagnose():
    ae = autoencoder()
    objective = Reconstruction(ae)
    assert objective.diagnose(X) is None
    nn.init.constant_(ae.to_data.layer.bias, math.nan)
    assert objective.diagnose(X) == "the reconstruction"
    nn.init.constant_(ae.to_code.layer.bias, math.nan)
    assert objective.diagnose(X) == "the code"
