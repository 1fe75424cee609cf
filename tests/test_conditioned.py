import json

import pytest
import torch
from instances import SHAPE
from torch import nn

from ppl_vae import data, networks, parts
from ppl_vae.networks import MLP, Conditioned, Conv, Label, Picture, Vector, condition_of

Y = torch.tensor([0, 2, 1])


def weighted(network):
    return network.layers.layers


def test_a_vector_and_a_label_are_one_vector():
    network = Conditioned(MLP(4 + 3, [5]), Label(3))
    x = torch.randn(3, 4)
    assert network.in_shape == (4,) and network.out_shape == (5,)
    by_hand = torch.cat([x, torch.eye(3)[Y]], 1) @ weighted(network)[1].weight.T + weighted(network)[1].bias
    assert torch.allclose(network(x, Y), by_hand.relu(), atol=1e-6)


def test_an_embedding_is_a_row_of_its_table():
    network = Conditioned(MLP(4 + 2, []), Label(3, embedding=2))
    x = torch.randn(3, 4)
    assert torch.allclose(network(x, Y)[:, 4:], network.condition.table.weight.T[Y])


def test_a_picture_and_a_label_are_planes():
    network = Conditioned(Conv((1 + 3, 4, 4), [2]), Label(3))
    x = torch.randn(3, *SHAPE)
    planes = torch.zeros(3, 3, 4, 4)
    planes[range(3), Y] = 1.0
    assert network.in_shape == SHAPE
    assert torch.allclose(network(x, Y), network.layers(torch.cat([x, planes], 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP(16 + 3, [5]), SHAPE),
        (MLP((1 + 3, 4, 4), [5]), None),
        (nn.Sequential(nn.Flatten(), nn.Linear(4 * 16, 5)), SHAPE),
    ],
    ids=["flat", "planes", "the user's own"],
)
def test_pictures_under_any_network(network, shape):
    made = Conditioned(network, Label(3), shape)
    assert made.in_shape == SHAPE and made(torch.randn(7, 3, *SHAPE), Y).shape == (7, 3, 5)


def test_a_picture_joins_as_channels_or_flattened():
    y, x, z = torch.randn(3, 2, 4, 4), torch.randn(3, *SHAPE), torch.randn(3, 2)
    encoder = Conditioned(Conv((1 + 2, 4, 4), [2]), Picture((2, 4, 4)))
    assert torch.equal(encoder(x, y), encoder.layers(torch.cat([x, y], 1)))
    decoder = Conditioned(Conv.decoder(2 + 32, [3], SHAPE), Picture((2, 4, 4)))
    assert decoder.in_shape == (2,)
    assert torch.equal(decoder(z, y), decoder.layers(torch.cat([z, y.flatten(1)], 1)))


def test_numbers():
    x = torch.randn(3, 4)
    one, two = Conditioned(MLP(5, []), Vector()), Conditioned(MLP(6, []), Vector(2))
    assert torch.equal(one(x, Y)[:, 4], Y.float())
    assert torch.equal(two(x, torch.ones(3, 2))[:, 4:], torch.ones(3, 2))
    assert two(x.double(), torch.ones(3, 2)).dtype == torch.float64


@pytest.mark.parametrize("make", [lambda: Conditioned(MLP(7, [5]), Label(3)), lambda: Conditioned(MLP(7), Vector(3))])
def test_leading_dimensions_broadcast(make):
    network = make()
    y = Y if isinstance(network.condition, Label) else torch.randn(3, 3)
    z = torch.randn(5, 2, 3, 4)
    expected = torch.stack([network(one, y) for one in z.flatten(0, 1)]).unflatten(0, (5, 2))
    assert torch.allclose(network(z, y), expected, atol=1e-6)
    values = y[:, None]  # as Enum lays them out: values of y left of the data
    assert torch.allclose(network(z[0, 0], values)[1], network(z[0, 0], y[1].expand(3, *y.shape[1:])), atol=1e-6)
    assert torch.allclose(network(z[0, 0, 0], y[0]), network(z[0, 0], y)[0], atol=1e-6)


def test_around_builds_at_the_right_size():
    assert Conditioned.around(MLP, Label(3), SHAPE, [5]).takes == (19,)
    assert Conditioned.around(Conv, Label(3), SHAPE, [5]).takes == (4, 4, 4)
    assert Conditioned.around(networks.TableEncoder, Label(3), 6, [5], mask=True).takes == (9,)
    network = Conditioned.around(networks.ResNet, Picture(SHAPE), SHAPE, hidden=[5])
    assert network(torch.zeros(2, *SHAPE), torch.zeros(2, *SHAPE)).shape == (2, *network.out_shape)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Conditioned(MLP(10), Label(10)), "so more than 10, not 10"),
        (lambda: Conditioned(MLP(16), Label(10), 16), r"network must take 26 = 16 \+ 10 entries, .*not 16"),
        (lambda: Conditioned(MLP(16), Label(10), SHAPE), r"network must take 26 = 16 \+ 10 entries, .*not 16"),
        (lambda: Conditioned(Conv(SHAPE), Label(3), SHAPE), r"network must take \(4, 4, 4\), .* not \(1, 4, 4\)"),
        (lambda: Conditioned(Conv((3, 4, 4)), Picture((1, 8, 8))), "cannot be a channel of x"),
        (lambda: Conditioned(nn.Linear(7, 2), Label(3)), "shape is needed"),
        (lambda: networks.FillMissing(Conditioned(MLP(7), Label(3)), 4), "which must be outermost"),
        (lambda: Label(1), "classes must be a whole number of at least 2"),
        (lambda: Vector(0), "size must be a whole number of at least 1"),
    ],
)
def test_networks_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_arguments_in_each_others_places():
    with pytest.raises(TypeError, match="condition must be networks.Label, Vector or Picture, not 10"):
        Conditioned(MLP(26), 10)
    with pytest.raises(TypeError, match="not itself Conditioned"):
        Conditioned(Conditioned(MLP(26), Label(10)), Label(10))


@pytest.mark.parametrize(
    ("condition", "y", "message"),
    [
        (Label(3), None, r"y is missing: .* Label\(3\); give y, labels 0 to 2 of shape \(B,\)"),
        (Label(3), Y[:, None], r"y must be labels 0 to 2 of shape \(3,\), not of shape \(3, 1\)"),
        (Label(3), Y[:2], r"not of shape \(2,\)"),
        (Label(3), Y.float(), "y must hold whole numbers, .* not torch.float32; networks.Vector takes numbers"),
        (Label(3), Y + 1, r"y holds the label 3 in row 1, but Label\(3\) takes 0 to 2"),
        (Label(3), -Y, "y holds the label -2 in row 1"),
        (Vector(2), torch.zeros(3), r"y must be numbers of shape \(3, 2\), not of shape \(3,\)"),
        (Vector(), torch.zeros(3, 1), r"y must be numbers of shape \(3,\), not of shape \(3, 1\)"),
        (Vector(), torch.tensor([0.0, torch.nan, 0.0]), "y holds NaN or infinity in row 1"),
        (Picture(SHAPE), torch.zeros(3, 4, 4), r"numbers of shape \(3, 1, 4, 4\), not of shape \(3, 4, 4\)"),
    ],
)
def test_labels_that_are_refused(condition, y, message):
    with pytest.raises(ValueError, match=message):
        condition.check(y, 3)


def test_labels_that_are_taken():
    for condition in (Label(3), Vector(), Vector(2), Picture(SHAPE)):
        example = condition.example(3, torch.zeros(1))
        condition.check(example, 3)
        assert condition(example).shape == (3, *condition.shape)
    Label(3).check(Y.to(torch.uint8), 3)
    with pytest.raises(TypeError, match=r"y must be a tensor, labels 0 to 2 of shape \(3,\), not 1000"):
        Label(3).check(1000, 3)


def test_the_condition_among_parts():
    same = nn.ModuleList([Conditioned(MLP(7), Label(3)), Conditioned(MLP(6), Label(3, embedding=2))])
    assert condition_of(same) is same[0].condition and condition_of(nn.Linear(2, 2)) is None
    with pytest.raises(ValueError, match=r"conditional on Label\(3\) and on Label\(4\); y can be only one"):
        condition_of(nn.ModuleList([Label(3), Label(4)]))


def test_described_and_rebuilt():
    network = Conditioned(MLP(16 + 2, [5]), Label(3, embedding=2), SHAPE)
    again = parts.build(json.loads(json.dumps(parts.describe(network))))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(torch.ones(3, *SHAPE), Y), network(torch.ones(3, *SHAPE), Y))


def test_a_vector_in_standard_deviations_is_the_vector_scaled_outside():
    x, y = torch.randn(50, 4), 30 + 20 * torch.rand(50, 2)
    plain, scaled = Vector(2), Vector(2, scale="standard")
    assert torch.equal(scaled(y), plain(y))  # until it is started
    Conditioned(MLP(6, []), scaled).start(data.as_split((x, y)))
    expected = plain((y - y.mean(0)) / y.std(0, correction=0))
    assert torch.allclose(scaled(y), expected, atol=1e-5)
    scaled.start(data.as_split((x, 2 * y)))  # set already
    assert torch.allclose(scaled(y), expected, atol=1e-5)
    one = Vector(scale="standard")
    one.start(data.as_split((x, y[:, 0])))
    assert torch.allclose(one(y[:, 0]), expected[:, :1], atol=1e-5)
    with pytest.raises(ValueError, match="scale must be None or 'standard', not 'unit'"):
        Vector(2, scale="unit")


def test_several_y_of_one_x_share_the_first_product():
    network = networks.Conditioned(networks.MLP(6 + 3, [8, 5]), networks.Label(3), (1, 2, 3))
    x, y = torch.randn(4, 1, 2, 3), torch.arange(3)[:, None].expand(3, 4)
    widths = []
    hook = network.layers.layers[1].register_forward_hook(
        lambda layer, given, out: widths.append(given[0].shape[:-1].numel())
    )
    found = network(x, y)
    hook.remove()
    assert widths == [4]  # rows of x, not of x and y
    torch.testing.assert_close(found, torch.stack([network(x, one) for one in y]))
    a, b = (
        torch.autograd.grad(out.square().sum(), [*network.parameters()])
        for out in (found, network(x.expand(3, 4, 1, 2, 3), y))
    )
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
