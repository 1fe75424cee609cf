import ast

import pytest

from ppl_vae.catalog.kinds import Kind


def kind(annotation):
    return Kind.of(ast.parse(annotation, mode="eval").body)


@pytest.mark.parametrize(
    ("annotation", "words", "value"),
    [
        ("int", ["12"], 12),
        ("int", ["1e3"], 1000),
        ("float", ["1e-3"], 0.001),
        ("float", ["-2"], -2.0),
        ("bool", ["true"], True),
        ("bool", ["False"], False),
        ("bool", [], True),
        ("str", ["12"], "12"),
        ("int | None", ["none"], None),
        ("Optional[int]", ["3"], 3),
        ("int | float", ["3"], 3),
        ("int | float", ["3.5"], 3.5),
        ("float | Literal['learned', 'pixel']", ["pixel"], "pixel"),
        ("float | Literal['learned', 'pixel']", ["0.5"], 0.5),
        ("Literal[1, 2]", ["2"], 2),
        ("Sequence[int]", ["200", "100"], [200, 100]),
        ("Sequence[int]", ["200"], [200]),
        ("Sequence[int]", [], []),
        ("int | tuple[int, int] | None", ["28"], 28),
        ("int | tuple[int, int] | None", ["28", "32"], [28, 32]),
        ("typing.Sequence[float]", ["0.5", "1"], [0.5, 1.0]),
        ("'int | None'", ["none"], None),
        ("str | Callable[[int], float]", ["adam"], "adam"),
    ],
)
def test_words_become_values(annotation, words, value):
    read = kind(annotation).read(words)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("annotation", "words", "message"),
    [
        ("int", ["ten"], "takes a whole number, not ten"),
        ("int", ["1.5"], "takes a whole number, not 1.5"),
        ("int", ["1", "2"], "takes a whole number, not 1 2"),
        ("int", [], "takes a whole number, not nothing"),
        ("bool", ["maybe"], "takes true or false, not maybe"),
        ("float | Literal['learned']", ["lerned"], "did you mean learned?"),
        ("Sequence[int]", ["1", "x"], "takes a whole number ..., not x"),
        ("int", ["inf"], "takes a whole number, not inf"),
        ("int", ["1e999"], "takes a whole number, not 1e999"),
    ],
)
def test_wrong_words_are_named(annotation, words, message):
    with pytest.raises(ValueError, match="takes") as caught:
        kind(annotation).read(words)
    assert message in str(caught.value)


@pytest.mark.parametrize("annotation", ["nn.Module", "Callable[[int], float]", "Tensor | None", "None"])
def test_what_a_shell_cannot_write_has_no_kind(annotation):
    assert kind(annotation) is None
