"""Makes ``contracts`` and ``instances`` importable; tests start with an empty parameter store and a fixed seed."""

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
