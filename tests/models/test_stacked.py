import pytest
import torch
from instances import SHAPE
from torch import nn

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
    objective = Reconstruction(ae).stages()[1].objective
    loss = objective(X)
    h = ae.encoder.layers[:3](X)
    back = torch.relu(ae.decoder.layers[3](torch.relu(ae.encoder.layers[3](h))))
    assert torch.allclose(loss.terms["squared_error"], (h - back).square().sum(1))
    loss.value.backward()
    touched = {name for name, p in ae.named_parameters() if p.grad is not None}
    assert touched == {f"{net}.layers.3.{kind}" for net in ("encoder", "decoder") for kind in ("weight", "bias")}


def test_layers_are_trained_in_turn_and_then_all_together():
    ae = stack(pretrain=2)
    before, trained = [p.detach().clone() for p in ae.parameters()], {}

    def note(row):
        if row["epoch"] == (1 if row["stage"] == "" else 2):
            now = [p.detach().clone() for p in ae.parameters()]
            trained[row["stage"]] = [not torch.equal(a, b) for a, b in zip(before, now, strict=True)]
            before[:] = now

    history = fit(Reconstruction(ae), X, epochs=1, batch_size=20, progress=False, callback=note)
    assert [row["step"] for row in history.rows] == [3, 6] * 3 + [3]
    assert {stage: sum(moved) for stage, moved in trained.items()} == {
        **{f"layer {i}": 4 for i in (1, 2, 3)},
        "": 12,
    }
    early = [moved for stage, moved in trained.items() if stage]
    assert all(sum(column) == 1 for column in zip(*early, strict=True))


def test_pretraining_lets_every_layer_explain_more_of_the_codes_below():
    def unexplained(ae):
        pairs = [layer(X) for layer, _ in ae.stages()]
        return [((h - out).square().sum() / (h - h.mean(0)).square().sum()).item() for h, out in pairs]

    ae = stack(pretrain=40)
    before = unexplained(ae)
    fit(Reconstruction(ae), X, epochs=1, lr=3e-3, batch_size=20, progress=False)
    assert all(late < 0.97 * early for early, late in zip(before, unexplained(ae), strict=True))


def test_no_pretraining():
    assert stack(pretrain=0).stages() == []
    assert [stage.name for stage in Reconstruction(stack(pretrain=0)).stages()] == [""]


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"encoder must be a networks.MLP to be stacked layer by layer, not Flatten"):
        models.StackedAutoencoder(nn.Flatten(), networks.MLP(2, [4]), 2, SHAPE)
    with pytest.raises(ValueError, match=r"decoder must mirror the encoder's layers \[5, 4\]: \[4, 5\], not \[5, 4\]"):
        models.StackedAutoencoder(networks.MLP(SHAPE, [5, 4]), networks.MLP(2, [5, 4]), 2, SHAPE)
    with pytest.raises(ValueError, match="pretrain must be a whole number of at least 0, not -1"):
        stack(pretrain=-1)
