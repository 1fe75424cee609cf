"""Autoencoders compose: several parts in one are the sum of the parts, and every preset is a choice of parts."""

import json

import pytest
import torch
from contracts import within
from instances import DIM, SHAPE, plain
from torch import nn
from torch.distributions import constraints

from ppl_vae import Reconstruction, corruptions, fit, models, networks, parts, penalties
from ppl_vae.penalties import L1, L2, Contraction, DecoderGradient, DecoderL2, Hidden, KLRate, KSparse, SpectralNorm

X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def autoencoder(penalty=None, hidden=(7,), dim=5, activation="sigmoid", **options):
    encoder = networks.MLP(SHAPE, hidden, activation)
    options = {"code": "sigmoid"} | options
    return models.Autoencoder(encoder, networks.MLP(dim, [6]), dim, SHAPE, penalty=penalty, **options)


def twin(made, of):
    """The model with the weights of another."""
    made.load_state_dict(of.state_dict())
    return made


def results(model):
    """Loss, terms and gradients of a step at a fixed seed."""
    torch.manual_seed(4)
    loss = Reconstruction(model)(X)
    loss.value.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"value": loss.value.detach()} | loss.terms | gradients


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("probes", [None, 2])
def test_denoising_sparse_and_contractive_is_the_sum_of_its_parts(hidden, probes):
    noise = corruptions.Masking(0.3)
    ae = autoencoder([KLRate(0.1, 3.0), Contraction(0.2, probes)], hidden, corruption=noise)
    found = results(ae)
    torch.manual_seed(4)
    noisy = noise(X)

    def parts_of_it():
        return networks.MLP(SHAPE, hidden, "sigmoid"), networks.MLP(5, [6]), 5, SHAPE

    torch.manual_seed(4)
    denoising = twin(autoencoder(hidden=hidden, corruption=noise), ae)
    torch.manual_seed(4)
    error = (X - denoising(X)).square().flatten(1).sum(1)
    sparse = twin(models.SparseAutoencoder(*parts_of_it(), KLRate(0.1, 3.0)), ae).penalised(noisy)[1]["penalty"]
    contractive = twin(models.ContractiveAutoencoder(*parts_of_it(), weight=0.2, probes=probes), ae)
    torch.manual_seed(4)
    noise(X)  # draws as the model does
    contraction = contractive.penalised(noisy)[1]["contraction"]
    for name, expected in (("squared_error", error), ("penalty", sparse), ("contraction", contraction)):
        assert torch.equal(found[name], expected.detach())
    assert torch.equal(found["value"], (error.mean() + sparse.mean() + contraction.mean()).detach())


def test_the_gradient_of_all_parts_together_is_that_of_finite_differences():
    every = [KLRate(0.1), L1(0.2), Hidden(L2(0.3), 0), Contraction(0.5), DecoderGradient(0.5, None), DecoderL2(0.1)]
    ae = autoencoder(every, corruption=corruptions.Gaussian(0.1), code_corruption=corruptions.RelativeGaussian(0.1))
    ae.double()
    objective, x = Reconstruction(ae), X.double()

    def value():
        torch.manual_seed(4)
        return objective(x).value

    value().backward()
    for weight in (ae.encoder.layers[1].weight, ae.to_code.layer.weight, ae.to_data.layer.weight):
        exact = weight.grad[2, 3].item()
        with torch.no_grad():
            ends = []
            for step in (1e-5, -2e-5):
                weight[2, 3] += step
                ends.append(value().item())
            weight[2, 3] += 1e-5
        assert abs(exact) > 1e-4 and (ends[0] - ends[1]) / 2e-5 == pytest.approx(exact, rel=1e-6)


PRESETS = {
    "denoising": (
        lambda: models.DenoisingAutoencoder(*plain(), corruptions.Gaussian(0.2)),
        {"corruption": corruptions.Gaussian(0.2)},
    ),
    "latent noise": (
        lambda: models.LatentNoiseAutoencoder(*plain(), noise=0.3),
        {"code_corruption": corruptions.RelativeGaussian(0.3)},
    ),
    "contractive": (
        lambda: models.ContractiveAutoencoder(*plain(), weight=0.3),
        {"code": "sigmoid", "penalty": Contraction(0.3)},
    ),
    "sparse": (
        lambda: models.SparseAutoencoder(*plain(), KLRate(0.1, 2.0)),
        {"code": "sigmoid", "penalty": KLRate(0.1, 2.0)},
    ),
    "sparse layers": (
        lambda: models.SparseAutoencoder(*plain(), [KSparse(3), L1(0.2)]),
        {"penalty": [Hidden(KSparse(3), 0), L1(0.2)]},
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_composition(name):
    preset, chosen = PRESETS[name]
    model = preset()
    made = models.Autoencoder(*plain(), **chosen)
    assert list(made.state_dict()) == list(model.state_dict())
    same(results(twin(made, model)), results(model))


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [("gradient", DecoderGradient(0.3)), ("l2", DecoderL2(0.3)), ("spectral", SpectralNorm())],
)
def test_the_regularised_autoencoder_is_its_composition_with_a_prior(regularizer, penalty):
    model = models.RegularizedAutoencoder(*plain(), regularizer=regularizer, weight=0.3, code_weight=0.2)
    made = models.Autoencoder(*plain(), penalty=[L2(0.1), penalty])
    made.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("prior")})
    found, expected = results(made), results(model)
    same({"code" if name == "penalty" else name: value for name, value in found.items()}, expected)


def test_the_names_in_weights_and_configurations_are_those_of_earlier_versions():
    linear = [f"{name}.{kind}" for name in NAMES for kind in ("weight", "bias")]
    sparse = models.SparseAutoencoder(*plain(), [None, L1()])
    assert list(sparse.state_dict()) == linear
    spectral = set(models.RegularizedAutoencoder(*plain(), regularizer="spectral").state_dict())
    assert {"prior.weights", "to_data.layer.parametrizations.weight.original"} < spectral
    assert "decoder.layers.1.parametrizations.weight.0.u" in spectral
    for model in (models.Autoencoder(*plain()), sparse):
        record = json.loads(json.dumps(parts.describe(model)))
        earlier = {"code", "corruption", "code_corruption"} | ({"penalty"} if model is not sparse else set())
        old = parts.build({name: value for name, value in record.items() if name not in earlier})
        assert torch.equal(twin(old, model)(X), model(X))


NAMES = ("encoder.layers.1", "decoder.layers.1", "to_code.layer", "to_data.layer")


def test_penalties_of_one_name_are_added_up_in_their_order():
    ae = autoencoder([KSparse(2), L1(0.3), L2(0.2)])
    z = ae.encode(X)
    assert ((z != 0).sum(1) == 2).all()
    assert torch.equal(ae.penalised(X)[1]["penalty"], 0.3 * z.abs().sum(1) + 0.2 * z.square().sum(1))


def test_a_restriction_of_the_code_is_part_of_what_is_contracted():
    ae = autoencoder([KSparse(2), Contraction(1.0)], hidden=())
    rows = [torch.autograd.functional.jacobian(lambda x: ae.encode(x[None])[0], each) for each in X]
    expected = torch.stack([row.square().sum() for row in rows])
    assert ae.sigmoid_layer is not None
    assert torch.allclose(ae.penalised(X)[1]["contraction"], expected, rtol=1e-5)

    class Halved(L1):
        def restrict(self, a):
            return a / 2

    other = twin(autoencoder([Halved(0.0), Contraction(1.0)], hidden=()), ae)
    full = twin(autoencoder(Contraction(1.0), hidden=()), ae)
    assert torch.allclose(other.penalised(X)[1]["contraction"], full.penalised(X)[1]["contraction"] / 4, rtol=1e-5)


def test_the_decoders_gradient_is_exact_without_probes_and_without_bias_with_them():
    ae = autoencoder(DecoderGradient(1.0, None))
    rows = [torch.autograd.functional.jacobian(lambda z: ae.decode(z[None])[0], each) for each in ae.encode(X)]
    expected = torch.stack([row.square().sum() for row in rows])
    assert torch.allclose(ae.penalised(X)[1]["gradient"], expected, rtol=1e-5)
    few = twin(autoencoder(DecoderGradient(1.0, 2)), ae)
    within(torch.stack([few.penalised(X)[1]["gradient"].detach() for _ in range(500)]), expected)


def test_a_code_is_corrupted_in_training_after_its_penalties():
    ae = autoencoder([L1(1.0), DecoderGradient(1.0, None)], code_corruption=corruptions.Gaussian(0.5))
    z = ae.encode(X)
    torch.manual_seed(3)
    noisy = corruptions.Gaussian(0.5)(z)
    torch.manual_seed(3)
    out, costs = ae.penalised(X)
    assert torch.equal(out, ae.decode(noisy)) and torch.equal(costs["penalty"], z.abs().sum(1))
    rows = [torch.autograd.functional.jacobian(lambda z: ae.decode(z[None])[0], each) for each in noisy.detach()]
    assert torch.allclose(costs["gradient"], torch.stack([row.square().sum() for row in rows]), rtol=1e-5)
    ae.eval()
    assert torch.equal(ae.penalised(X)[0], ae.decode(z)) and torch.equal(ae(X), ae.decode(z))


def test_a_hidden_layer_of_a_convolutional_encoder_counts_all_its_entries():
    encoder, decoder = networks.Conv(SHAPE, [3], "elu"), networks.Conv.decoder(DIM, [3], SHAPE)
    ae = models.Autoencoder(encoder, decoder, DIM, SHAPE, penalty=[Hidden(L1(1.0), 0), Hidden(KSparse(5), 0)])
    cost = ae.penalised(X)[1]["penalty"]
    maps = encoder.layers[:2](X).flatten(1)
    assert torch.allclose(cost, KSparse(5).restrict(maps).abs().sum(1)) and (maps != 0).sum(1).max() > 5
    with pytest.raises(ValueError, match="k must be at most the size of the layer, 12, not 13"):
        models.Autoencoder(encoder, decoder, DIM, SHAPE, penalty=Hidden(KSparse(13), 0))


def test_spectral_norm_stands_beside_others_and_trains():
    ae = autoencoder([SpectralNorm(), KLRate(), DecoderGradient()], corruption=corruptions.Masking(0.3))
    fit(Reconstruction(ae), X, epochs=3, progress=False)
    for layer in (ae.decoder.layers[1], ae.to_data.layer):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, rel=0.02)


def test_spectral_norm_follows_the_weights_in_training_only():
    ae = autoencoder(SpectralNorm())
    layer = ae.decoder.layers[1]
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.diag(torch.tensor([1.0, 2, 3, 4, 9]))[[4, 0, 1, 2, 3, 3]])
    ae.eval()
    off = layer.weight.clone()
    for _ in range(3):
        ae.penalised(X)
    assert torch.equal(layer.weight, off)
    ae.train()
    for _ in range(20):
        ae.penalised(X)
    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, rel=1e-4)
    assert torch.linalg.matrix_norm(off, 2).item() > 1.01


def test_a_penalty_or_a_corruption_keeps_from_the_identity():
    wide = {"dim": 16, "hidden": (20,)}
    assert autoencoder(**wide).overcomplete
    for chosen in (
        {"penalty": L1()},
        {"corruption": corruptions.Masking()},
        {"code_corruption": corruptions.Gaussian()},
    ):
        assert not autoencoder(**wide, **chosen).overcomplete


def test_penalties_and_corruptions_are_abstract_and_ones_own_can_be_written():
    for base in (penalties.Penalty, penalties.ActivationPenalty, corruptions.Corruption, models.Reconstructs):
        with pytest.raises(TypeError, match="abstract"):
            type("Unfinished", (base,), {})()

    class Centred(penalties.Penalty):
        term = "centre"

        def forward(self, seen):
            return seen.code.mean(0).square().sum() + (seen.x - seen.out).abs().flatten(1).sum(1)

    ae = autoencoder(Centred())
    loss = Reconstruction(ae)(X)
    expected = ae.encode(X).mean(0).square().sum() + (X - ae(X)).abs().flatten(1).sum(1)
    assert torch.allclose(loss.terms["centre"], expected)
    assert torch.allclose(loss.value, loss.terms["squared_error"].mean() + expected.mean())


def test_a_model_of_ones_own_says_its_penalties_or_only_reconstructs():
    class Mine(nn.Module, models.Reconstructs):
        shape, code_shape, support = SHAPE, (16,), constraints.unit_interval
        code_support = constraints.independent(constraints.real, 1)
        overcomplete = True

        def encode(self, x, y=None):
            return x.flatten(1)

        def decode(self, z, y=None, *, like=None):
            return z.unflatten(-1, SHAPE) / 2

        def penalised(self, x):
            return self.decode(self.encode(x)), {"length": self.encode(x).square().sum(1)}

    objective = Reconstruction(Mine())
    loss = objective(X)
    assert loss.value == loss.terms["squared_error"].mean() + loss.terms["length"].mean()
    assert objective.support is constraints.unit_interval
    with pytest.warns(UserWarning, match="may learn the identity"):
        objective.prepare(X)
    bare = Reconstruction(nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Unflatten(1, SHAPE)))
    assert [*bare(X).terms] == ["squared_error"] and bare.support is None and bare.diagnose(X) is None
    assert bare.diagnose(X * torch.nan) == "the code"


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"penalty": "l1"}, TypeError, "penalty must be one of ppl_vae.penalties"),
        ({"penalty": [L1(), None]}, TypeError, "penalty must be one of ppl_vae.penalties, such as .*, not None"),
        ({"penalty": KSparse(6)}, ValueError, "k must be at most the size of the layer, 5, not 6"),
        ({"penalty": KLRate(), "code": "relu"}, ValueError, "make its layer's activation 'sigmoid', not 'relu'"),
        ({"penalty": Hidden(L1(), 1)}, ValueError, "layer must be below the encoder's 1 hidden layers, not 1"),
        ({"code": "tanh"}, ValueError, "code must be 'identity', 'sigmoid' or 'relu', not 'tanh'"),
        ({"corruption": "masking"}, TypeError, "corruption must be a torch.nn.Module"),
        ({"code_corruption": 0.1}, TypeError, "code_corruption must be a torch.nn.Module"),
    ],
)
def test_what_does_not_fit_is_refused(chosen, error, message):
    with pytest.raises(error, match=message):
        autoencoder(**chosen)


def test_parts_that_do_not_fit_a_network_are_refused():
    with pytest.raises(TypeError, match="encoder must be a chain of layers, .* not TableEncoder"):
        models.Autoencoder(networks.TableEncoder(4, [5]), networks.MLP(2, []), 2, 4, penalty=Hidden(L1(), 0))
    with pytest.raises(TypeError, match="penalty must be one on activations"):
        Hidden(Contraction(), 0)
    batch_norm = networks.ResNet.decoder(DIM, [3], SHAPE)
    with pytest.raises(ValueError, match="decoder must have no batch normalisation"):
        models.Autoencoder(networks.MLP(SHAPE, [5]), batch_norm, DIM, SHAPE, penalty=DecoderGradient())
