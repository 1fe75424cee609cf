import math

import pytest
import torch

from ppl_vae.networks import TableEncoder

NAN = math.nan
KINDS = {"r": "real", "p": "positive", "c": "count", "b": "binary", "k": "categorical(3)", "o": "ordinal(5)"}


def test_what_the_layers_see():
    torch.manual_seed(0)
    x = torch.stack(
        [700 + 80 * torch.randn(2000), (3 + 0.5 * torch.randn(2000)).exp(), torch.poisson(torch.full((2000,), 9.0))], 1
    )
    x = torch.cat([x, torch.randint(2, (2000, 1)), torch.randint(3, (2000, 1)), torch.randint(5, (2000, 1))], 1)
    network = TableEncoder(6, [], kinds=KINDS, mask=True).start_at(x.mean(0), x.std(0))
    seen = network(x)
    assert network.out_shape == (5 + 3 + 6,) and seen.shape == (2000, 14)
    assert torch.allclose(seen[:, :3].mean(0), torch.zeros(3), atol=0.1)
    assert torch.allclose(seen[:, :3].std(0), torch.ones(3), atol=0.15)
    assert torch.equal(seen[:, 3], 2 * x[:, 3] - 1) and torch.equal(seen[:, 4], x[:, 5] / 2 - 1)
    assert torch.equal(seen[:, 5:8], torch.nn.functional.one_hot(x[:, 4].long(), 3).float())
    for i, places in enumerate(([0], [1], [2], [3], [5, 6, 7], [4])):
        gone = x.clone()
        gone[:, i] = NAN
        expected = seen.clone()
        expected[:, [*places, 8 + i]] = 0
        assert torch.equal(network(gone), expected)


def test_odd_values_stay_finite_and_errors():
    network = TableEncoder((6,), [4], kinds=KINDS)
    assert network(torch.full((2, 6), -1.0)).isfinite().all() and network(torch.zeros(2, 3, 6)).shape == (2, 3, 4)
    assert network.start_at(torch.zeros(6), torch.zeros(6))(torch.ones(1, 6)).isfinite().all()
    for make, words in (
        (lambda: TableEncoder((1, 2, 2)), r"one dimension, not \(1, 2, 2\)"),
        (lambda: TableEncoder(2, kinds={0: "ordinal"}), "no number of levels"),
        (lambda: network.start_at(torch.zeros(5), torch.ones(5)), r"shape \(6,\), not \(5,\)"),
        (lambda: network(torch.zeros(2, 5)), r"rows of shape \(6,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
