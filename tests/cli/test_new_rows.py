"""What jobs write of tables: dates, large numbers, names first, columns of the same name."""

import shutil

import numpy as np
import pandas as pd
import pytest

import ppl_vae
from ppl_vae.cli import main

RNG = np.random.default_rng(9)
TABLE = pd.DataFrame({
    "paid": (2e6 + 3e5 * RNG.normal(size=60)).round(),
    "id": [f"r{i:02}" for i in range(60)],
    "day": [f"2026-0{1 + i % 9}-17" for i in range(60)],
    "size": RNG.choice(["low", "high"], 60),
    "z1": RNG.normal(size=60).round(3),
})  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    TABLE.to_csv(folder / "t.csv", index=False)
    argv = ["train", "--data", folder / "t.csv", "--data.index", "id", "--out", folder / "run", "--hidden", 8]
    argv += ["--latent-dim", 2, "--epochs", 20, "--no-report", "--quiet"]
    assert main([str(word) for word in argv]) == 0
    return folder / "run"


def shell(capsys, *words):
    code = main([str(word) for word in words])
    return code, capsys.readouterr().err


def test_empty_cells_get_dates_words_and_whole_large_numbers(run, tmp_path, capsys):
    holes = TABLE.copy()
    for row, name in ((3, "day"), (4, "size"), (5, "paid"), (6, "z1")):
        holes.loc[row, name] = np.nan
    holes.to_csv(tmp_path / "holes.csv", index=False)
    assert shell(capsys, "impute", run, "--data", tmp_path / "holes.csv", "--out", tmp_path / "full.csv") == (0, "")
    full = pd.read_csv(tmp_path / "full.csv")
    assert full["day"][3].startswith("2026-0") and full["size"][4] in ("low", "high")
    assert 1e6 < full["paid"][5] < 3e6 and full["paid"][5] % 10 != 0 and abs(full["z1"][6]) < 3
    cells = ppl_vae.open_run(run).impute(holes)
    assert full["day"][3] == cells["day"].iloc[3] and full["paid"][5] == round(cells["paid"].iloc[5])


def test_a_file_without_a_header_is_filled_in_by_the_order_of_its_columns(run, tmp_path, capsys):
    numbers = pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.normal(size=40)}).round(3)
    numbers.to_csv(tmp_path / "t.csv", index=False)
    argv = ["train", "--data", tmp_path / "t.csv", "--likelihood", "columns", "--out", tmp_path / "run", "--epochs", 1]
    assert shell(capsys, *argv, "--hidden", 8, "--no-report", "--quiet")[0] == 0
    (tmp_path / "bare.csv").write_text("0.5,\n,0.25\n")
    assert (
        shell(capsys, "impute", tmp_path / "run", "--data", tmp_path / "bare.csv", "--out", tmp_path / "f.csv")[0] == 0
    )
    filled = pd.read_csv(tmp_path / "f.csv", header=None)
    assert filled.notna().all(None) and filled[0][0] == 0.5 and filled[1][1] == 0.25


def test_kept_columns_stand_behind_the_names_and_are_never_overwritten(run, tmp_path, capsys):
    code, said = shell(capsys, "embed", run, "--keep", "--out", tmp_path / "codes.csv")
    assert code == 2 and "the table has a column 'z1' of its own" in said and "--keep" in said
    new = tmp_path / "scores.csv"
    assert shell(capsys, "anomaly", run, "--keep", "--out", new, "--num-particles", 10) == (0, "")
    found = pd.read_csv(new)
    assert list(found) == ["id", "paid", "day", "size", "z1", "score", "anomalous"]
    rows = TABLE.set_index("id").loc[found["id"]]
    np.testing.assert_allclose(found["paid"], rows["paid"])


def test_kept_columns_are_found_where_the_table_now_lies(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "data").mkdir()
    shutil.move(run.parent / "t.csv", tmp_path / "data" / "t.csv")
    argv = ["anomaly", tmp_path / "run", "--keep", "--data-root", tmp_path / "data", "--num-particles", 10]
    try:
        assert shell(capsys, *argv, "--out", tmp_path / "s.csv") == (0, "")
    finally:
        shutil.move(tmp_path / "data" / "t.csv", run.parent / "t.csv")
    assert "paid" in pd.read_csv(tmp_path / "s.csv")


def test_codes_are_decoded_by_their_names(run):
    trained = ppl_vae.open_run(run)
    codes = trained.encode(TABLE)
    pd.testing.assert_frame_equal(trained.decode(codes[["z1", "z0"]]), trained.decode(codes))


def test_pictures_of_a_moved_run_are_filled_in_without_its_training_data(tmp_path, capsys):
    x = RNG.normal(50, 5, (60, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    argv = ["train", "--data", tmp_path / "x.npy", "--likelihood", "normal", "--scale", "standard", "--hidden", 8]
    assert shell(capsys, *argv, "--out", tmp_path / "run", "--epochs", 2, "--no-report", "--quiet")[0] == 0
    (tmp_path / "x.npy").unlink()
    x[0, 0] = np.nan
    np.save(tmp_path / "new.npy", x[:5])
    argv = ["impute", tmp_path / "run", "--data", tmp_path / "new.npy", "--out", tmp_path / "full.npy"]
    assert shell(capsys, *argv, "--num-samples", 10) == (0, "")
    assert 20 < np.load(tmp_path / "full.npy")[0, 0] < 80
