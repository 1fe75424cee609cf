"""What tests of training share."""

import pytest


@pytest.fixture
def uncompiled(monkeypatch):
    """``fit`` with graphs that are captured and not compiled; counts the captures."""
    from ppl_vae.training import steps
    from ppl_vae.training.capture import Captured

    count = []

    class Counted(Captured):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, compiled=False)
            count.append(1)

    monkeypatch.setattr(steps, "Captured", Counted)
    return count
