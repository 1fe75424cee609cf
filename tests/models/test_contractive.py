"""The contractive penalty against autograd's Jacobian, example by example."""

import copy

import pytest
import torch
from contracts import within
from instances import SHAPE, plain

from ppl_vae import Reconstruction, models, networks
from ppl_vae.penalties.jacobians import squared_norm

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def one_layer(dim=5, **options):
    return models.ContractiveAutoencoder(networks.MLP(SHAPE, []), networks.MLP(dim, []), dim, SHAPE, **options)


def by_autograd(ae, x):
    """Squared Frobenius norm of each example's full Jacobian."""
    rows = [torch.autograd.functional.jacobian(lambda x: ae.encode(x[None])[0], each) for each in x]
    return torch.stack([row.square().sum() for row in rows])


CASES = {
    "closed form": lambda: one_layer(),
    "linear code": lambda: one_layer(code="identity"),
    "deep": lambda: models.ContractiveAutoencoder(
        networks.MLP(SHAPE, [9, 7], "tanh"), networks.MLP(5, []), 5, SHAPE, code="sigmoid"
    ),
    "convolutional": lambda: models.ContractiveAutoencoder(
        networks.Conv(SHAPE, [3, 2], "elu"), networks.Conv.decoder(5, [3], SHAPE), 5, SHAPE, code="identity"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_penalty_is_the_squared_norm_of_the_full_jacobian(name):
    ae = CASES[name]()
    ae.penalties[0].weight = 1.0
    torch.testing.assert_close(ae.penalised(X)[1]["contraction"], by_autograd(ae, X), rtol=1e-5, atol=1e-7)


def test_the_closed_form_and_torch_func_agree_in_value_and_gradient():
    ae = one_layer()

    def gradient(squared):
        ae.zero_grad()
        squared.sum().backward()
        return torch.cat([ae.to_code.layer.weight.grad.flatten(), ae.to_code.layer.bias.grad])

    closed = ae.penalised(X)[1]["contraction"]
    codes, pull = torch.func.vjp(ae.encode, X)
    general = ae.penalties[0].weight * squared_norm(pull, codes)
    torch.testing.assert_close(closed, general, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient(closed), gradient(general), rtol=1e-5, atol=1e-7)


def test_the_gradient_is_that_of_finite_differences():
    ae = CASES["deep"]().double()
    x, weight = X.double(), ae.encoder.layers[1].weight
    ae.penalised(x)[1]["contraction"].sum().backward()
    exact = weight.grad[2, 3].item()
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            weight[2, 3] += step
            ends.append(ae.penalised(x)[1]["contraction"].sum().item())
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(exact, rel=1e-6)


def test_hutchinsons_estimate_is_unbiased():
    exact = CASES["deep"]()
    exact.penalties[0].weight = 100.0
    estimate = copy.deepcopy(exact)
    estimate.penalties[0].probes = 3
    draws = torch.stack([estimate.penalised(X)[1]["contraction"].detach() for _ in range(500)])
    assert draws.std(0).min() > 0
    within(draws, exact.penalised(X)[1]["contraction"].detach())


def test_it_is_measured_without_gradients_too():
    ae = CASES["deep"]()
    with torch.no_grad():
        value = Reconstruction(ae)(X).value
    assert torch.allclose(value, Reconstruction(ae)(X).value) and not value.requires_grad


def test_bad_arguments():
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, not -1"):
        one_layer(weight=-1)
    with pytest.raises(ValueError, match="probes must be a whole number of at least 1, not 0"):
        one_layer(probes=0)
    with pytest.raises(ValueError, match="encoder must have no batch normalisation"):
        models.ContractiveAutoencoder(networks.ResNet(SHAPE, [3]), *plain()[1:])
