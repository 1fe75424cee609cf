"""What all autoencoders have in common: PCA as the limit, the identity, one objective, capture of a step."""

import warnings

import pytest
import torch
from instances import SHAPE, every, instance, plain
from sklearn.decomposition import PCA
from torch.fx.experimental.proxy_tensor import make_fx

from ppl_vae import Reconstruction, fit, models, networks
from ppl_vae.penalties import KSparse

X = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(1))
OTHERS = (models.Pair, models.Discrete)  # test_vqvae.py
PLAIN = [case for case in every("models") if not isinstance(instance("models", case), OTHERS)]


def test_an_undercomplete_linear_autoencoder_is_pca():
    x = torch.randn(300, 8) * torch.linspace(3, 0.3, 8) @ torch.linalg.qr(torch.randn(8, 8))[0] + 1
    ae = models.Autoencoder(networks.MLP(8, []), networks.MLP(3, []), 3, 8, output="identity")
    fit(Reconstruction(ae), x, epochs=400, batch_size=300, lr=0.02, schedule="cosine", progress=False)
    pca = PCA(3).fit(x.numpy())
    best = ((x.numpy() - pca.inverse_transform(pca.transform(x.numpy()))) ** 2).sum(1).mean()
    error = (x - ae(x)).square().sum(1).mean().item()
    assert best <= error * (1 + 1e-6) and error < 1.01 * best


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_every_one_trains_under_the_one_objective(case, precision):
    model = instance("models", case)
    history = fit(Reconstruction(model), X, X, epochs=2, batch_size=4, precision=precision, progress=False)
    assert {"loss", "squared_error"} <= history.rows[-1]["train"].keys()


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_a_step_can_be_captured(case):
    """Loss and gradients of a training step as one graph, equal to the eager step; nothing waits for a value."""
    model = instance("models", case)
    objective = Reconstruction(model).train()
    names, values = zip(*objective.named_parameters(), strict=True)
    state = {name: buffer.clone() for name, buffer in objective.named_buffers()}

    def step(values, state, x):
        given = dict(zip(names, values, strict=True)) | {name: buffer.clone() for name, buffer in state.items()}
        loss = torch.func.functional_call(objective, given, (x,)).value
        return loss, *torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)

    torch.manual_seed(4)
    eager = step(values, state, X)
    torch.manual_seed(4)
    graph = make_fx(step, tracing_mode="fake")(values, state, X)
    torch.manual_seed(4)
    captured = graph(values, state, X)
    assert all(torch.equal(a, b) for a, b in zip(eager, captured, strict=True))


def test_an_overcomplete_autoencoder_is_warned_of_when_it_is_trained():
    encoder, decoder = networks.MLP(SHAPE, [20]), networks.MLP(16, [20])
    wide = models.Autoencoder(encoder, decoder, 16, SHAPE)
    assert wide.overcomplete and not models.Autoencoder(*plain()).overcomplete
    with pytest.warns(UserWarning, match="no smaller than the data's 16 entries, so the autoencoder may learn the id"):
        fit(Reconstruction(wide), X, epochs=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse = models.SparseAutoencoder(encoder, decoder, 16, SHAPE, KSparse(4))
        narrow = models.Autoencoder(networks.MLP(SHAPE, [5]), decoder, 16, SHAPE)
        for model in (sparse, narrow):
            fit(Reconstruction(model), X, epochs=1, progress=False)


def test_conv_autoencoder_is_an_autoencoder_of_conv_networks():
    ae = models.ConvAutoencoder(2, (3, 7, 5), [4, 6], "tanh", output="identity")
    assert isinstance(ae.encoder, networks.Conv) and ae(torch.rand(2, 3, 7, 5)).shape == (2, 3, 7, 5)
    with pytest.raises(ValueError, match="must be an image shape"):
        models.ConvAutoencoder(2, 16)
