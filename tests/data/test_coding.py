"""Codings of tables: labels beside arrays, short words about wide ones, and runs that are resumed with another one."""

import numpy as np
import pandas as pd
import pytest
import torch

from ppl_vae import SVI, VAE, data, fit, likelihoods, networks, posteriors, priors
from ppl_vae.data.coding import difference_of_codings

RNG = np.random.default_rng(3)
X = np.stack([RNG.poisson(4.0, 60), RNG.normal(size=60)], 1)
Y = np.arange(60) % 3


def sources(folder):
    np.savez(folder / "rows.npz", x=X, y=Y)
    np.savez(folder / "named.npz", x=X, group=Y)
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    yield "npz", folder / "rows.npz", {}
    yield "another name", folder / "named.npz", {"labels": "group"}
    yield "npy", folder / "x.npy", {"labels": str(folder / "y.npy")}
    yield "pair", (X, Y), {}
    yield "tensors", (torch.from_numpy(X), torch.from_numpy(Y)), {}


@pytest.mark.parametrize("case", range(5))
def test_the_labels_of_an_array_stay_when_its_columns_have_kinds(case, tmp_path):
    name, source, options = [*sources(tmp_path)][case]
    loaded = data.load(source, kinds="auto", **options)
    assert loaded.kinds == {"0": "count", "1": "real"}, name
    for split in (loaded.train, loaded.valid, loaded.test):
        assert torch.equal(split.y, torch.from_numpy(Y)[split.index]) and split.y.dtype == torch.int64
    for rows in ((X, Y), tmp_path / "rows.npz"):
        coded = loaded.coding.code(rows)
        assert torch.equal(coded.y, torch.from_numpy(Y)) and torch.equal(coded.x, torch.from_numpy(X).float())
    assert loaded.coding.code(X).y is None


def test_real_labels_stay_real_and_several_a_row_are_refused():
    y = np.arange(60.0)
    assert data.load((X, y), kinds="auto").train.y.dtype == torch.float32
    with pytest.raises(ValueError, match=r"60 rows and y of shape \(60, 2\): a table takes one label a row"):
        data.load((X, np.stack([y, y], 1)), kinds="auto")


def wide(columns=300):
    return pd.DataFrame({f"gene {i}": RNG.poisson(3.0, 30) for i in range(columns)})


def test_what_is_said_of_a_wide_table_is_short():
    coding = data.load(wide(), kinds="auto").coding
    said = repr(coding)
    assert said.startswith("TableCoding(300 columns: gene 0, gene 1, ") and said.endswith("gene 7 and 292 more)")
    with pytest.raises(
        ValueError, match="has no column 'gene 0'.*the run takes gene 0, .*gene 7 and 292 more$"
    ) as error:
        coding.code(wide(5).rename(columns=str.upper))
    assert len(str(error.value)) < 250
    with pytest.raises(ValueError, match="no column 'id', which drop names; choose from .* and 292 more$") as error:
        data.load(wide(), kinds="auto", drop="id")
    assert len(str(error.value)) < 250
    assert repr(data.TableCoding(("a",), index="id", drop=("b",))) == "TableCoding(1 column: a, index='id', drop='b')"


def trained(out, table, resume=False, **options):
    torch.manual_seed(0)
    loaded = data.load(table, **options)
    d = loaded.shape[0]
    posterior = posteriors.Normal(networks.MLP(d, [4]), 2)
    model = VAE(priors.Normal(2), posterior, likelihoods.Normal(networks.MLP(2, [4]), d))
    fit(SVI(model), loaded.train, epochs=1 + resume, batch_size=30, out=out, resume=resume, progress=False)


def test_a_run_is_not_resumed_with_rows_that_are_coded_otherwise(tmp_path):
    table = pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.poisson(3.0, 40), "c": RNG.normal(size=40)})
    first = {"kinds": {"b": "count"}}
    trained(tmp_path / "run", table, **first)
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    for options, words in (
        ({"kinds": {"b": "real"}}, "column 'b' was 'count' and is now 'real'"),
        (first | {"drop": "c"}, "column 'c' was there and is not now"),
        (first | {"index": "a"}, "column 'a' was there and is not now"),
        ({}, "kinds was {.*} and is now not given"),
    ):
        with pytest.raises(
            ValueError, match=f"rows are not coded as in the run in .*: {words}; give the same"
        ) as error:
            trained(tmp_path / "run", table, resume=True, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="column 'd' is new"):
        trained(tmp_path / "run", table.assign(d=1.5 * table["a"]), resume=True, **first)
    with pytest.raises(ValueError, match="their content or order has changed"):
        trained(tmp_path / "run", table.iloc[::-1], resume=True, **first)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before
    trained(tmp_path / "run", table, resume=True, **first)


def test_codings_that_differ_in_words_classes_and_grey_levels():
    one = data.TableCoding(("a", "b"), {"a": ["binary", "f", "m"], "b": "real"}, "y", ("no", "yes")).json
    words = one | {"kinds": {"a": ["binary", "m", "f"], "b": "real"}}
    assert difference_of_codings(one, words) == "column 'a' was (binary, f, m) and is now (binary, m, f)"
    assert difference_of_codings(one, one | {"classes": None}) == "classes was (no, yes) and is now not given"
    assert difference_of_codings(one, one | {"names": ["b", "a"]}) == "names was (a, b) and is now (b, a)"
    assert (
        difference_of_codings(one, one | {"origins": {"b": 3.0}}) is None and difference_of_codings(None, one) is None
    )
    grey = data.ArrayCoding((2,), 16.0).json
    assert difference_of_codings(grey, data.ArrayCoding((2,), 255.0).json) == "divisor was 16.0 and is now 255.0"
