import json
import math

import pytest
import torch

from ppl_vae import data, networks
from ppl_vae.data import find_kinds
from ppl_vae.kinds import Table, parse_kinds
from ppl_vae.likelihoods import Columns

NAN = math.nan


def spelled(kinds, names):
    return {c.name: c.spelled for c in parse_kinds(kinds, names)}


def test_every_way_to_say_kinds(tmp_path):
    mapping = {"age": "positive", "size": ["ordinal", "S", "M", "L"], "city": "categorical(4)"}
    expected = {"city": "categorical(4)", "age": "positive", "size": ["ordinal", "S", "M", "L"], "other": "real"}
    (tmp_path / "k.json").write_text(json.dumps(mapping))
    (tmp_path / "k.yaml").write_text("age: positive\nsize: ordinal(S<M<L)\ncity: categorical(4)\n")
    ways = [mapping, "age=positive, size=ordinal(S<M<L),city=categorical(4)", expected]
    for way in [*ways, *(str(tmp_path / name) for name in ("k.json", "k.yaml"))]:
        assert spelled(way, ["city", "age", "size", "other"]) == expected
    assert spelled({1: "count", "0": "binary"}, 3) == {"0": "binary", "1": "count", "2": "real"}
    assert spelled({"b": "count", "a": "real"}, 2) == {"b": "count", "a": "real"}  # all names, in order
    assert spelled(None, ["a"]) == {"a": "real"}
    assert spelled("a=binary(no|yes)", ["a"]) == {"a": ["binary", "no", "yes"]}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"agee": "real"}, "'agee'.*did you mean age"),
        ({7: "real"}, "names 7, .*0 to 1"),
        ({-1: "real"}, "names -1, .*0 to 1"),
        ({"age": "positiv"}, "'positiv'.*did you mean positive"),
        ({"age": 3}, "kind 3"),
        ({"age": "real(3)"}, "'age' levels, but real has none"),
        ({"age": "ordinal(1)"}, "'age' must be a whole number of at least 2, not 1"),
        ({"age": "ordinal(S<S)"}, "S, S, which must be different"),
        ({"age": "binary(3)"}, "'age' 3 levels, but binary has 2; use categorical"),
        (["real"], "must be a mapping"),
        ("age", "not a mapping"),
        ("age=real,age=count", "twice"),
        ("nowhere.json", "does not exist"),
    ],
)
def test_bad_kinds(kinds, words):
    with pytest.raises(ValueError, match=words) as error:
        parse_kinds(kinds, ["age", "b"])
    assert "\n" not in str(error.value)


def test_names_need_the_whole_table():
    with pytest.raises(ValueError, match=r"names 1 columns \(age\), but the table has 3"):
        Columns(networks.MLP(2, [4]), 3, {"age": "positive"})


def test_table_takes_what_its_kinds_take():
    kinds = ("real", "positive", "count", "binary", "categorical(3)", "ordinal(3)")
    table = Table(parse_kinds(dict(enumerate(kinds)), 6))
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, torch.inf, NAN])
    got = torch.stack([table.check(v.expand(6)) for v in values], 1)
    expected = [
        [1, 1, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 1, 0, 1, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 0, 0, 0],
        [0, 1, 0, 1, 1, 0, 0, 0],
        [0, 1, 0, 1, 1, 0, 0, 0],
    ]
    assert got.int().tolist() == expected


def test_levels_are_found_and_values_are_checked():
    x = torch.tensor([[0.0, 2.0, 0.0, 5.5], [1.0, NAN, 1.0, NAN], [NAN, 0.0, NAN, 2.0]])
    assert find_kinds(x, {1: "ordinal", 0: "categorical"}) == {
        "0": "categorical(2)", "1": "ordinal(3)", "2": "real", "3": "real"
    }  # fmt: skip
    assert list(find_kinds(x.numpy(), "auto").values()) == ["binary", "count", "binary", "real"]
    for kinds, words in (
        ({1: "ordinal(2)"}, r"row 0 has 2 in column '1', but ordinal takes.*0 to 1; use ordinal\(3\)"),
        ({1: "binary"}, r"use categorical\(3\)"),
        ({3: "count"}, "row 0 has 5.5.*use positive"),
        ({0: "positive"}, "row 0 has 0 in column '0'.*use count"),
    ):
        with pytest.raises(ValueError, match=words):
            find_kinds(x, kinds)
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\)"):
        find_kinds(x.view(3, 2, 2))


def test_a_split_names_the_column_that_does_not_fit():
    likelihood = Columns(networks.MLP(2, [4]), 2, {"age": "positive", "sex": "binary"})
    data.as_split(torch.tensor([[1.0, NAN], [NAN, 1.0]])).check(likelihood.support)
    with pytest.raises(ValueError, match=r"in row 1, -3 in column 'age', but positive takes numbers above 0; use real"):
        data.as_split(torch.tensor([[1.0, NAN], [-3.0, 1.0]])).check(likelihood.support)
    with pytest.raises(ValueError, match="infinite"):
        data.as_split(torch.tensor([[torch.inf, NAN]])).check(likelihood.support)
