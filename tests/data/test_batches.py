import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ppl_vae.data import Batches, Split, as_split, load

GREY = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(50)


def everything(batches, epoch=0, start=0):
    return list(batches.epoch(epoch, start))


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, b) for lefts, rights in zip(left, right, strict=True) for a, b in zip(lefts, rights, strict=True)
    )


class Augmented(Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, i):
        return GREY[i].flip(0) + torch.rand(()) + random.random() + np.random.rand(), i


SPLITS = {
    "dynamic": lambda: Split(GREY, Y, binarize="dynamic"),
    "dequantized": lambda: Split((GREY * 16).round() / 16, Y, levels=17),
    "none": lambda: Split(GREY, Y),
    "augmented": lambda: as_split(Augmented()),
    "streamed": lambda: load("digits", in_memory=False, binarize="dynamic").valid,
    "streamed train": lambda: load("digits", in_memory=False, binarize="dynamic", valid=50).train,
}


@pytest.mark.parametrize("kind", SPLITS)
def test_epochs_are_pure_functions_of_seed_epoch_and_index(kind):
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    batches = Batches(SPLITS[kind](), 16, seed=1)
    first = everything(batches, 3)
    everything(batches, 2)
    assert same(first, everything(batches, 3))
    assert same(first, everything(Batches(SPLITS[kind](), 16, seed=1), 3))
    assert same(first[2:], everything(batches, 3, start=2))
    assert not same(first, everything(batches, 4))
    assert not same(first, everything(Batches(SPLITS[kind](), 16, seed=2), 3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_joint_batch_and_its_noise(kind, world):
    split = SPLITS[kind]()
    joint = everything(Batches(split, 16, seed=1), 1)
    shares = [everything(Batches(split, 16, seed=1, rank=rank, world=world), 1) for rank in range(world)]
    for i, parts in enumerate(joint):
        for rank in range(world):
            for whole, share in zip(parts, shares[rank][i], strict=True):
                assert torch.equal(whole[rank::world], share)


def test_a_share_may_be_empty_in_the_last_batch():
    x, y = everything(Batches((GREY[:5], Y[:5]), 4, rank=1, world=2))[-1]
    assert x.shape == (0, 1, 4, 4) and y.shape == (0,)


def test_every_row_once_an_epoch_and_the_short_batch_last():
    batches = Batches((GREY, Y), 16)
    got = everything(batches)
    assert len(got) == len(batches) == 4 and [len(x) for x, _ in got] == [16, 16, 16, 2]
    order = torch.cat([y for _, y in got])
    assert sorted(order.tolist()) == Y.tolist() and order.tolist() != Y.tolist()
    assert torch.equal(torch.cat([x for x, _ in got]), GREY[order])  # labels go with their rows
    assert everything(Batches(GREY, 25))[0][0].shape == (25, 1, 4, 4)
    assert len(Batches(GREY, 25)) == 2


def test_order_without_shuffling():
    assert torch.equal(torch.cat([y for _, y in everything(Batches((GREY, Y), 7, shuffle=False), 2)]), Y)


def test_dynamic_draws_anew_each_epoch_and_with_the_right_probability():
    batches = Batches(Split(GREY, binarize="dynamic"), 50, shuffle=False)
    draws = torch.stack([everything(batches, epoch)[0][0] for epoch in range(400)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    error = (draws.mean(0) - GREY) / (GREY * (1 - GREY) / 400).sqrt().clamp(min=1e-3)
    assert error.abs().max() < 5  # standard errors, 800 pixels
    assert 0.8 < error.std() < 1.2


def test_noise_of_batches_in_an_epoch_differs():
    half = torch.full((40, 30), 0.5)
    first, second = everything(Batches(Split(half, binarize="dynamic"), 20, shuffle=False))
    assert not torch.equal(first[0], second[0])


def test_dequantized_batches_keep_their_level():
    levels = (GREY * 16).round() / 16
    batches = Batches(Split(levels, levels=17), 50, shuffle=False)
    one, two = everything(batches, 0)[0][0], everything(batches, 1)[0][0]
    assert not torch.equal(one, two)
    for x in (one, two):
        rest = x * 17 - levels * 16
        assert -1e-5 < rest.min() < 0.01 and 0.99 < rest.max() < 1 + 1e-5


def test_batches_are_copies():
    split = as_split(GREY.clone())
    for (x,) in Batches(split, 10, shuffle=False).epoch(0):
        x.zero_()
    assert torch.equal(split.x, GREY)


def test_float64_stays():
    assert everything(Batches(Split(GREY.double(), binarize="dynamic"), 50))[0][0].dtype == torch.float64


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 on fork in a threaded process
@pytest.mark.parametrize("kind", ["augmented", "streamed train"])
def test_reading_processes_change_nothing(kind):
    split = SPLITS[kind]()
    assert same(everything(Batches(split, 20, workers=2), 1, 1), everything(Batches(split, 20), 1, 1))


def test_streamed_equals_in_memory():
    held, streamed = (load("digits", in_memory=held, binarize="dynamic", seed=2) for held in (True, False))
    assert not held.train.streamed and streamed.train.streamed
    for part in ("train", "valid", "test"):
        a, b = getattr(held, part), getattr(streamed, part)
        assert torch.equal(a.x, b.x[:]) and torch.equal(a.take(slice(9))[0], b.take(slice(9))[0])
        assert same(everything(Batches(a, 64), 2), everything(Batches(b, 64), 2))
        assert torch.allclose(a.mean(), b.mean())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 51}, "batch_size 51 is larger than the 50 training examples"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -3}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": 5, "seed": -1}, "seed"),
        ({"batch_size": 5, "rank": 2, "world": 2}, "rank"),
        ({"batch_size": 5, "workers": -1}, "workers"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        Batches(GREY, **options)


def test_the_largest_batch_is_all_rows():
    assert len(Batches(GREY, 50)) == 1


def test_bad_epoch_is_refused_at_once():
    with pytest.raises(ValueError, match="epoch"):
        Batches(GREY, 5).epoch(-1)
