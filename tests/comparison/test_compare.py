"""``ppl_vae.compare`` of objects: one's own programs, priors and objectives side by side, in one process or several."""

import functools
import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae
from ppl_vae import SVI, estimators, likelihoods, models, networks, posteriors, priors
from ppl_vae.comparison import work as module
from ppl_vae.objectives.loss import Loss

X = (torch.rand(120, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
DATA = (X[:80], X[80:100], X[100:])


class Wide(priors.base.Prior):
    """A prior of one's own."""

    support = dist.constraints.real_vector

    def __init__(self, dim, scale=2.0):
        super().__init__(dim)
        self.scale = scale

    def forward(self, y=None):
        return dist.Normal(torch.zeros(self.dim), self.scale * torch.ones(self.dim)).to_event(1)


class Linear(nn.Module):
    """A bare objective: a module whose forward gives a Loss."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x, *_):
        return Loss((self.layer(x) - x).square().sum(1).mean())


def vae(prior=None, hidden=8):
    posterior = posteriors.Normal(networks.MLP(6, [hidden]), 2)
    return models.VAE(prior or priors.Normal(2), posterior, likelihoods.Bernoulli(networks.MLP(2, [hidden]), 6))


def program():
    """A model and guide of one's own."""
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", 80, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", 80, subsample_size=len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return models.Program(model, guide)


CELLS = {
    "vae": lambda seed: SVI(vae()),
    "own prior": lambda: SVI(vae(Wide(2))),
    "own program": lambda: SVI(program(), estimators.TraceELBO()),
    "own objective": Linear,
}


def compare(cells, out, data=DATA, **more):
    given = {"seeds": (0, 1), "epochs": 1, "limit": 20, "num_particles": 10, "batch_size": 20, "progress": False}
    return ppl_vae.compare(cells, data, out=out, **given | more)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few gradients, and no pictures."""
    monkeypatch.setattr("ppl_vae.comparison.figures.REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.figures.LAST_REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.report.write", lambda *_, **__: None)


def weights(folder):
    return {file.parent.name: file.read_bytes() for file in folder.glob("cells/*/weights.safetensors")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("objects") / "out"
    return out, compare(CELLS, out, jobs=2)


def test_own_parts_are_compared_in_other_processes(made):
    out, table = made
    assert table.failed == [] and len(table.rows) == 8 and table.axes == ("seed",)
    means = {mean["setting"]: mean for mean in table.means}
    assert means.keys() == CELLS.keys() and all(mean["seeds"] == 2 for mean in means.values())
    for name in ("vae", "own prior", "own program"):
        assert -8 < means[name]["log_likelihood"] < -3 and means[name]["n"] == 20
    assert means["own objective"].get("log_likelihood") is None
    assert {f.name for f in (out / "cells").iterdir()} == {
        f"{name}_seed-{seed}" for name in ("vae", "own-prior", "own-program", "own-objective") for seed in (0, 1)
    }
    assert "Where to find more" in (out / "report.html").read_text()


def test_the_loss_of_an_own_objective_is_that_of_the_test_data(made):
    trained = Linear()
    ppl_vae.load(made[0] / "cells" / "own-objective_seed-1", trained)
    row = next(row for row in made[1].rows if row["setting"] == "own objective" and row["seed"] == 1)
    assert row["loss"] == pytest.approx(trained(DATA[2]).value.item(), rel=1e-5)


def test_one_process_gives_the_bits_of_several_and_of_fit(made, tmp_path):
    compare({name: CELLS[name] for name in ("vae", "own program")}, tmp_path / "out", seeds=[1])
    here = weights(tmp_path / "out")
    assert here.keys() == {"vae_seed-1", "own-program_seed-1"} and here.items() <= weights(made[0]).items()
    torch.manual_seed(1)
    objective = SVI(vae())
    ppl_vae.fit(objective, DATA[0], DATA[1], epochs=1, batch_size=20, seed=1, out=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == weights(made[0])["vae_seed-1"]


def test_again_does_only_what_is_left(made, monkeypatch):
    out, table = made
    (out / "cells" / "vae_seed-0" / "result.json").unlink()
    before, trained = weights(out), []
    train = module.train
    monkeypatch.setattr(module, "train", lambda cell, *given: trained.append(cell.name) or train(cell, *given))
    again = compare(CELLS | {"wide": lambda: SVI(vae(hidden=9))}, out)
    assert sorted(trained) == ["vae_seed-0", "wide_seed-0", "wide_seed-1"]
    assert before.items() <= weights(out).items()
    assert [row["elbo"] for row in again.rows if row["setting"] == "vae"] == [
        row["elbo"] for row in table.rows if row["setting"] == "vae"
    ]


@pytest.mark.parametrize(("cells", "more", "words"), [
    ({"vae": lambda: SVI(vae(hidden=9))}, {}, "model.likelihood.network.hidden was 8 and is now 9 in the cell"),
    ({"vae": lambda: SVI(vae(), beta=2.0)}, {}, "objective.beta was 1 and is now 2 in the cell"),
    ({"vae": lambda: SVI(vae())}, {"lr": 0.01}, "lr was none and is now 0.01 in the cell"),
    ({"vae": lambda: SVI(vae())}, {"data": X[:70]}, "data.rows was 80 and is now 70 in the cell"),
])  # fmt: skip
def test_another_configuration_in_the_same_place_is_refused(made, cells, more, words):
    before = weights(made[0])
    with pytest.raises(ValueError, match="name a new --out") as caught:
        compare(cells, made[0], **more)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert weights(made[0]) == before


def broken(seed):
    raise RuntimeError("no such\nthing")


def test_a_cell_that_fails_fails_alone(tmp_path):
    table = compare({"broken": broken, "odd": lambda: 3, "vae": lambda: SVI(vae())}, tmp_path / "out", seeds=[0])
    errors = {row["setting"]: row["error"] for row in table.rows}
    assert errors["vae"] is None
    assert errors["broken"].startswith("RuntimeError: no such thing (at test_compare.py:")
    assert "objective must be" in errors["odd"]


def test_functions_may_carry_arguments_of_their_own(tmp_path):
    cells = {f"k = {k}": lambda k=k: SVI(vae(), estimators.IWAE(num_particles=k)) for k in (1, 5)}
    cells["named"] = lambda k=2, *, seed: SVI(vae(Wide(2, k + seed)))
    cells["partial"] = functools.partial(lambda scale, seed: SVI(vae(Wide(2, scale + seed))), 3.0)
    table = compare(cells, tmp_path / "out", seeds=[4])
    assert table.failed == []
    kept = {c: json.loads((tmp_path / "out/cells" / f"k-{c}_seed-4/config.json").read_text()) for c in (1, 5)}
    assert [kept[k]["objective"]["estimator"]["num_particles"] for k in (1, 5)] == [1, 5]
    assert kept[5]["comparison"]["cell"] == "k = 5" and kept[5]["training"]["seed"] == 4


def test_training_data_alone_and_a_data_set(tmp_path):
    table = compare({"vae": CELLS["vae"]}, tmp_path / "one", data=X, seeds=[0])
    assert table.rows[0]["n"] == 20
    assert "train" in json.loads((tmp_path / "one/cells/vae_seed-0/evaluation.json").read_text())
    digits = ppl_vae.data.load("digits")
    build = functools.partial(lambda shape: SVI(models.VAE(
        priors.Normal(2), posteriors.Normal(networks.MLP(shape, [8]), 2),
        likelihoods.Bernoulli(networks.MLP(2, [8]), shape))), digits.shape)  # fmt: skip
    table = compare({"vae": build}, tmp_path / "two", data=digits, seeds=[0], batch_size=500)
    assert table.failed == [] and table.rows[0]["log_likelihood"] < 0
    config = json.loads((tmp_path / "two/cells/vae_seed-0/config.json").read_text())
    assert config["data"]["binarize"] == "dynamic" and config["comparison"]["data"]["name"] == "digits"


SHARED = vae()


@pytest.mark.parametrize(("cells", "more", "error", "words"), [
    ([lambda: 1], {}, TypeError, "such as {'vae': lambda seed: SVI(...)}, not list"),
    ({}, {}, TypeError, "such as {'vae': lambda seed: SVI(...)}, not {}"),
    ({1: Linear, "1": Linear}, {}, TypeError, "cells must map one name or more to functions"),
    ({"vae": SVI(vae())}, {}, TypeError, "cells['vae'] must be a function that builds a fresh objective"),
    ({"a": lambda: SVI(SHARED)}, {}, ValueError, "cells 'a', seed 0 and 'a', seed 1 share parameters"),
    (CELLS, {"seeds": 3}, ValueError, "seeds must be whole numbers, such as (0, 1), not 3"),
    (CELLS, {"seeds": [-1]}, ValueError, "seeds must be a whole number of at least 0, not -1"),
    (CELLS, {"seed": 3}, ValueError, "did you mean seeds?"),
    (CELLS, {"jobs": 0}, ValueError, "jobs must be a whole number of at least 1, not 0"),
    (CELLS, {"backend": "slurm"}, ValueError, "backend 'slurm' is unknown; choose from dask, loky, ray"),
    (CELLS, {"epochs": 0}, ValueError, "epochs must be a whole number of at least 1, not 0"),
    (CELLS, {"lr": -1}, ValueError, "lr must be a positive number, not -1"),
    (CELLS, {"data": (X, X[:, :5], None)}, ValueError, "has shape (5,), that of train (6,)"),
    (CELLS, {"data": (None, X, X)}, ValueError, "no training part"),
])  # fmt: skip
def test_mistakes_are_one_sentence_before_anything_is_done(cells, more, error, words, tmp_path):
    with pytest.raises(error) as caught:
        compare(cells, tmp_path / "out", **more)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_log_file_gets_a_line_a_cell_and_no_bar(tmp_path, capsys, monkeypatch, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    compare({"broken": broken}, tmp_path / "out", seeds=[0, 1], progress=True)
    out, err = capsys.readouterr()
    assert out.count("broken, seed ") == 2 and ("cell/s" in err or "s/cell" in err) == terminal
    assert terminal or err == ""
