import pytest
import torch
from instances import SHAPE
from torch import nn

import ppl_vae
from ppl_vae import Reconstruction, fit, models, networks

X = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(1))


def stack(hidden=(7, 5), dim=3, **options):
    decoder = networks.MLP(dim, hidden[::-1])
    return models.StackedAutoencoder(networks.MLP(SHAPE, hidden), decoder, dim, SHAPE, **options)


def parameters(module):
    return {id(p) for p in module.parameters()}


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("hidden", [(7, 5), (7,), ()])
def test_the_layers_share_out_all_parameters(hidden, beside):
    ae = stack(hidden, beside=beside)
    layers = [layer for layer, _ in ae.stages()]
    assert len(layers) == len(hidden) + 1
    assert set.union(*map(parameters, layers)) == parameters(ae)
    assert sum(len(parameters(layer)) for layer in layers) == len(parameters(ae))


def test_codes_are_those_of_an_ordinary_autoencoder():
    ae = stack()
    ordinary = models.Autoencoder(ae.encoder, ae.decoder, 3, SHAPE)
    ordinary.to_code, ordinary.to_data = ae.to_code, ae.to_data
    assert torch.allclose(ae.encode(X), ordinary.encode(X)) and torch.allclose(ae(X), ordinary(X))


def test_the_next_encoder_sees_the_data_beside_the_code():
    ae = stack(beside=True)
    h = ae.encoder.layers[:3](X)
    both = torch.cat([h, X.flatten(1)], 1)
    second = ae.encoder.layers[3]
    joint = torch.cat([second.weight, ae.beside[0].weight], 1)
    assert torch.allclose(ae.codes(X, 2), torch.relu(both @ joint.T + second.bias), atol=1e-6)


def test_a_stage_trains_its_own_layer_to_reconstruct_the_codes_below():
    ae = stack()
    objective = list(Reconstruction(ae).layers())[1][0]
    loss = objective(X)
    h = ae.encoder.layers[:3](X)
    back = torch.relu(ae.decoder.layers[3](torch.relu(ae.encoder.layers[3](h))))
    assert torch.allclose(loss.terms["squared_error"], (h - back).square().sum(1))
    loss.value.backward()
    touched = {name for name, p in ae.named_parameters() if p.grad is not None}
    assert touched == {f"{net}.layers.3.{kind}" for net in ("encoder", "decoder") for kind in ("weight", "bias")}


def test_layers_are_trained_in_turn_and_then_all_together():
    ae = stack(pretrain=2)
    trained = []

    class Watched(Reconstruction):
        def layers(self):
            for layer, epochs in super().layers():
                before = [p.detach().clone() for p in ae.parameters()]
                yield layer, epochs
                trained.append([not torch.equal(a, b) for a, b in zip(before, ae.parameters(), strict=True)])

    history = fit(Watched(ae), X, epochs=1, batch_size=20, progress=False)
    assert len(history.rows) == 1 and history.rows[0]["step"] == 3
    assert [sum(moved) for moved in trained] == [4, 4, 4]
    assert all(any(column) for column in zip(*trained, strict=True))


def test_pretraining_lets_every_layer_explain_more_of_the_codes_below():
    def unexplained(ae):
        pairs = [layer(X) for layer, _ in ae.stages()]
        return [((h - out).square().sum() / (h - h.mean(0)).square().sum()).item() for h, out in pairs]

    ae = stack(pretrain=40)
    before = unexplained(ae)
    fit(Reconstruction(ae), X, epochs=1, lr=3e-3, batch_size=20, progress=False)
    assert all(late < 0.97 * early for early, late in zip(before, unexplained(ae), strict=True))


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    def run(out, epochs, resume=False):
        torch.manual_seed(3)
        fit(Reconstruction(stack(pretrain=1)), X, epochs=epochs, out=out, resume=resume, progress=False)
        return ppl_vae.load(out).state_dict()

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 1)
    parts = run(tmp_path / "parts", 3, resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_no_pretraining():
    assert list(stack(pretrain=0).stages()) == []


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"encoder must be a networks.MLP to be stacked layer by layer, not Flatten"):
        models.StackedAutoencoder(nn.Flatten(), networks.MLP(2, [4]), 2, SHAPE)
    with pytest.raises(ValueError, match=r"decoder must mirror the encoder's layers \[5, 4\]: \[4, 5\], not \[5, 4\]"):
        models.StackedAutoencoder(networks.MLP(SHAPE, [5, 4]), networks.MLP(2, [5, 4]), 2, SHAPE)
    with pytest.raises(ValueError, match="pretrain must be a whole number of at least 0, not -1"):
        stack(pretrain=-1)
