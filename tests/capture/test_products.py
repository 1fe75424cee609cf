"""Products sent to oneDNN: the same numbers, only where they gain, and gradients of a whole step with them."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae import SVI, VAE, likelihoods, networks, posteriors, priors
from ppl_vae.capture import graphs, products
from ppl_vae.training import capture

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")

product = torch.ops.ppl_vae.addmm.default


def matrix(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("transposed", ["neither", "first", "second", "both"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_a_product_is_that_of_matrices_however_they_are_laid_out(transposed, with_bias):
    a = matrix(70, 30).t() if transposed in ("first", "both") else matrix(30, 70)
    b = matrix(50, 70, seed=1).t() if transposed in ("second", "both") else matrix(70, 50, seed=1)
    bias = matrix(50, seed=2) if with_bias else None
    exact = a.double() @ b.double() + (0 if bias is None else bias)
    found = product(bias, a, b)
    assert found.shape == (30, 50) and found.is_contiguous()
    # 70 products of standard normal numbers, rounded to 24 bits each: in full precision, not in bfloat16 or TF32.
    assert (found - exact).abs().max() < 70 * 4 * 2**-24


def traced(function, *inputs):
    return make_fx(function, tracing_mode="fake")(*inputs)


def targets(graph):
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("a", "b", "sent"),
    [
        (matrix(128, 784), matrix(784, 400), 1),
        (matrix(128, 784), matrix(400, 784).t(), 1),
        (matrix(128, 400).t(), matrix(128, 784), 1),
        (matrix(128, 100), matrix(100, 20), 0),  # small
        (matrix(5000, 400).t(), matrix(5000, 20), 0),  # slender, with a first factor to be copied
        (matrix(5000, 400), matrix(400, 20), 1),  # slender, with nothing to be copied
        (matrix(1280, 50), matrix(500, 784)[:, -50:].t(), 0),  # a slice, on which oneDNN is very slow
        (matrix(1280, 100)[:, :50], matrix(50, 500), 0),
        (matrix(128, 784).double(), matrix(784, 400).double(), 0),
        (matrix(128, 784).bfloat16(), matrix(784, 400).bfloat16(), 0),
    ],
)
def test_only_products_that_gain_are_sent(a, b, sent):
    graph = traced(torch.mm, a, b)
    assert products.through_onednn(graph) == sent
    assert targets(graph).count(product) == sent
    assert torch.allclose(graph(a, b), a @ b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("bias", [matrix(400), matrix(128, 400), matrix(1, 400)])
def test_a_bias_is_added_whatever_its_shape(bias):
    a, b = matrix(128, 784), matrix(784, 400)
    graph = traced(torch.addmm, bias, a, b)
    assert products.through_onednn(graph) == (bias.dim() == 1)
    assert torch.allclose(graph(bias, a, b), bias + a @ b, rtol=1e-4, atol=1e-3)


def test_factors_of_a_sum_are_kept():
    a, b, bias = matrix(128, 784), matrix(784, 400), matrix(400)
    graph = traced(lambda *all_: torch.addmm(*all_, beta=0.5, alpha=2.0), bias, a, b)
    assert products.through_onednn(graph) == 0
    assert torch.allclose(graph(bias, a, b), 0.5 * bias + 2 * (a @ b), rtol=1e-4, atol=1e-3)


def objective():
    torch.manual_seed(0)
    return SVI(
        VAE(
            priors.Normal(8),
            posteriors.Normal(networks.MLP(200, [150]), 8),
            likelihoods.Bernoulli(networks.MLP(8, [150]), 200),
        )
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_a_captured_step_with_them_has_the_gradients_of_an_eager_one(compiled, monkeypatch):
    monkeypatch.setattr(graphs, "onednn_is_faster", lambda: True)
    if not compiled:  # the graph itself, whose targets can be counted
        monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    x = (torch.rand(128, 200, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    eager = objective()
    eager.prepare(x)
    torch.manual_seed(3)
    loss = eager(x).value
    loss.backward()
    other = objective()
    other.prepare(x)
    step = capture.Captured(other, (x,))
    if not compiled:
        assert targets(step.run).count(product) == 5  # two layers forward and back, and one more for the decoder's code
    torch.manual_seed(3)
    assert torch.allclose(step((x,)).value, loss, rtol=1e-5)
    for p, q in zip(eager.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-5 * p.grad.abs().max())


@pytest.mark.parametrize(
    ("about", "faster"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_f": True}, True),
        ({"cpu_name": "AMD EPYC", "avx512_f": False}, False),
        ({"cpu_name": "Intel(R) Xeon(R)", "avx512_f": True}, False),
        ({"cpu_name": "", "avx512_f": True}, False),
        ({}, False),
    ],
)
def test_processors_where_it_pays_are_told_by_their_name(about, faster, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: about, raising=False)
    assert products.onednn_is_faster.__wrapped__() == faster


def test_a_library_that_cannot_be_called_is_not_used(monkeypatch):
    def refuse(*_):
        raise RuntimeError("another signature")

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD", "avx512_f": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(products, "_addmm", refuse)
    assert not products.onednn_is_faster.__wrapped__()


def test_a_library_that_is_wrong_on_transposed_factors_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD", "avx512_f": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    # As if strides were not looked at: right for factors laid out row by row.
    misread = lambda bias, a, b: torch.addmm(bias, a, b.t().contiguous().view(b.shape))  # noqa: E731
    monkeypatch.setattr(products, "_addmm", misread)
    assert not products.onednn_is_faster.__wrapped__()


def test_a_linear_layer_keeps_its_bias():
    layer = nn.Linear(784, 400)
    x = matrix(128, 784)
    with torch.no_grad():
        graph = traced(nn.functional.linear, x, layer.weight, layer.bias)
        assert products.through_onednn(graph) == 1
        assert torch.allclose(graph(x, layer.weight, layer.bias), layer(x), atol=1e-4)
