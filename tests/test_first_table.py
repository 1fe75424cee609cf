"""A first table of one's own: dates, words, marks of missing cells, files of other programs."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ppl_vae
from ppl_vae import data
from ppl_vae.cli import main

SMALL = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]


def shell(*words):
    return main([str(word) for word in words])


def error_of(capsys, *words):
    capsys.readouterr()
    assert shell(*words) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """A folder with a table of dates, milliseconds since 1970, words and labels, and a run trained on it."""
    folder = tmp_path_factory.mktemp("visits")
    rng = np.random.default_rng(0)
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "day", "ms", "age", "group"])
        for i in range(60):
            day = "" if i % 10 == 1 else f"2021-{rng.integers(1, 13):02d}-{rng.integers(1, 28):02d}"
            ms = "" if i % 10 == 2 else 1_600_000_000_000 + int(rng.integers(0, 86_400_000))
            writer.writerow([f"a{i}", day, ms, f"{rng.normal(40, 10):.1f}", "12x"[i % 3]])
    words = ["--data", folder / "t.csv", "--data.index", "id", "--data.labels", "group", "--condition", "label"]
    assert shell("train", *words, "--out", folder / "run", *SMALL) == 0
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_filled_in_dates_are_dates_and_large_numbers_keep_their_digits(visits):
    assert shell("impute", visits / "run", "--data", visits / "t.csv", "--out", visits / "full.csv") == 0
    rows = rows_of(visits / "full.csv")
    assert rows[1]["day"][:4] in ("2020", "2021", "2022") and len(rows[1]["day"]) == 10
    assert rows[2]["ms"].isdigit() and abs(int(rows[2]["ms"]) - 1_600_043_200_000) < 10 * 86_400_000
    fuller = ppl_vae.open_run(visits / "run").impute(visits / "t.csv")
    given = [(float(row["ms"]), ms) for row, ms in zip(rows, fuller["ms"], strict=True)]
    assert all(ms == value for i, (value, ms) in enumerate(given) if i % 10 != 2)
    assert [row["day"] for row in rows] == [*fuller["day"]]
    assert np.allclose(*zip(*given, strict=True), rtol=0, atol=1)


def test_samples_keep_the_digits_of_large_numbers(visits):
    assert shell("sample", visits / "run", "--n", "3", "--y", "x", "--out", visits / "new.csv") == 0
    assert all(row["ms"].isdigit() and len(row["ms"]) == 13 for row in rows_of(visits / "new.csv"))


def test_a_class_whose_name_is_a_number_is_meant_by_its_name(visits, tmp_path, capsys):
    run = ppl_vae.open_run(visits / "run")
    assert run.coding.classes == ("1", "2", "x")
    assert shell("sample", visits / "run", "--n", "2", "--y", "1", "--out", visits / "one.csv") == 0
    first = run.sample(2, 0)
    assert [row["day"] for row in rows_of(visits / "one.csv")] == [*first["day"]] == [*run.sample(2, "1")["day"]]
    assert "choose from 1, 2, x" in error_of(capsys, "sample", visits / "run", "--y", "0", "--out", visits / "no.csv")
    for k in (3, 5):
        (tmp_path / "p" / str(k)).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.full((4, 4), 20 * k + i, np.uint8)).save(tmp_path / "p" / str(k) / f"{i}.png")
    assert shell("train", "--data", tmp_path / "p", "--out", tmp_path / "run", *SMALL) == 0
    assert shell("embed", tmp_path / "run", "--split", "train", "--out", tmp_path / "z.csv") == 0
    assert all(row["file"].split("/")[0] == row["label"] for row in rows_of(tmp_path / "z.csv"))
    words = "anomaly", tmp_path / "run", "--split", "train", "--num-particles", "2", "--label"
    assert shell(*words, "5") == 0
    assert "--label 1 is unknown; choose from 3, 5" in error_of(capsys, *words, "1")


def test_kept_columns_come_from_where_the_data_lie_now(visits, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (visits / "t.csv").rename(moved / "t.csv")
    try:
        words = "embed", visits / "run", "--keep", "--data-root", moved, "--out", tmp_path / "z.csv"
        assert shell(*words) == 0
    finally:
        (moved / "t.csv").rename(visits / "t.csv")
    source = {row["id"]: row for row in rows_of(visits / "t.csv")}
    assert all(source[row["id"]]["age"] == row["age"] for row in rows_of(tmp_path / "z.csv"))


def test_no_run_is_said_to_be_none(tmp_path, capsys):
    assert "is not a run folder" in error_of(capsys, "anomaly", tmp_path / "none", "--out", tmp_path / "a.csv")


@pytest.mark.parametrize("mark", ["NA", "n/a", "?"])
def test_a_mark_of_missing_numbers_does_not_become_a_category(tmp_path, mark):
    path = tmp_path / "t.csv"
    path.write_text("code,x\n" + "".join(f"{mark if i == 4 else i % 3},{i / 7}\n" for i in range(30)))
    with pytest.raises(ValueError, match=rf"column 'code' holds numbers and '{'[?]' if mark == '?' else mark}'; leave"):
        data.load(path, kinds="auto")
    assert data.load(path, kinds={"code": "categorical", "x": "real"}).kinds["code"][-1] in ("2", mark)


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("a;b\n1,5;2\n", "utf-8", "has one column, 'a;b', whose name holds ';'.*pandas.read_csv.*sep=';'"),
        ("a\tb\n1\t2\n", "utf-8", r"whose name holds '\\t'"),
        ("a,b\n1,Köln\n", "latin-1", "is not text in UTF-8 .*; save it as UTF-8"),
    ],
)
def test_tables_of_other_programs_are_refused_with_a_cure(tmp_path, text, encoding, words):
    (tmp_path / "t.csv").write_text(text, encoding=encoding)
    with pytest.raises(ValueError, match=words):
        data.load(tmp_path / "t.csv", kinds="auto")


def test_a_parquet_file_is_read_as_the_csv_file_is(visits, tmp_path):
    frame = pd.read_csv(visits / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    options = {"kinds": "auto", "index": "id", "labels": "group"}
    one, other = (data.load(path, **options) for path in (visits / "t.csv", tmp_path / "t.parquet"))
    assert one.kinds == other.kinds and one.coding.json == other.coding.json
    assert np.array_equal(one.test.x.numpy(), other.test.x.numpy(), equal_nan=True)
    words = "embed", visits / "run", "--data"
    for name in (visits / "t.csv", tmp_path / "t.parquet"):
        assert shell(*words, name, "--out", tmp_path / f"{name.suffix[1:]}.csv") == 0
    assert (tmp_path / "csv.csv").read_text() == (tmp_path / "parquet.csv").read_text()
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(ValueError, match="bad.parquet is not a readable .parquet file"):
        data.load(tmp_path / "bad.parquet")


def test_the_ending_of_a_file_may_be_in_capitals(visits, tmp_path):
    (tmp_path / "T.CSV").write_bytes((visits / "t.csv").read_bytes())
    assert data.load(tmp_path / "T.CSV", kinds="auto", index="id", labels="group").columns == ("day", "ms", "age")


def test_a_frame_whose_columns_have_numbers_for_names(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    found = data.load(pd.DataFrame(x), kinds="auto")
    assert found.columns == ("0", "1")
    assert np.array_equal(found.coding.code(pd.DataFrame(x[:, ::-1], columns=[1, 0])).x, x.astype(np.float32))
    assert data.load(pd.DataFrame(x, columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])), kinds="auto").shape == (
        2,
    )
    for names in (["a", "a"], [1, "1"]):
        with pytest.raises(ValueError, match="has two columns of one name"):
            data.load(pd.DataFrame(x, columns=names), kinds="auto")


def test_a_run_whose_data_are_gone_says_where_to_name_them(visits, tmp_path, capsys):
    (visits / "t.csv").rename(tmp_path / "t.csv")
    try:
        error = error_of(capsys, "evaluate", visits / "run")
    finally:
        (tmp_path / "t.csv").rename(visits / "t.csv")
    assert "t.csv, where the run found its data; give the folder in which they lie now as root (--data-root)" in error


def test_new_rows_are_numbered_as_the_training_rows_were(tmp_path):
    x = np.arange(40) / 7
    numbers = data.load(
        pd.DataFrame({"sex": [0, 1] * 20, "site": [0, 1, 2, 1] * 10, "x": x}),
        kinds={"sex": "binary", "site": "categorical"},
    ).coding
    rows = {"sex": [1, 0], "site": [2, 1], "x": [0.5, 1.5]}
    assert numbers.code(rows).x.tolist() == [[1, 2, 0.5], [0, 1, 1.5]]
    assert numbers.code(rows | {"sex": [True, True]}).x[:, 0].tolist() == [1, 1]
    for name, column, words in (
        ("sex", ["m", "f"], "'sex' holds 'm', but the column was trained on numbers"),
        ("site", ["a", "b"], "'site' holds 'a', but the column was trained on numbers"),
        ("site", [1, 3], "3 in column 'site'"),
    ):
        with pytest.raises(ValueError, match=words):
            numbers.code(rows | {name: column})
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{['FALSE', 'TRUE'][i % 2]},{i / 7}\n" for i in range(40)))
    coding = data.load(tmp_path / "t.csv", kinds="auto").coding
    assert coding.code(pd.read_csv(tmp_path / "t.csv")).x[:2, 0].tolist() == [0, 1]
    assert coding.code(tmp_path / "t.csv").x[:2, 0].tolist() == [0, 1]
