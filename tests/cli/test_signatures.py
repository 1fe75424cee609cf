"""A job is one function in one file: its signature is its flags, its docstring the help."""

import importlib
import inspect

import pytest

from ppl_vae import catalog
from ppl_vae.catalog import source
from ppl_vae.cli import flags, main
from ppl_vae.cli.flags import commands, flags_of
from ppl_vae.cli.settings import Settings, Words


def expected(function):
    """The arguments that must be flags: those of the function, a class of the shell's by its constructor's."""
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        what = parameter.annotation
        if what in (Settings, Words):
            yield from [(o.argument, o.default) for o in flags.settings_flags().values() if o.name != "tensorboard"]
        elif inspect.isclass(what) and what.__module__.startswith("ppl_vae.cli"):
            yield from [(p.name, p.default) for p in inspect.signature(what).parameters.values()]
        else:
            yield name, parameter.default


@pytest.mark.parametrize("command", commands())
def test_flags_are_those_of_the_function(command):
    function = getattr(importlib.import_module(f"ppl_vae.cli.jobs.{command}"), command)
    found = {o.argument: inspect.Parameter.empty if o.required else o.default for o in flags_of(command).values()}
    found.pop("tensorboard", None)
    assert found == dict(expected(function))
    assert all(option.help for option in flags_of(command).values()), "a flag has no words"


def test_a_new_job_is_one_file_and_one_line(tmp_path, monkeypatch, capsys):
    """What ``--help`` shows and what the function gets come from the new file alone."""
    folder = tmp_path / "cli" / "jobs"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('__all__ = ["count"]\n')
    code = (
        "from collections.abc import Sequence\n"
        "def count(where: str, to: int = 3, from_: int = 1, by: Sequence[int] | None = None, loud: bool = False):\n"
        "    '''Count up.\n\n    To some number.\n\n    Args:\n        where: a place.\n        to: the last.\n"
        "        from_: the first.\n        by: steps.\n        loud: shout.\n    '''\n"
        "    print(where, from_, to, by, loud)\n"
    )
    (folder / "count.py").write_text(code)
    module = type(importlib)("count")
    exec(code, module.__dict__)
    monkeypatch.setattr(source, "ROOT", tmp_path)
    monkeypatch.setattr("ppl_vae.cli.importlib.import_module", lambda *_: module)
    for cached in (flags.flags_of, catalog.function):
        cached.cache_clear()
    try:
        assert main(["--help"]) == 0 and "\n  count        count up\n" in capsys.readouterr().out
        assert main(["count", "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "Count up. To some number." in text and "WHERE a place" in text
        assert "--from N the first (default: 1)" in text and "--by [N ...] steps" in text
        assert main(["count", "here", "--from", "2", "--by", "4", "5", "--loud"]) == 0
        assert capsys.readouterr().out == "here 2 3 [4, 5] True\n"
        assert main(["count", "here", "--too", "2"]) == 2
        assert "did you mean --to?" in capsys.readouterr().err
    finally:
        for cached in (flags.flags_of, catalog.function):
            cached.cache_clear()
