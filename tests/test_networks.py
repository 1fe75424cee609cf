import pytest
import torch
from contracts import check_network
from instances import every, instance
from torch import nn

from ppl_vae import networks


@pytest.mark.parametrize("case", every("networks"), ids=str)
def test_contract(case):
    check_network(instance("networks", case))


def test_fold_gives_leading_dimensions_back_in_order():
    x = torch.randn(2, 3, 5, 4)
    layer = nn.Linear(4, 6)
    assert torch.allclose(networks.fold(layer, x, 1), layer(x), atol=1e-6)
    assert torch.allclose(networks.fold(layer, x[0, 0, 0], 1), layer(x[0, 0, 0]), atol=1e-6)


def test_batch_norm_sees_all_particles_as_one_batch():
    network = networks.ResNet((1, 8, 8), [2])
    x = torch.randn(4, 3, 1, 8, 8)
    twin = networks.ResNet((1, 8, 8), [2])
    twin.load_state_dict(network.state_dict())
    network(x), twin(x.reshape(12, 1, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), twin.buffers(), strict=True))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (28, 28), (9, 16)])
@pytest.mark.parametrize("family", [networks.Conv, networks.ResNet])
def test_decoder_mirrors_the_encoder(family, size):
    shape = (2, *size)
    encoder = family(shape, [3, 4])
    decoder = family.decoder(5, [4, 3], shape)
    assert encoder(torch.zeros(2, *shape)).shape == (2, *encoder.out_shape)
    assert decoder(torch.zeros(2, 5)).shape == (2, 3, *size)
    head = networks.Head(decoder, shape, 2)
    assert head.spatial and [t.shape for t in head(decoder(torch.zeros(4, 2, 5)))] == [(4, 2, *shape)] * 2


def test_head_flattens_features_of_another_shape():
    network = networks.Conv.decoder(5, [4], (1, 8, 8))
    head = networks.Head(network, (3,), 2)
    assert not head.spatial
    assert [t.shape for t in head(network(torch.zeros(2, 6, 5)))] == [(2, 6, 3)] * 2


def test_head_bias_is_a_view_of_its_own_parameter():
    for network, shape in ((networks.MLP(5, [4]), (2, 3)), (networks.Conv.decoder(5, [4], (2, 8, 8)), (2, 8, 8))):
        head = networks.Head(network, shape, 2)
        nn.init.zeros_(head.layer.weight)
        with torch.no_grad():
            head.bias(0).fill_(1.0)
            head.bias(1).fill_(2.0)
        first, second = head(network(torch.randn(3, 5)))
        assert (first == 1).all() and (second == 2).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: networks.MLP(0, [3]), "in_shape_or_dim must be a whole number of at least 1, not 0"),
        (lambda: networks.MLP(4, [3, -1]), "hidden must be a whole number of at least 1, not -1"),
        (lambda: networks.MLP(4, [3], "rellu"), r"activation 'rellu' is unknown; choose from .*did you mean relu\?"),
        (lambda: networks.Conv(64, [3]), r"in_shape must be an image shape \(channels, height, width\), not \(64,\)"),
        (lambda: networks.Conv((1, 8, 8), []), "hidden must hold at least one size"),
        (lambda: networks.ConvTranspose(2, [3], (8, 8)), "shape must be an image shape"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", sorted(networks.ACTIVATIONS))
def test_activations(name):
    assert networks.MLP(3, [4], name)(torch.randn(2, 3)).isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", [networks.Conv, networks.ResNet])
def test_convolutions_work_on_pixels_with_their_channels_side_by_side(network, channels):
    seen = []

    def look(layer, inputs, output):
        seen.append(all(t.stride(1) == 1 for t in (*inputs, output)))

    encoder = network((channels, 12, 8), [4, 6]).eval()
    decoder = network.decoder(2, [6, 4], (channels, 12, 8)).eval()
    for layer in (*encoder.modules(), *decoder.modules()):
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(look)
    x = torch.randn(5, channels, 12, 8, requires_grad=True)
    features, images = encoder(x), decoder(torch.randn(5, 2))
    assert seen and all(seen)
    assert images.shape == (5, 4, 12, 8)
    (grad,) = torch.autograd.grad(features.square().sum(), x)
    plain = torch.nn.Sequential(*encoder.layers)  # the same layers, in the order that x came in
    (expected,) = torch.autograd.grad(plain(x).square().sum(), x)
    assert torch.allclose(features, plain(x), atol=1e-5) and torch.allclose(grad, expected, atol=1e-4)
