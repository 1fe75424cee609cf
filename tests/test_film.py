"""FiLM: equal to the network at the start, each layer by hand, leading dimensions, and what is refused."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from instances import SHAPE
from torch import nn

from ppl_vae import SVI, likelihoods, models, networks, parts, posteriors, priors
from ppl_vae.networks import MLP, Conv, FiLM, Label, Picture, Vector
from ppl_vae.training.capture import Captured

Y = torch.tensor([0, 2, 1])
NETWORKS = {
    "mlp": (lambda: MLP(SHAPE, [5, 4]), 2),
    "conv": (lambda: Conv(SHAPE, [3, 2], blocks=1), 4),
    "resnet": (lambda: networks.ResNet(SHAPE, [3, 2]), 8),
    "its decoder": (lambda: networks.ResNet.decoder(2, [3, 2], SHAPE), 9),
    "table": (lambda: networks.TableEncoder(4, [5], kinds={1: "positive"}), 1),
    "filled": (lambda: networks.FillMissing(MLP((2, 4, 4), [5]), SHAPE, mask=True), 1),
    "the user's own": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()), 1),
}


def shaken(network, by=0.5):
    with torch.no_grad():
        for move in network.moves:
            move.normal_(std=by)
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_does_nothing_at_the_start_and_depends_on_y_later(kind):
    """Rows under one y equal the network with that y alone; leading dimensions broadcast; no hook stays."""
    torch.manual_seed(0)
    build, layers = NETWORKS[kind]
    inner = build()
    network = FiLM(inner, Label(3), None if kind != "the user's own" else SHAPE).eval()
    assert len(network.moves) == layers
    x = torch.rand(3, *network.in_shape)
    assert torch.equal(network(x, Y), inner(x))
    shaken(network)
    out = network(x, Y)
    assert not torch.allclose(out, inner(x), atol=1e-3) and torch.equal(inner(x), copy.deepcopy(inner)(x))
    for label in range(3):
        every = network(x, torch.full((3,), label))
        assert torch.allclose(every[Y == label], out[Y == label], atol=1e-5)
    each = network(x, torch.arange(3)[:, None].expand(3, 3))  # a class for every particle
    assert torch.allclose(each[Y, torch.arange(3)], out, atol=1e-5)
    out.square().sum().backward()
    assert all(move.grad.isfinite().all() and move.grad.abs().sum() > 0 for move in network.moves)
    assert not any(module._forward_hooks for module in network.modules())


def test_an_mlp_by_hand():
    torch.manual_seed(0)
    inner = MLP(4, [5, 3])
    network, x, y = shaken(FiLM(inner, Vector(2))), torch.randn(6, 4), torch.randn(6, 2)
    first, second = inner.layers[1], inner.layers[3]
    a, b = (y @ move for move in network.moves)
    h = (F.linear(x, first.weight, first.bias) * (1 + a[:, :5]) + a[:, 5:]).relu()
    h = (F.linear(h, second.weight, second.bias) * (1 + b[:, :3]) + b[:, 3:]).relu()
    assert torch.allclose(network(x, y), h, atol=1e-6)


def test_after_batch_normalisation():
    """Of a convolution and the batch normalisation behind it the latter is modulated, else it would undo the scale."""
    conv, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
    network = shaken(FiLM(nn.Sequential(conv, norm), Label(3), SHAPE)).eval()
    x = torch.randn(3, *SHAPE)
    scale, shift = network.moves[0][Y].chunk(2, -1)
    expected = norm(conv(x)) * (1 + scale[..., None, None]) + shift[..., None, None]
    assert torch.allclose(network(x, Y), expected, atol=1e-6)


def cvae():
    torch.manual_seed(0)
    label = Label(3)
    vae = models.CVAE(
        priors.Normal(2),
        posteriors.Normal(networks.Scaled.around(FiLM(MLP(SHAPE, [5]), label)), 2),
        likelihoods.Bernoulli(FiLM(Conv.decoder(2, [3], SHAPE), label), SHAPE),
    )
    shaken(vae.posterior.network)
    shaken(vae.likelihood.network)
    return vae


def test_a_cvae_of_it_is_captured_rebuilt_and_copied():
    eager, captured = (SVI(cvae()) for _ in range(2))
    x = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(3)).round()
    eager(x, Y)  # validated
    captured(x, Y)
    step = Captured(captured, (x, Y), compiled=False)
    torch.manual_seed(3)
    loss = eager(x, Y)
    loss.value.backward()
    torch.manual_seed(3)
    assert torch.equal(step((x, Y)).value, loss.value)
    for (name, a), b in zip(eager.named_parameters(), captured.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    again = parts.build(json.loads(json.dumps(parts.describe(eager.model))))
    again.load_state_dict(eager.model.state_dict())
    for other in (again, copy.deepcopy(again)):
        assert torch.equal(other.encode(x, Y), eager.model.encode(x, Y))
    assert isinstance(again.posterior.network, FiLM) and again.posterior.network.in_shape == SHAPE


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FiLM(MLP(4, []), Label(3)), "network MLP has no hidden layer"),
        (lambda: FiLM(MLP(4, [5]), Picture((1, 2, 2))), "FiLM takes y as a networks.Label or Vector, not Picture"),
        (lambda: FiLM(MLP(4, [5]), Label(3), 6), r"network must take \(6,\), the shape of x, under FiLM, not \(4,\)"),
        (lambda: FiLM(nn.Linear(4, 5), Label(3)), "shape is needed"),
        (lambda: FiLM(nn.Sequential(nn.LazyLinear(5)), Label(3), 4), "network has a layer without a size"),
        (lambda: FiLM(networks.Conditioned(MLP(7, [5]), Label(3)), Label(3)), "not itself conditional"),
        (lambda: FiLM(MLP(4, [5]), 3), "condition must be networks.Label or Vector, not 3"),
        (lambda: FiLM(MLP(4, [5]), Label(3))(torch.zeros(3, 4)), "y is missing"),
        (
            lambda: models.CVAE(priors.Normal(5), likelihood=likelihoods.Bernoulli(FiLM(MLP(4, [5]), Label(3)), 6)),
            r"the likelihood's network must take \(5,\), the shape of x, under FiLM, not \(4,\)",
        ),
    ],
)
def test_refused(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
