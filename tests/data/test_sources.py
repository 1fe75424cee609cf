import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from ppl_vae import catalog, data
from ppl_vae.data import Batches, load

ROOT = Path(__file__).resolve().parents[2]
MNIST = ROOT.parent / "shared" / "data"


def write_idx(path, array):
    path.write_bytes(struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape))
    with path.open("ab") as file:
        file.write(array.astype(np.uint8).tobytes())


@pytest.fixture
def small_mnist(tmp_path):
    """120 training and 10 test images in torchvision's own layout; row i has the grey level i in its corner."""
    for folder in ("MNIST", "KMNIST"):
        raw = tmp_path / folder / "raw"
        raw.mkdir(parents=True)
        for part, n in (("train", 120), ("t10k", 10)):
            images = np.random.default_rng(n).integers(0, 256, (n, 28, 28))
            images[:, 0, 0] = np.arange(n)
            write_idx(raw / f"{part}-images-idx3-ubyte", images)
            write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    return tmp_path


def corners(split):
    return (split.x[:, 0, 0, 0] * 255).round().long().tolist()


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_torchvision_layout(small_mnist, name):
    mnist = load(name, root=small_mnist)
    assert (len(mnist.train), len(mnist.valid), len(mnist.test)) == (110, 10, 10)
    assert mnist.shape == (1, 28, 28) and mnist.train.x.dtype == torch.float32 and mnist.levels == 256
    assert 0 <= mnist.train.x.min() and mnist.train.x.max() == 1
    assert sorted(corners(mnist.train) + corners(mnist.valid)) == list(range(120))  # disjoint, and all of it
    assert corners(mnist.test) == list(range(10))  # the official part in its own order
    for split in (mnist.train, mnist.valid, mnist.test):
        assert [corner % 10 for corner in corners(split)] == split.y.tolist()  # labels go with their rows
    assert corners(load(name, root=small_mnist).valid) == corners(mnist.valid)
    assert corners(load(name, root=small_mnist, seed=1).valid) != corners(mnist.valid)
    assert len(load(name, root=small_mnist, valid=3).valid) == 3


def test_row_numbers_in_errors_are_the_source_s(small_mnist):
    mnist = load("mnist", root=small_mnist)
    assert mnist.valid.index.tolist() == corners(mnist.valid)


def test_config_rebuilds(small_mnist, tmp_path, monkeypatch):
    monkeypatch.chdir(small_mnist)
    mnist = load("mnist", root=".", binarize="dynamic", seed=3)
    config = json.loads(json.dumps(mnist.config))
    monkeypatch.chdir(ROOT)
    again = load(**config)
    assert torch.equal(again.train.x, mnist.train.x) and torch.equal(again.test.x, mnist.test.x)
    assert mnist.train.config == mnist.config


def test_resolved_data_equal_dynamic_ones():
    grey, dynamic = load("digits", seed=4), load("digits", seed=4, binarize="dynamic")
    resolved = grey.resolve(constraints.boolean)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(resolved, part).x, getattr(dynamic, part).x)
    assert resolved.config == dynamic.config and resolved.train.config == dynamic.config
    assert grey.resolve(constraints.real).config["binarize"] == "none"
    assert torch.equal(grey.resolve(constraints.real).valid.x, grey.valid.x)
    assert same_first_batch(resolved.train, dynamic.train)


def same_first_batch(left, right):
    return torch.equal(next(Batches(left, 9).epoch(0))[0], next(Batches(right, 9).epoch(0))[0])


def test_digits():
    from sklearn.datasets import load_digits

    digits = load("digits")
    everything = torch.cat([digits.train.x, digits.valid.x, digits.test.x]).flatten(1)
    original = torch.from_numpy(load_digits().data / 16).float()
    assert sorted(everything.tolist()) == sorted(original.tolist())
    assert digits.levels == 17 and digits.train.x.shape[1:] == (1, 8, 8)
    rows = np.concatenate([digits.train.index, digits.valid.index, digits.test.index])
    assert sorted(rows.tolist()) == list(range(1797))
    assert torch.equal(everything, original[rows])


def test_static_and_dequantized_digits():
    static = load("digits", binarize="static")
    for split in (static.train, static.valid, static.test):
        assert set(split.x.unique().tolist()) == {0.0, 1.0}
    grey, noisy = load("digits"), load("digits", dequantize=True)
    assert torch.equal(noisy.train.x, grey.train.x) and noisy.levels == 17
    assert torch.equal((noisy.valid.x * 17 - 0.5).round() / 16, grey.valid.x)
    batch = next(Batches(noisy.train, 64, shuffle=False).epoch(0))[0]
    assert torch.equal((batch * 17 - 0.5).round() / 16, grey.train.x[:64]) and not torch.equal(batch, grey.train.x[:64])


def test_scaling_belongs_to_the_model():
    raw = load("digits", scale="none")
    assert raw.train.x.max() == 16 and raw.levels is None
    for scale in ("unit", "standard"):
        with pytest.raises(ValueError, match=f"likelihoods.Scaled with by='{scale}'"):
            load("digits", scale=scale)


@pytest.mark.skipif(not (MNIST / "MNIST").exists(), reason="real MNIST is not beside the repository (../shared/data)")
def test_real_mnist():
    mnist = load("mnist", root=MNIST)
    assert (len(mnist.train), len(mnist.valid), len(mnist.test)) == (55_000, 5_000, 10_000)
    assert abs(mnist.train.x.mean() - 0.1307) < 1e-3  # the published mean
    assert mnist.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert torch.equal(mnist.train.x, (mnist.train.x * 255).round() / 255)
    dynamic = mnist.resolve(constraints.boolean)
    assert set(dynamic.test.x.unique().tolist()) == {0.0, 1.0}
    assert abs(dynamic.test.x.mean() - mnist.test.x.mean()) < 1e-3
    dynamic.train.check(constraints.boolean, needs_labels=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "mnits"}, "unknown data 'mnits'.*did you mean mnist"),
        ({"name": "no/such.npy"}, "no such file or folder: no/such.npy"),
        ({"name": "digits", "binarize": "dynamci"}, "did you mean dynamic"),
        ({"name": "digits", "scale": "unt"}, "choose from auto, none"),
        ({"name": "digits", "seed": -1}, "seed"),
        ({"name": "digits", "valid": 0}, "valid"),
        ({"name": "digits", "valid": 1790}, "too few"),
        ({"name": "digits", "size": 4}, "size=4"),
        ({"name": "digits", "labels": "y"}, "labels='y'"),
        ({"name": "digits", "dequantize": True, "binarize": "dynamic"}, "use one"),
        ({"name": "digits", "dequantize": True, "scale": "none"}, "grey levels"),
        ({"name": "digits", "scale": "none", "binarize": "dynamic"}, r"must lie in \[0, 1\]"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words) as error:
        load(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in data.NAMES if name != "digits"])
def test_absent_sets_name_the_command_and_write_nothing(tmp_path, name):
    command = f"ppl-vae train --data {name} --data-root {tmp_path} --download"
    with pytest.raises(ValueError, match=command):
        load(name, root=tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_damaged_files_are_a_sentence(small_mnist):
    path = small_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="mnist is not there, or not whole"):
        load("mnist", root=small_mnist)


def test_the_shell_can_read_the_names_without_importing():
    assert catalog.constant("data", "NAMES") == tuple(data.NAMES)
    assert all(hasattr(data, name) for name in data.__all__)


def test_other_torchvision_layouts(monkeypatch):
    """Every array set by the shapes torchvision's classes give, without their files."""
    import torchvision.datasets as tv

    def fake(shape, key, labels):
        class Fake:
            def __init__(self, root, download, **given):
                n = 24 if given.get("train", given.get("split") == "train") else 6
                self.data = np.zeros((n, *shape), np.uint8)
                self.data[(slice(None), *[1] * len(shape))] = 255
                setattr(self, key, labels(n))

        return Fake

    cases = {
        "cifar10": ("CIFAR10", (8, 9, 3), "targets", lambda n: list(range(n)), (3, 8, 9)),
        "svhn": ("SVHN", (3, 8, 8), "labels", np.arange, (3, 8, 8)),
        "usps": ("USPS", (16, 16), "targets", lambda n: list(range(n)), (1, 16, 16)),
        "emnist": ("EMNIST", (5, 6), "targets", torch.arange, (1, 6, 5)),
    }
    for name, (kind, shape, key, labels, event) in cases.items():
        monkeypatch.setattr(tv, kind, fake(shape, key, labels))
        got = load(name, root="nowhere")
        assert got.shape == event, name
        assert got.train.x.max() == 1 and got.train.y.dtype == torch.int64
        if name == "cifar10":
            assert (len(got.train), len(got.valid), len(got.test)) == (22, 2, 6)
            assert got.train.x[0].nonzero().tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("without", [9, [3, 8]])
def test_labels_left_out_of_training(without):
    everything, loaded = load("digits"), load("digits", without=without)
    gone = torch.tensor(without).reshape(-1)
    for part in ("train", "valid"):
        split, before = getattr(loaded, part), getattr(everything, part)
        kept = ~torch.isin(before.y, gone)
        assert not kept.all() and torch.equal(split.x, before.x[kept]) and torch.equal(split.y, before.y[kept])
        assert np.array_equal(split.index, before.index[kept.numpy()])
    assert torch.equal(loaded.test.x, everything.test.x) and torch.isin(loaded.test.y, gone).any()
    again = load(**json.loads(json.dumps(loaded.config)))
    assert torch.equal(again.train.x, loaded.train.x) and len(again.train) < len(everything.train)


def test_labels_that_cannot_be_left_out(tmp_path):
    with pytest.raises(ValueError, match="without=11 is no label of digits, which has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9$"):
        load("digits", without=11)
    np.save(tmp_path / "x.npy", np.zeros((30, 4), np.float32))
    with pytest.raises(ValueError, match="needs a label for each example, and .*x.npy has none"):
        load(tmp_path / "x.npy", without=1)
    np.savez(tmp_path / "x.npz", x=np.zeros((30, 4), np.float32), y=np.zeros(30, np.int64))
    with pytest.raises(ValueError, match="leaves no example in the train split"):
        load(tmp_path / "x.npz", without=0)
