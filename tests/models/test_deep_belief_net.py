"""Deep belief nets: what the machines share with the autoencoder, what each stage trains, and what it is good for."""

import itertools

import pytest
import torch
from contracts import within
from instances import SHAPE

import ppl_vae
from ppl_vae import Reconstruction, catalog, data, evaluation, fit, models
from ppl_vae.cli import main
from ppl_vae.objectives import ContrastiveDivergence

X = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(1))


def net(hidden=(7, 5), dim=3, shape=SHAPE, **options):
    torch.manual_seed(0)
    return models.DeepBeliefNet(dim, shape, hidden, **options)


def shaken(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    return model


@pytest.mark.parametrize("hidden", [(7, 5), (7,), ()])
@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_the_unrolled_net_is_the_machines_one_after_the_other(hidden, output):
    if not hidden and output == "identity":
        return
    dbn = shaken(net(hidden, output=output))
    unrolled = dbn.unroll()
    h = X
    for rbm in dbn.layers:
        h = rbm.encode(h)
    assert torch.allclose(dbn.encode(X), h, atol=1e-5) and torch.allclose(unrolled.encode(X), h, atol=1e-5)
    out = h
    for rbm in reversed(dbn.layers):
        out = rbm.decode(out)
    assert torch.allclose(unrolled(X), out, atol=1e-4) and not torch.allclose(dbn(X), out, atol=1e-2)


def test_the_units_of_the_machines():
    assert [(rbm.size, rbm.visible, rbm.dim, rbm.code) for rbm in net(output="identity").layers] == [
        (16, "gaussian", 7, "bernoulli"),
        (7, "bernoulli", 5, "bernoulli"),
        (5, "bernoulli", 3, "gaussian"),
    ]
    assert net().layers[0].visible == "bernoulli" and net().layers[0].shape == SHAPE


def test_unrolling_makes_parameters_of_its_own():
    dbn = net()
    unrolled = dbn.unroll()
    assert type(unrolled) is models.Autoencoder
    assert not {id(p) for p in dbn.parameters()} & {id(p) for p in unrolled.parameters()}
    before = [p.clone() for p in dbn.parameters()]
    fit(Reconstruction(unrolled, "bce"), X, epochs=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, dbn.parameters(), strict=True))
    up, down = unrolled.encoder.layers[1].weight, unrolled.to_data.layer.weight
    assert not torch.equal(down, up.T)


def test_a_stage_is_contrastive_divergence_on_the_codes_below():
    dbn = shaken(net())
    stage = Reconstruction(dbn).stages()[1].objective
    torch.manual_seed(5)
    loss = stage(X)
    torch.manual_seed(5)
    below = dbn.layers[0].encode(X)
    assert torch.equal(loss.value, ContrastiveDivergence(dbn.layers[1], means=True)(below).value)
    dbn.zero_grad()
    loss.value.backward()
    touched = {name for name, p in dbn.named_parameters() if p.grad is not None}
    assert touched == {"encoder.layers.3.weight", "encoder.layers.3.bias", "decoder.layers.3.bias"}


def test_layers_are_trained_in_turn_and_then_the_decoder_gets_their_weights():
    dbn = net(pretrain=2)
    ups, downs = dbn.encoder.layers, dbn.decoder.layers
    pairs = [(ups[1], dbn.to_data.layer), (ups[3], downs[3]), (dbn.to_code.layer, downs[1])]
    moved = []
    for stage in Reconstruction(dbn).stages()[:-1]:
        assert not any(torch.equal(up.weight, down.weight.T) for up, down in pairs[len(moved) :])
        before = {name: p.detach().clone() for name, p in dbn.named_parameters()}
        fit(stage.objective, X, epochs=stage.epochs, progress=False)
        moved.append({name for name, p in dbn.named_parameters() if not torch.equal(p, before[name])})
        assert all(torch.equal(up.weight, down.weight.T) for up, down in pairs[: len(moved)])
    assert moved == [
        {"encoder.layers.1.weight", "encoder.layers.1.bias", "to_data.layer.weight", "to_data.layer.bias"},
        {"encoder.layers.3.weight", "encoder.layers.3.bias", "decoder.layers.3.weight", "decoder.layers.3.bias"},
        {"to_code.layer.weight", "to_code.layer.bias", "decoder.layers.1.weight", "decoder.layers.1.bias"},
    ]
    assert torch.allclose(dbn(X), dbn.unroll()(X), atol=1e-6)
    history = fit(Reconstruction(dbn, "bce"), X, epochs=3, batch_size=20, progress=False)
    assert [row["epoch"] for row in history.rows] == [1, 2] * 3 + [1, 2, 3] and history.rows[-1]["step"] == 9
    assert not torch.equal(dbn.to_data.layer.weight, dbn.encoder.layers[1].weight.T)
    assert net(pretrain=0).stages() == []


@torch.no_grad()
@pytest.mark.parametrize("hidden", [(4, 3), ()])
def test_samples_are_of_the_net_that_is_enumerated(hidden):
    """The topmost machine's p(h) by enumeration, then down: E[v] = sum_h p(h) E[v | h]."""
    dbn = shaken(net(hidden, dim=1, shape=3))
    top = dbn.layers[-1]
    h = torch.tensor([*itertools.product((0.0, 1.0), repeat=top.size)])
    p = top.log_prob(h).exp()
    for rbm in dbn.layers[-2::-1]:  # one machine down: p(v) = sum_h p(h) p(v | h), entry by entry
        v = torch.tensor([*itertools.product((0.0, 1.0), repeat=rbm.size)])
        mean = rbm.decode(h)
        p = (p[:, None] * torch.where(v == 1, mean[:, None], 1 - mean[:, None]).prod(-1)).sum(0)
        h = v
    x = dbn.sample(4000, steps=100)
    assert x.shape == (4000, 3) and torch.equal(x, dbn.sample(4000, steps=100))
    within(x, p @ h)


def test_a_machine_starts_at_the_mean_code_of_the_data():
    dbn = shaken(net())
    machine = Reconstruction(dbn).stages()[1]
    machine.begin(data.as_split(X))
    mean = dbn.layers[0].encode(X).mean(0).clamp(0.02, 0.98)
    assert torch.allclose(dbn.layers[1].decode(torch.zeros(5)), mean, atol=1e-5)
    assert not dbn.layers[1].code_bias.any() and dbn.layers[0].code_bias.any()


def test_pretraining_lowers_the_fine_tuned_error_on_digits():
    """Squared error of test images after 10 epochs of fine-tuning, 8 numbers an image: 4.7 without, 1.95 with.

    As many passes in all without pre-training, 40 epochs, come to 2.2.
    """
    digits = data.load("digits", binarize="none")

    def error(pretrain):
        dbn = net((100, 50), 8, digits.shape, pretrain=pretrain)
        fit(Reconstruction(dbn, "bce"), digits.train, epochs=10, lr=3e-3, batch_size=50, progress=False)
        return evaluation.reconstruction_error(dbn, digits.test.x).mean().item()

    assert error(10) < 0.6 * error(0)


@pytest.mark.parametrize(("name", "cls"), [("dbn", models.DeepBeliefNet), ("rbm", models.RBM)])
def test_it_is_trained_from_the_shell(tmp_path, name, cls):
    line = ["train", "--model", name, "--out", str(tmp_path / "run"), "--latent-dim", "4", "--epochs", "1"]
    line += ["--hidden", "8", "6", "--model.pretrain", "1", "--objective.loss", "bce"] if name == "dbn" else []
    assert main([*line, "--no-progress", "--quiet"]) == 0
    model = ppl_vae.load(tmp_path / "run")
    assert type(model) is cls and model.dim == 4
    assert name in catalog.parts("model")


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match="pretrain must be a whole number of at least 0, not -1"):
        net(pretrain=-1)
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, not 0"):
        net(k=0)
    with pytest.raises(ValueError, match="hidden must hold at least one size for real data"):
        net((), output="identity")
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, not 0"):
        net().sample(0)
