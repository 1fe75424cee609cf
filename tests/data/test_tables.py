import json

import numpy as np
import pytest
import torch

from ppl_vae.data import TableCoding, coding_of, load
from ppl_vae.data.table_coding import find_table
from ppl_vae.data.tables import CSVTable, filled_csv
from ppl_vae.kinds import Column, parse_kinds

HEAD = "age,sex,city,size\n"
ROWS = '30,f,"Genf, GE",S\n,m,Bern,L\n41.5,,,M\n20, f ,Bern,\n'
KINDS = "age=positive,sex=binary,city=categorical,size=ordinal(S<M<L)"
FOUND = {
    "age": "positive",
    "sex": ["binary", "f", "m"],
    "city": ["categorical", "Bern", "Genf, GE"],
    "size": ["ordinal", "S", "M", "L"],
}


def found_in(path, kinds):
    """Kinds and x of a file."""
    coding, source = find_table(CSVTable(path), None, kinds)
    return coding, source.train[0].array


def write(path, text, **options):
    path.write_bytes(text.encode(**options))
    return path


def test_words_become_numbers_and_the_mapping_is_kept(tmp_path):
    path = write(tmp_path / "t.csv", HEAD + ROWS * 5)
    coding, x = found_in(path, KINDS)
    nan = np.nan
    assert coding.kinds == FOUND and coding.names == tuple(FOUND) and coding.labels is None
    expected = [[30, 0, 1, 0], [nan, 1, 0, 2], [41.5, nan, nan, 1], [20, 0, 0, nan]] * 5
    assert np.array_equal(x, expected, equal_nan=True)
    loaded = load(path, kinds=KINDS)
    again = load(**json.loads(json.dumps(loaded.config)))
    assert coding_of(json.loads(json.dumps(loaded.coding.json))) == loaded.coding
    assert loaded.kinds == again.kinds == FOUND and loaded.columns == tuple(FOUND)
    assert torch.equal(loaded.train.x.nan_to_num(-1), again.train.x.nan_to_num(-1))
    assert load(path, kinds="auto").kinds["size"] == ["categorical", "L", "M", "S"]
    with pytest.raises(ValueError, match="line 2, column 'sex' holds 'f', which is not a number"):
        load(path)


def test_the_recorded_mapping_reads_another_file_alike(tmp_path):
    path = write(tmp_path / "u.csv", "city,extra,size,sex,age\nBern,x,M,m,3\n")
    coding = TableCoding(tuple(FOUND), FOUND)
    assert coding.code(path).x.tolist() == [[3, 1, 0, 1]]
    for row, words in (
        ("Rom,x,M,m,3", "'Rom', which is none of its levels; choose from Bern"),
        ("Bern,x,M,m,-3", "-3"),
    ):
        with pytest.raises(ValueError, match=words):
            coding.code(write(tmp_path / "v.csv", f"city,extra,size,sex,age\n{row}\n"))


@pytest.mark.parametrize(
    ("cells", "kind", "found", "codes"),
    [
        ("1 2 3", "ordinal", ["ordinal", "1", "2", "3"], [0, 1, 2]),
        ("3 1 2", "ordinal(3)", ["ordinal", "1", "2", "3"], [2, 0, 1]),
        ("0 2 1.0", "categorical", "categorical(3)", [0, 2, 1]),
        ("0 2 2", "categorical(4)", "categorical(4)", [0, 2, 2]),
        ("10 2.0 2", "categorical", ["categorical", "2", "10"], [1, 0, 0]),
        ("0 1 1", "binary", "binary", [0, 1, 1]),
        ("no yes nan", "binary", ["binary", "no", "yes"], [0, 1, None]),
    ],
)
def test_codes(tmp_path, cells, kind, found, codes):
    coding, x = found_in(write(tmp_path / "t.csv", "a\n" + cells.replace(" ", "\n") + "\n"), {"a": kind})
    assert coding.kinds == {"a": found}
    assert [None if np.isnan(v) else v for v in x[:, 0]] == codes


@pytest.mark.parametrize(
    ("cells", "kind", "words"),
    [
        ("1 2 7", "ordinal(3)", "has 7.*0 to 2"),
        ("a b c", "binary", "3 words.*use categorical"),
        ("a b c", "categorical(2)", "3 words"),
        ("a b c", "ordinal", "unknown order"),
        ("0.5 1 2", "categorical", "holds 0.5.*use real"),
        ("1 2 3", "binary", "binary takes 0 and 1"),
        ("a b 3", "count", "'a', which is not a number"),
        ("1 2 -3", "count", "count takes.*use real"),
        ("a a a", "categorical", "only one word"),
        ("1 2 3", "cuont", "did you mean count"),
    ],
)
def test_values_of_another_kind(tmp_path, cells, kind, words):
    path = write(tmp_path / "t.csv", "a\n" + cells.replace(" ", "\n") + "\n")
    with pytest.raises(ValueError, match=words) as error:
        found_in(path, {"a": kind})
    assert "\n" not in str(error.value)


def test_a_named_label_column_is_data(tmp_path):
    path = write(tmp_path / "t.csv", "y,a\n" + "1,2\n3,4\n" * 5)
    assert load(path).shape == (1,) and load(path, kinds="a=count").shape == (1,)
    assert load(path, kinds="y=count").shape == (2,) and load(path, kinds="y=count").train.y is None


def test_kinds_of_arrays_and_what_does_not_go_with_them(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40, dtype=np.uint8).reshape(20, 2) % 4)
    loaded = load(tmp_path / "x.npy", kinds={0: "categorical"})
    assert loaded.kinds == {"0": "categorical(3)", "1": "real"} and loaded.train.x.max() == 3
    for given, words in (({"scale": "standard"}, "scale='standard'"), ({"binarize": "static"}, "binarize='static'")):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / "x.npy", kinds={0: "real"}, **given)
    with pytest.raises(ValueError, match="not for digits"):
        load("digits", kinds={0: "real"})


def test_only_missing_cells_of_a_file_change(tmp_path):
    text = (
        '\ufeffid,"age",city,size\r\n07,"30",Bern,S\r\n\r\n08, ,"Genf ""GE"", x",\r\n"a\nb",1e1,,"L"\r\n09,nan,Bern,M'
    )
    path = write(tmp_path / "t.csv", text)
    columns = (
        Column("city", "categorical", 2, ("Bern", "Genf, GE")),
        Column("size", "ordinal", 3, ("S", "M", "L")),
        Column("age", "positive"),
    )
    values = np.array([[0, 0, 5.0], [0, 2, 31.25], [1, 0, 6.0], [0, 0, 1e-9]])
    expected = (
        '\ufeffid,"age",city,size\r\n07,"30",Bern,S\r\n\r\n08,31.25,"Genf ""GE"", x",L\r\n'
        '"a\nb",1e1,"Genf, GE","L"\r\n09,1e-09,Bern,M'
    )
    assert filled_csv(path, columns, values).decode() == expected


def test_a_file_without_header_is_filled_from_its_first_row(tmp_path):
    path = write(tmp_path / "t.csv", "1,\n,3\n")
    assert filled_csv(path, parse_kinds({1: "count"}, 2), [[9, 2.0], [0.5, 9]]) == b"1,2\n0.5,3\n"
