"""Processes that are forked from one that has imported all of ppl_vae.

A new interpreter imports torch for seconds; a fork of one that did starts at once. It is a process for all that: it is
killed alone, shares no memory with others, and begins with what an import leaves and nothing else.
"""

import multiprocessing
import os
import pkgutil
import runpy
import sys

import ppl_vae

MODULES = [m.name for m in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae.") if "__main__" not in m.name]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", *MODULES])


def shell(words, error, before=None):
    """A process of ``ppl-vae``.

    Args:
        words: what follows ``ppl-vae``.
        error: file of what it says on standard error.
        before: function that it calls first.
    """
    return _started(_shell, [str(word) for word in words], before, error, {})


def script(path, words, error, **environment):
    """A process of a Python script, with variables of its environment."""
    return _started(_script, str(path), [str(word) for word in words], error, environment)


def ended(process, error):
    """Exit code, below 0 if a signal ended the process, and what it said on standard error."""
    process.join(300)
    return process.exitcode, error.read_text()


def _started(function, first, second, error, environment):
    process = CONTEXT.Process(target=_run, args=(function, first, second, str(error), environment))
    process.start()
    return process


def _run(function, first, second, error, environment):
    for number, name in ((1, os.devnull), (2, error)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.update({name: str(value) for name, value in environment.items()})
    import torch

    torch.set_num_threads(1)
    function(first, second)


def _shell(words, before):
    if before is not None:
        before()
    sys.exit(ppl_vae.cli.main(words))


def _script(path, words):
    sys.argv = [path, *words]
    runpy.run_path(path, run_name="__main__")


class DiesAt:
    """Makes the process end at its n-th ``os.replace``."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        replace = os.replace

        def dying(a, b):
            self.n -= 1
            if not self.n:
                os._exit(9)
            replace(a, b)

        os.replace = dying
