"""Commands of the shell as processes of their own, forked from one that has imported all of ppl_vae.

A new interpreter imports torch for seconds; a fork of one that did starts at once. It is a process for all that: it is
killed alone, shares no memory with others, and begins with what an import leaves and nothing else.
"""

import multiprocessing
import os
import pkgutil
import sys

import ppl_vae

MODULES = [m.name for m in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae.") if "__main__" not in m.name]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", *MODULES])


def start(argv, error, before=None):
    """A process of ``ppl-vae``: its words, the file of what it says on standard error, and what it calls first."""
    process = CONTEXT.Process(target=_run, args=([str(word) for word in argv], str(error), before))
    process.start()
    return process


def _run(argv, error, before):
    for number, name in ((1, os.devnull), (2, error)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    import torch

    torch.set_num_threads(1)
    if before is not None:
        before()
    sys.exit(ppl_vae.cli.main(argv))


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
