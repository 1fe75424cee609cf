"""A run that is moved, without its training data, takes raw rows and gives the same numbers."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import ppl_vae
from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, priors
from ppl_vae.cli import main

SMALL = ["--hidden", "16", "--latent-dim", "2", "--epochs", "3", "--batch-size", "16"]
QUIET = ["--no-progress", "--no-report", "--quiet"]


def wine(rows=80):
    """A table with an id, numbers of several sizes, a date, a word, a count, missing cells and a label."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({
        "id": [f"w{i:03}" for i in range(rows)],
        "alcohol": rng.normal(13, 0.8, rows).round(2),
        "proline": rng.normal(746, 315, rows).round(),
        "bottled": [f"20{10 + i % 9}-0{1 + i % 8}-17" for i in range(rows)],
        "colour": rng.choice(["red", "white", "rosé, dry"], rows),
        "seen": rng.poisson(3, rows),
        "label": rng.choice(["a", "b"], rows),
    })  # fmt: skip
    frame.loc[rng.choice(rows, 9, replace=False), "alcohol"] = np.nan
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a table, before it is moved, and its table."""
    folder = tmp_path_factory.mktemp("before")
    wine().to_csv(folder / "wine.csv", index=False)
    line = ["train", "--data", folder / "wine.csv", "--likelihood", "columns", "--data.index", "id"]
    assert main([str(word) for word in [*line, "--out", folder / "run", *SMALL, *QUIET]]) == 0
    return folder


@pytest.fixture(scope="module")
def moved(trained, tmp_path_factory):
    """The run in another folder, without the table it was trained on."""
    folder = tmp_path_factory.mktemp("after")
    shutil.copytree(trained / "run", folder / "moved")
    shutil.copy(trained / "wine.csv", folder / "new.csv")
    return folder


def test_a_moved_run_gives_the_numbers_it_gave_before(trained, moved):
    before, after = ppl_vae.open_run(trained / "run"), ppl_vae.open_run(moved / "moved")
    rows = wine().set_index("id")
    pd.testing.assert_frame_equal(before.encode(rows), after.encode(rows))
    pd.testing.assert_frame_equal(before.sample(5, seed=3), after.sample(5, seed=3))
    pd.testing.assert_frame_equal(before.impute(rows), after.impute(rows))
    pd.testing.assert_frame_equal(before.reconstruct(rows), after.reconstruct(rows))
    one, other = (t.log_likelihood(rows, num_particles=20) for t in (before, after))
    assert torch.equal(one.value, other.value) and one.value.isfinite().all()
    held = before.data().test  # raw rows are coded as the run's own split was
    z = evaluation.codes(before.model, held.x)
    found = after.encode(rows.iloc[held.index])
    np.testing.assert_array_equal(found[["z0", "z1"]].to_numpy(), z.numpy())
    assert found.index.tolist() == held.named()[1] and found.index.name == "id"


def test_rows_come_back_with_their_names_units_and_words(moved):
    run, rows = ppl_vae.open_run(moved / "moved"), wine().set_index("id")
    full = run.impute(rows)
    assert list(full) == ["alcohol", "proline", "bottled", "colour", "seen"] and full.index.equals(rows.index)
    assert full["alcohol"].notna().all() and set(full["colour"]) <= {"red", "white", "rosé, dry"}
    there = rows["alcohol"].notna()
    np.testing.assert_allclose(full["alcohol"][there], rows["alcohol"][there], rtol=1e-6)
    assert full["bottled"].tolist() == rows["bottled"].tolist() and full["seen"].tolist() == rows["seen"].tolist()
    drawn = run.sample(50)
    assert 300 < drawn["proline"].mean() < 1200 and drawn["bottled"].str.startswith("20").all()
    assert pd.api.types.is_integer_dtype(drawn["seen"])


def test_frames_of_any_kind_code_alike(moved):
    run, rows = ppl_vae.open_run(moved / "moved"), wine()
    z = run.encode(rows.set_index("id")).to_numpy()
    typed = rows.assign(colour=rows["colour"].astype("category"), seen=rows["seen"].astype("Int64"))
    typed["bottled"] = pd.to_datetime(typed["bottled"])
    for same in (typed, pl.from_pandas(rows), rows.to_dict("list"), moved / "new.csv", rows.iloc[:, ::-1]):
        found = run.encode(same)
        columns = [np.asarray(found[name]) for name in ("z0", "z1")]
        np.testing.assert_array_equal(np.stack(columns, 1), z)
    assert isinstance(run.encode(pl.from_pandas(rows)), pl.DataFrame) and isinstance(run.encode(same), pd.DataFrame)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="proline"), "has no column 'proline'; the run takes alcohol, proline"),
        (lambda rows: rows.rename(columns={"proline": "Proline"}), "has no column 'proline' .did you mean Proline"),
        (lambda rows: rows.assign(colour="blue"), "column 'colour' holds 'blue', which is none of its levels"),
        (lambda rows: rows.assign(seen=-1), "in row 0, -1 in column 'seen'|-1"),
        (lambda rows: rows.assign(alcohol="strong"), "column 'alcohol', row 0 holds 'strong'"),
        (lambda rows: rows.assign(bottled="last year"), "column 'bottled' holds 'last year', which is not a date"),
        (lambda rows: rows.to_numpy()[:, :3], "rows of 5 columns are wanted"),
        (lambda rows: 3, "must be a table"),
    ],
)
def test_rows_that_cannot_be_coded_are_refused_by_column_and_value(moved, change, words):
    with pytest.raises((ValueError, TypeError), match=words) as error:
        ppl_vae.open_run(moved / "moved").encode(change(wine().set_index("id")))
    assert "\n" not in str(error.value)


def shell(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr()


def test_every_job_takes_new_rows(trained, moved, tmp_path, capsys):
    run, new = moved / "moved", ["--data", moved / "new.csv"]
    assert shell(capsys, "embed", run, *new, "--out", tmp_path / "codes.csv", "--keep")[0] == 0
    header, *rows = csv.reader((tmp_path / "codes.csv").read_text().splitlines())
    assert header == [*wine(), "z0", "z1"] and [row[0] for row in rows] == wine()["id"].tolist()
    assert [row[4] for row in rows] == wine()["colour"].tolist()
    assert shell(capsys, "embed", run, *new, "--out", tmp_path / "codes.parquet")[0] == 0
    assert list(pd.read_parquet(tmp_path / "codes.parquet")) == ["id", "z0", "z1", "label"]
    code, said = shell(capsys, "evaluate", run, *new, "--num-particles", 10)
    assert code == 0 and str(moved / "new.csv") in said.out and "log-likelihood" in said.out
    scored = ["anomaly", run, *new, "--out", tmp_path / "s.csv", "--num-particles", 25]
    (trained / "wine.csv").rename(trained / "away.csv")
    code, said = shell(capsys, *scored)
    assert code == 0 and "no threshold" in said.out  # never asked for while the training data were there
    (trained / "away.csv").rename(trained / "wine.csv")
    assert shell(capsys, *scored)[0] == 0
    (trained / "wine.csv").rename(trained / "away.csv")
    code, said = shell(capsys, *scored)
    (trained / "away.csv").rename(trained / "wine.csv")
    assert code == 0 and "above the threshold" in said.out
    assert (tmp_path / "s.csv").read_text().splitlines()[0].split(",") == ["id", "score", "anomalous"]
    assert shell(capsys, "reconstruct", run, *new, "--out", tmp_path / "r.csv", "--n", 4)[0] == 0
    assert list(pd.read_csv(tmp_path / "r.csv")) == ["id", *list(wine())[1:-1]]
    assert shell(capsys, "sample", run, "--n", 6, "--out", tmp_path / "x.csv")[0] == 0
    assert set(pd.read_csv(tmp_path / "x.csv")["colour"]) <= {"red", "white", "rosé, dry"}
    assert shell(capsys, "impute", run, *new, "--out", tmp_path / "full.csv")[0] == 0
    assert pd.read_csv(tmp_path / "full.csv")["alcohol"].notna().all()


def test_changed_data_are_refused_and_new_rows_are_not(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = trained / "wine.csv"
    text = path.read_text()
    head, *lines = text.splitlines(keepends=True)
    try:
        for changed, words in (
            (head + "".join(sorted(lines, reverse=True)), "content or order has changed"),
            (text + lines[3], "they had 80 rows and now have 81"),
        ):
            path.write_text(changed)
            code, said = shell(capsys, "evaluate", tmp_path / "run", "--num-particles", 10)
            assert code == 2 and words in said.err and "--data" in said.err
            argv = ["train", "--data", path, "--likelihood", "columns", "--data.index", "id", "--resume"]
            code, said = shell(capsys, *argv, "--out", tmp_path / "run", *SMALL, *QUIET)
            assert code == 2 and words in said.err and said.err.count("\n") == 1
            assert shell(capsys, "evaluate", tmp_path / "run", "--data", path, "--num-particles", 10)[0] == 0
    finally:
        path.write_text(text)


def test_a_moved_table_is_found_by_data_root(trained, moved, tmp_path, capsys):
    shutil.copytree(moved / "moved", tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (trained / "wine.csv").rename(tmp_path / "elsewhere" / "wine.csv")
    try:
        assert shell(capsys, "evaluate", tmp_path / "run", "--num-particles", 10)[0] == 2
        argv = ["evaluate", tmp_path / "run", "--data-root", tmp_path / "elsewhere", "--num-particles", 10]
        assert shell(capsys, *argv)[0] == 0
    finally:
        (tmp_path / "elsewhere" / "wine.csv").rename(trained / "wine.csv")


def test_arrays_handed_to_fit_are_known_again_when_resuming(tmp_path):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(5))

    def objective():
        torch.manual_seed(0)
        return SVI(VAE(priors.Normal(2), likelihood=likelihoods.Normal(networks.MLP(2, [8]), 3)))

    fit(objective(), x, epochs=1, batch_size=20, out=tmp_path / "run", progress=False)
    for other, words in ((x.flip(0), "order has changed"), (x[:30], "40 rows and now have 30")):
        with pytest.raises(ValueError, match=words):
            fit(objective(), other, epochs=2, batch_size=20, out=tmp_path / "run", resume=True, progress=False)
    fit(objective(), x, epochs=2, batch_size=20, out=tmp_path / "run", resume=True, progress=False)


def test_the_split_is_kept_and_used(trained):
    kept = ppl_vae.open_run(trained / "run")
    index = kept.folder.split()
    assert sorted(np.concatenate([*index.values()]).tolist()) == list(range(80))
    swapped = data.reload(kept.record, {"train": index["test"], "valid": index["valid"], "test": index["train"]})
    assert swapped.test.index.tolist() == index["train"].tolist()  # the indices decide, not the seed


def test_large_numbers_lose_nothing(tmp_path):
    """Seconds since 1970 differ by less than float32 resolves near 1.7e9, 128."""
    when = 1.7e9 + np.arange(60.0) * 7
    np.random.default_rng(0).shuffle(when)
    table = pd.DataFrame({"t": when, "v": np.random.default_rng(1).normal(size=60)})
    loaded = data.load(table, kinds="auto")
    x = torch.cat([loaded.train.x, loaded.valid.x, loaded.test.x])[:, 0]
    assert len(x.unique()) == 60
    order = np.concatenate([loaded.train.index, loaded.valid.index, loaded.test.index])
    back = loaded.coding.uncode(torch.stack([x, x], 1))["t"]
    np.testing.assert_array_equal(back, when[order])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"n": np.arange(30.0), "v": np.arange(30.0) ** 2}, "column 'n' counts the rows from 0 to 29"),
        ({"c": np.full(30, 3.5), "v": np.arange(30.0) ** 2}, "1 column holds only one value .'c'."),
    ],
)
def test_row_numbers_and_constant_columns_are_pointed_out(columns, words):
    with pytest.warns(UserWarning, match=words):
        data.load(pd.DataFrame(columns))
    name = next(iter(columns))
    assert data.load(pd.DataFrame(columns), drop=name).columns == ("v",)


def test_a_column_of_ids_is_no_category(tmp_path):
    table = pd.DataFrame({"who": [f"person {i}" for i in range(60)], "v": np.arange(60.0) ** 2})
    with pytest.raises(ValueError, match="'who' holds 60 different words in 60 rows.*index='who' or drop='who'"):
        data.load(table, kinds="auto")
    assert data.load(table, kinds="auto", index="who").train.named()[0] == "who"
    table.to_csv(tmp_path / "t.csv")  # with pandas' index, a column without a name
    assert data.load(tmp_path / "t.csv", drop="who").columns == ("v",)


def test_names_that_are_not_there(tmp_path):
    wine().to_csv(tmp_path / "t.csv", index=False)
    for option in ("index", "drop", "labels"):
        with pytest.raises(ValueError, match=f"no column 'alcool', which {option} names.*did you mean alcohol"):
            data.load(tmp_path / "t.csv", kinds="auto", **{option: "alcool"})
    with pytest.raises(ValueError, match="drop=.'a'. is for tables"):
        data.load("digits", drop="a")


def test_pictures_come_as_files_or_grey_levels(tmp_path, capsys):
    from PIL import Image

    line = ["train", "--data", "digits", "--out", tmp_path / "run", "--hidden", 16, "--epochs", 1, *QUIET]
    assert shell(capsys, *line)[0] == 0
    run = ppl_vae.open_run(tmp_path / "run")
    grey = np.random.default_rng(0).integers(0, 17, (3, 8, 8)).astype(np.uint8)
    for i, picture in enumerate(grey):
        Image.fromarray((picture * 15).astype(np.uint8)).save(tmp_path / f"p{i}.png")
    drawn = run.rows(grey)
    assert set(drawn.x.unique().tolist()) == {0.0, 1.0}  # binarized, as the run's test split is
    assert torch.equal(run.encode(grey), run.encode(torch.from_numpy(grey)))
    (tmp_path / "folder").mkdir()
    for i in range(3):
        (tmp_path / f"p{i}.png").rename(tmp_path / "folder" / f"p{i}.png")
    assert shell(capsys, "embed", tmp_path / "run", "--data", tmp_path / "folder", "--out", tmp_path / "c.csv")[0] == 0
    assert list(pd.read_csv(tmp_path / "c.csv"))[0] == "file" and pd.read_csv(tmp_path / "c.csv")["file"][2] == "p2.png"
    with pytest.raises(ValueError, match="holds 200, but the grey levels of the run's data go to 16"):
        run.encode(np.full((1, 8, 8), 200, np.uint8))
    with pytest.raises(ValueError, match=r"rows of shape \(1, 5, 5\), but the run's have \(1, 8, 8\)"):
        run.encode(np.zeros((1, 5, 5), np.uint8))


def test_a_fresh_process_needs_nothing_but_the_folder(moved, tmp_path):
    wine().to_csv(tmp_path / "rows.csv", index=False)
    run, rows = str(moved / "moved"), str(tmp_path / "rows.csv")
    code = f"import ppl_vae; print(ppl_vae.open_run({run!r}).encode({rows!r}).iloc[3, 0])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = ppl_vae.open_run(moved / "moved").encode(wine().set_index("id")).iloc[3, 0]
    assert float(said) == pytest.approx(here, rel=1e-6)


def test_a_table_for_a_run_without_columns_is_refused_in_words(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    vae = VAE(priors.Normal(2), likelihood=likelihoods.Normal(networks.MLP(2, [3]), 2))
    with pytest.raises(ValueError, match=r"t.csv is a table, but the run knows no columns .* as .npy"):
        ppl_vae.trained.Trained(vae).encode(tmp_path / "t.csv")
