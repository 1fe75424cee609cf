"""Makes ``contracts`` and ``instances`` importable; tests start with an empty parameter store and a fixed seed.

A test that leaves a handler of Pyro's in force, gradients off or another default dtype fails.
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(autouse=True)
def fresh():
    import pyro
    import torch

    pyro.clear_param_store()
    torch.manual_seed(0)
    yield
    left = [type(handler).__name__ for handler in pyro.poutine.runtime._PYRO_STACK]
    pyro.poutine.runtime._PYRO_STACK.clear()
    assert not left, f"handlers left in force: {left}"
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
