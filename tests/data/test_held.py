"""What people hold rows in gives the same splits, codes and coding as the plain array."""

import anndata
import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ppl_vae import Reconstruction, data, fit, models, networks
from ppl_vae.data import as_split
from ppl_vae.trained import Trained

COUNTS = np.random.default_rng(3).poisson(2.0, (40, 5))
GENES = [f"g{i}" for i in range(5)]
KIND = np.array(["t", "b"])[np.arange(40) % 2]


def cells(x):
    return anndata.AnnData(
        x, obs=pd.DataFrame({"kind": KIND}, index=[f"c{i}" for i in range(40)]), var=pd.DataFrame(index=GENES)
    )


HOLDERS = {
    "pandas": pd.DataFrame(COUNTS, columns=GENES),
    "polars": pl.DataFrame(dict(zip(GENES, COUNTS.T, strict=True))),
    "mapping": dict(zip(GENES, COUNTS.T, strict=True)),
    "csr": scipy.sparse.csr_matrix(COUNTS),
    "coo": scipy.sparse.coo_array(COUNTS),
    "anndata": cells(COUNTS.astype(np.float32)),
    "sparse anndata": cells(scipy.sparse.csr_matrix(COUNTS.astype(np.float32))),
    "hugging face": datasets.Dataset.from_pandas(pd.DataFrame(COUNTS, columns=GENES)),
    "hugging face x": datasets.Dataset.from_dict({"x": COUNTS.astype(float).tolist()}),
    "tensors": TensorDataset(torch.tensor(COUNTS, dtype=torch.float32)),
    "loader": DataLoader(TensorDataset(torch.tensor(COUNTS, dtype=torch.float32)), batch_size=7),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_every_holder_gives_the_same_rows(name):
    x = torch.tensor(COUNTS, dtype=torch.float32)
    split = as_split(HOLDERS[name])
    assert torch.equal(split.take(slice(None))[0], x)
    loaded, plain = data.load(HOLDERS[name]), data.load(x)
    assert torch.equal(loaded.test.take(slice(None))[0], plain.test.x)
    torch.manual_seed(0)
    model = models.Autoencoder(networks.MLP(5, [4]), networks.MLP(2, [4]), 2, 5, "identity")
    history = fit(Reconstruction(model), HOLDERS[name], epochs=1, progress=False)
    assert len(history.rows) == 1
    if split.coding is not None:
        codes = Trained(model, loaded.coding).encode(HOLDERS[name])
        codes = codes if torch.is_tensor(codes) else np.stack([np.asarray(codes[n]) for n in ("z0", "z1")], 1)
        np.testing.assert_allclose(np.asarray(codes), model.eval().encode(x).detach().numpy(), rtol=1e-6)


def test_observations_give_labels_and_names():
    loaded = data.load(HOLDERS["sparse anndata"], labels="kind", kinds="auto")
    assert loaded.classes == ("b", "t") and set(loaded.kinds.values()) == {"count"}
    title, names = loaded.test.named()
    assert title == "cell" and names == [f"c{i}" for i in loaded.test.index]
    assert [loaded.classes[y] for y in loaded.test.y] == KIND[loaded.test.index].tolist()


def test_pictures_of_hugging_face_and_items_that_are_mappings():
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, (4, 6, 6)).astype(np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    held = {"image": [Image.fromarray(g) for g in grey], "label": [0, 1, 1, 0]}
    split = as_split(datasets.Dataset.from_dict(held, features=features))
    x, y = split.take(slice(None))
    torch.testing.assert_close(x, torch.from_numpy(grey)[:, None] / 255)
    assert y.tolist() == [0, 1, 1, 0] and split.labels.classes == ("a", "b")

    class Items(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, row):
            return {"image": torch.full((2,), float(row)), "target": row}

    assert as_split(Items()).take([2])[0].tolist() == [[2.0, 2.0]] and as_split(Items()).take([2])[1].tolist() == [2]


def test_what_cannot_be_rows_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(2)

    class Odd(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, row):
            return {"wavelength": row}

    for value, words in (
        (Stream(), "stream without a length"),
        (DataLoader(Stream()), "stream without a length"),
        (Odd(), "has wavelength, and none of x, image"),
    ):
        with pytest.raises(TypeError, match=words):
            as_split(value)
    with pytest.raises(ValueError, match="column 'a', row 0 holds 'u', which is not a number.*kinds='auto'"):
        as_split(pd.DataFrame({"a": ["u", "v"]}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"sampler": torch.utils.data.SubsetRandomSampler([0, 1])},
            "with a SubsetRandomSampler, which would not be used",
        ),
        ({"sampler": torch.utils.data.WeightedRandomSampler([1.0] * 5, 5)}, "with a WeightedRandomSampler"),
        ({"sampler": torch.utils.data.RandomSampler(range(5), num_samples=2)}, "with a RandomSampler, which"),
        ({"batch_sampler": [[0, 1], [2]]}, "with a list, which would not be used"),
        (
            {"collate_fn": lambda items: 0 * torch.stack([x for (x,) in items])},
            "with a collate_fn, which would not be used",
        ),
    ],
)
def test_a_loader_that_chooses_or_changes_rows_is_refused(options, said):
    """Its rows would be trained on as they are, all of them: with a subset, also those held out."""
    rows = torch.utils.data.TensorDataset(torch.rand(5, 3))
    with pytest.raises(ValueError, match=said):
        as_split(torch.utils.data.DataLoader(rows, **options))
    for plain in ({"shuffle": True, "batch_size": 2}, {"batch_size": None}, {"drop_last": True, "batch_size": 2}):
        assert len(as_split(torch.utils.data.DataLoader(rows, **plain))) == 5
