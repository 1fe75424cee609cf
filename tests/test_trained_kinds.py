"""Trained runs of every make, autoencoders, conditional models, programs and arrays: what they can and cannot do."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae
from ppl_vae import SVI, VAE, Reconstruction, data, evaluation, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.data.frames import to_frame
from ppl_vae.trained import Trained

RNG = np.random.default_rng(5)
ROWS = pd.DataFrame(
    {"mass": RNG.normal(700, 30, 60), "seen": RNG.normal(3, 1, 60), "label": RNG.choice(["a", "b"], 60)}
)
ROWS.index = pd.Index([f"r{i}" for i in range(60)], name="row id")
NUMBERS = ROWS[["mass", "seen"]]


def coder():
    torch.manual_seed(0)
    return models.Autoencoder(networks.MLP(2, [8]), networks.MLP(1, [8]), 1, 2, "identity", scale="standard")


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    run = tmp_path_factory.mktemp("ae") / "run"
    fit(Reconstruction(coder()), data.load(NUMBERS).train, epochs=40, lr=0.01, out=run, progress=False)
    return ppl_vae.open_run(run)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    run, y = tmp_path_factory.mktemp("cvae") / "run", networks.Label(2)
    torch.manual_seed(0)
    encoder = networks.Scaled.around(networks.Conditioned.around(networks.MLP, y, 2, [8]))
    likelihood = likelihoods.Normal(networks.Conditioned(networks.MLP(1 + 2, [8]), y), 2)
    vae = VAE(priors.Normal(1), posteriors.Normal(encoder, 1), likelihoods.Scaled(likelihood))
    fit(SVI(vae), data.load(ROWS).train, epochs=1, out=run, progress=False)
    return ppl_vae.open_run(run)


def test_an_autoencoder_has_codes_and_reconstructions_but_no_density(autoencoder):
    codes = autoencoder.encode(NUMBERS)
    pd.testing.assert_frame_equal(autoencoder.decode(codes), autoencoder.reconstruct(NUMBERS), rtol=1e-4)
    assert codes.index.equals(NUMBERS.index)
    for ask in (autoencoder.log_likelihood, lambda rows: evaluation.elbo(autoencoder.model, autoencoder.rows(rows).x)):
        with pytest.raises(
            TypeError, match=r"(log_likelihood|elbo) needs a density p\(x\), which Autoencoder does not"
        ):
            ask(NUMBERS)
    with pytest.raises(TypeError, match="Autoencoder has no prior to draw codes from; decode codes of your own"):
        autoencoder.sample(3)


def test_missing_entries_are_refused_or_filled_in_where_the_model_was_trained_whole(autoencoder, conditional):
    holes = NUMBERS.copy()
    holes.iloc[7, 0], holes.iloc[9, 1] = np.nan, np.inf
    for ask in (autoencoder.encode, autoencoder.reconstruct):
        with pytest.raises(
            ValueError, match=r"row id r7 has no (code|reconstruction): column 'mass' is missing or inf"
        ):
            ask(holes)
    holes.iloc[9, 1] = 3.0
    full = autoencoder.impute(holes)
    assert 500 < full.iloc[7, 0] < 900
    np.testing.assert_allclose(full.drop("r7"), holes.drop("r7"), rtol=1e-6)
    assert autoencoder.middle.tolist() == pytest.approx([700, 3], rel=0.1)  # the training rows' mean
    again = conditional.impute(holes, y="a", num_samples=20)
    assert 500 < again.iloc[7, 0] < 900 and again["seen"].notna().all()


def test_classes_are_named_in_every_form(conditional):
    expected, new = conditional.encode(ROWS), NUMBERS
    for y in (ROWS["label"], ROWS["label"].tolist(), ROWS["label"].to_numpy(), np.array(ROWS["label"].tolist())):
        pd.testing.assert_frame_equal(conditional.encode(new, y=y), expected)
    numbers = (ROWS["label"] == "b").astype(int)
    for y in (numbers, numbers.to_numpy(), torch.tensor(numbers.to_numpy())):
        pd.testing.assert_frame_equal(conditional.encode(new, y=y), expected)
    pd.testing.assert_frame_equal(conditional.sample(4, y="b"), conditional.sample(4, y=[1, 1, 1, 1]))
    for y, words in (("c", "y='c' is unknown; choose from a, b"), (7, "label 7 in row 0"), (None, "y is missing")):
        with pytest.raises(ValueError, match=words):
            conditional.encode(new, y=y)


def test_codes_that_are_decoded_keep_the_names_of_their_rows(conditional):
    codes = conditional.encode(ROWS).iloc[::-3]
    made = conditional.decode(codes, y="b")
    assert made.index.equals(codes.index) and made.index.name == "row id" and list(made) == ["mass", "seen"]
    counted = conditional.encode(ROWS.reset_index(drop=True).iloc[::2])
    assert counted.index.tolist() == [*range(0, 60, 2)]


def test_arrays_come_in_any_form_but_not_as_tables():
    torch.manual_seed(0)
    x = (torch.rand(20, 1, 4, 4) > 0.5).float()
    run = Trained(VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), (1, 4, 4))).eval())
    z = run.encode(x)
    items = [{"image": picture, "label": 0} for picture in x]
    for rows in (x.numpy(), x.tolist(), DataLoader(TensorDataset(x)), TensorDataset(x, torch.zeros(20)), Listed(items)):
        assert torch.equal(run.encode(rows), z)
    with pytest.raises(TypeError, match="is a table, but the run was trained on arrays.*frame.to_numpy"):
        run.encode(NUMBERS)


class Listed(torch.utils.data.Dataset):
    """Items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1).to_event(1))
        pyro.sample("x", dist.Normal(z, 1).to_event(1), obs=x)


def guide(x):
    loc = pyro.param("loc", torch.zeros(2))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1).to_event(1))


def test_a_program_has_a_density_but_no_codes(tmp_path):
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(8))
    program = models.Program(model, guide)
    fit(SVI(program), x, epochs=1, out=tmp_path / "run", progress=False)
    again = models.Program(model, guide)
    again.prepare(x[:4])
    run = ppl_vae.open_run(tmp_path / "run", again)
    one, other = run.log_likelihood(x, num_particles=50), evaluation.log_likelihood(program, x, num_particles=50)
    assert torch.equal(one.value, other.value)
    for ask in (run.encode, run.reconstruct, run.impute, run.sample, lambda x: run.export(tmp_path / "e.onnx")):
        with pytest.raises(TypeError, match="Program"):
            ask(x if ask != run.sample else 3)
    with pytest.raises(ValueError, match=r"rows of shape \(5,\), but the run's have \(2,\)"):
        run.log_likelihood(torch.zeros(3, 5))


def test_a_frame_needs_pandas_or_polars(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="a data frame needs pandas or polars: pip install pandas"):
        to_frame({"a": [1]})


def test_parquet_without_pyarrow_is_refused(tmp_path, monkeypatch, capsys, autoencoder):
    from ppl_vae.cli import main

    def absent(self, *args, **more):
        raise ImportError("no pyarrow here")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    NUMBERS.to_csv(tmp_path / "new.csv")
    argv = ["embed", autoencoder.folder.path, "--data", tmp_path / "new.csv", "--out", tmp_path / "codes.parquet"]
    assert main([str(word) for word in argv]) == 2
    assert "needs pyarrow (no pyarrow here); write a .csv" in capsys.readouterr().err
    assert not (tmp_path / "codes.parquet").exists()
