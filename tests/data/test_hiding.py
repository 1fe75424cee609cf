"""Hiding labels: how many stay, of which classes, and what is refused."""

import numpy as np
import pytest
import torch

from ppl_vae import data
from ppl_vae.data import Split, hide_labels
from ppl_vae.data.hiding import known_rows


def digits():
    return data.load("digits").train


@pytest.mark.parametrize("n", [10, 57, 100, 1439])
def test_as_many_of_each_class(n):
    train = digits()
    kept = hide_labels(train, n, seed=3)
    known = kept.y >= 0
    assert known.sum() == n and torch.equal(kept.y[known], train.y[known])
    counts, there = kept.y[known].bincount(minlength=10), train.y.bincount()
    # A class is behind the others by more than one only where all its rows are known.
    assert bool(((counts >= counts.max() - 1) | (counts == there)).all())


def test_the_seed_chooses_and_the_split_is_left_as_it_was():
    train = digits()
    before = train.y.clone()
    a, b, c = (hide_labels(train, 50, seed).y for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(train.y, before)


def test_a_rare_class_gives_all_it_has_and_the_others_the_rest():
    split = Split(torch.zeros(20, 2), torch.tensor([0] * 17 + [1] * 2 + [2]))
    assert hide_labels(split, 9).y.clamp(min=-1).add(1).bincount().tolist() == [11, 6, 2, 1]


def test_what_is_unknown_already_stays_so():
    split = Split(torch.zeros(6, 2), torch.tensor([0, 1, -1, -1, 0, 1]))
    kept = hide_labels(split, 4)
    assert torch.equal(kept.y, split.y)
    with pytest.raises(ValueError, match="5 labels are to be kept, but .* has only 4; keep at most these"):
        hide_labels(split, 5)


def test_numbers_become_nan():
    split = Split(torch.zeros(6, 2), torch.arange(12.0).view(6, 2))
    y = hide_labels(split, 2).y
    assert len(known_rows(y)) == 2 and y.isnan().all(1).sum() == 4


def test_labels_that_are_read_when_indexed():
    rows = [(torch.full((2,), float(i)), i % 3) for i in range(12)]
    split = data.as_split(torch.utils.data.StackDataset(*map(list, zip(*rows, strict=True))))
    assert not isinstance(split.y, torch.Tensor)
    kept = hide_labels(split, 6)
    x, y = kept.fetch(np.arange(12))
    assert torch.equal(y, kept.y) and (y >= 0).sum() == 6 and torch.equal(x[:, 0], torch.arange(12.0))


@pytest.mark.parametrize(
    ("split", "n", "message"),
    [
        (Split(torch.zeros(4, 2)), 2, "the train split of data has none; give labels y"),
        (Split(torch.zeros(4, 2), torch.tensor([0, 1, 2, 2])), 2, "has 3 classes; keep at least one of each"),
        (Split(torch.zeros(4, 2), torch.tensor([0, 1, 2, 2])), 0, "n must be a whole number of at least 1, not 0"),
    ],
)
def test_refused(split, n, message):
    with pytest.raises(ValueError, match=message):
        hide_labels(split, n)
