"""The catalogue read from source text must say what importing would."""

import dataclasses
import importlib
import inspect

import pytest

from ppl_vae import catalog
from ppl_vae.catalog import entries, source
from ppl_vae.catalog.source import ROOT

FOLDERS = sorted({entry.folder for offered in catalog.roles().values() for entry in offered.values()} | {"objectives"})


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_those_exported(folder):
    module = importlib.import_module(f"ppl_vae.{folder}")
    classes = {name for name in module.__all__ if inspect.isclass(getattr(module, name))}
    assert {entry.cls for entry in catalog.exported(folder).values()} == classes
    assert classes


def _assert_same_arguments(entry, signature, skip):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    real = [p for p in list(signature.parameters.values())[skip:] if p.kind not in kinds]
    assert [option.argument for option in entry.arguments] == [p.name for p in real]
    for option, parameter in zip(entry.arguments, real, strict=True):
        assert option.required == (parameter.default is inspect.Parameter.empty)
        if not option.required:
            assert option.default == parameter.default


@pytest.mark.parametrize("folder", FOLDERS)
def test_arguments_and_summaries_are_those_of_the_class(folder):
    module = importlib.import_module(f"ppl_vae.{folder}")
    for entry in catalog.exported(folder).values():
        cls = getattr(module, entry.cls)
        if dataclasses.is_dataclass(cls):  # plain records, which are no parts
            continue
        if getattr(cls.__init__, "__module__", "").startswith("ppl_vae"):
            _assert_same_arguments(entry, inspect.signature(cls.__init__), skip=1)
        else:
            assert entry.arguments == ()
        assert entry.summary == inspect.getdoc(cls).partition("\n")[0].replace("``", "")


@pytest.mark.parametrize(("folder", "name"), [("data", "load"), ("training", "fit")])
def test_functions_have_their_arguments_and_docs(folder, name):
    entry = catalog.function(folder, name)
    function = getattr(importlib.import_module(f"ppl_vae.{folder}"), name)
    _assert_same_arguments(entry, inspect.signature(function), skip=0)
    assert all(option.help for option in entry.arguments), "an argument is not documented"


def test_the_names_of_data_sets_are_read():
    assert catalog.constant("data", "NAMES") == (*importlib.import_module("ppl_vae.data").NAMES,)


@pytest.mark.parametrize("role", catalog.roles())
def test_every_role_offers_something_that_can_be_built(role):
    offered = catalog.parts(role)
    assert offered
    for name, entry in offered.items():
        assert entry.buildable
        assert catalog.lookup(role, name) is entry
        assert catalog.lookup(role, entry.cls) is entry
        assert not {*entry.options} & {"dim", "shape", "network", *catalog.roles()}


def test_only_networks_with_a_mirror_and_models_with_known_parts_are_offered():
    assert "conv-transpose" in catalog.exported("networks")
    assert "conv-transpose" not in catalog.parts("network")
    assert "program" not in catalog.parts("model")
    assert "local-parameters" not in catalog.parts("beta")


def test_hyphens_and_capitals_do_not_matter():
    for spelling in ("resnet", "res-net", "ResNet", "res_net"):
        assert catalog.lookup("network", spelling).cls == "ResNet"
    assert catalog.lookup("network", "resnets") is None


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        ("MixtureOfGaussians", "mixture-of-gaussians"),
        ("TraceELBO", "trace-elbo"),
        ("MeanFieldELBO", "mean-field-elbo"),
        ("IWAE", "iwae"),
        ("VAE", "vae"),
        ("MLP", "mlp"),
        ("ResNet", "resnet"),
        ("DReG", "dreg"),
        ("VIMCO", "vimco"),
        ("MultivariateNormal", "multivariate-normal"),
    ],
)
def test_kebab(cls, name):
    assert catalog.kebab(cls) == name


def test_a_part_added_to_a_folder_is_offered(tmp_path, monkeypatch):
    """A new prior is one file and one line: base class, alias and inherited constructor are followed."""
    folder = tmp_path / "ppl_vae" / "priors"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from .a import Laplace\nfrom ppl_vae.priors.b import Own as Mine\n__all__ = ['Laplace', 'Mine']"
    )
    (folder / "a.py").write_text(
        "from typing import Literal\nfrom .b import Own\nclass Laplace(Own):\n    '''Laplace.'''\n"
    )
    (folder / "b.py").write_text(
        "Start = Literal['zero', 'data'] | float\n"
        "class Own:\n    '''Own.\n\n    Args:\n        rate: how fast,\n            in all.\n    '''\n"
        "    def __init__(self, dim: int, rate: float, *, start: Start = 'zero', sizes: list[int] | None = None): ...\n"
    )
    monkeypatch.setattr("ppl_vae.catalog.source.ROOT", tmp_path / "ppl_vae")
    catalog.exported.cache_clear()
    try:
        found = catalog.exported("priors")
    finally:
        catalog.exported.cache_clear()
    assert list(found) == ["laplace", "own"]
    options = found["laplace"].options
    assert list(options) == ["rate", "start", "sizes"]
    assert options["rate"].required and options["rate"].help == "how fast, in all"
    assert options["start"].kind.read(["data"]) == "data"
    assert options["start"].kind.read(["2"]) == 2.0
    assert options["sizes"].kind.read(["3", "4"]) == [3, 4]
    assert options["sizes"].kind.read(["none"]) is None


def test_a_role_is_said_by_the_base_class(tmp_path, monkeypatch):
    """A class whose first base leads to a new class is a part of a new role; the base and what has none are not."""
    (tmp_path / "parts.py").write_text('_FOLDERS = ("networks",)\nclass Part: ...\n')
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "__init__.py").write_text(
        "from .all import *\n__all__ = ['Critic', 'Deep', 'Around', 'Tool', 'Plain']\n"
        "from .all import Critic, Deep, Around, Tool\nfrom .all import Plain\n"
    )
    (tmp_path / "networks" / "all.py").write_text(
        "from ..parts import Part\n"
        "class Critic(Part): ...\n"
        "class Plain(Critic):\n    def __init__(self, dim: int, rate: float = 0.1) -> None: ...\n"
        "class Deep(Plain, Tool): ...\n"
        "class Around(Critic):\n    def __init__(self, critic: Critic) -> None: ...\n"
        "class Tool: ...\n"
    )
    monkeypatch.setattr(source, "ROOT", tmp_path)
    cached = (catalog.exported, catalog.roles, entries.by_role)
    for function in cached:
        function.cache_clear()
    try:
        found = catalog.roles()
        assert {role: [*offered] for role, offered in found.items() if offered} == {"critic": ["deep", "plain"]}
        assert [*found["critic"]["deep"].options] == ["rate"]
    finally:
        for function in cached:
            function.cache_clear()


def test_root_is_the_package():
    assert (ROOT / "catalog" / "entries.py").exists()
