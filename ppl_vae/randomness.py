"""Random number generators: kept apart from the caller's, saved and restored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture(device: torch.device) -> dict[str, Any]:
    """State of torch's (CPU and device), Python's and numpy's global generators, in types that load without pickle."""
    state: Any = np.random.get_state()
    name, keys, *rest = state
    return {
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [str(name), keys.tolist(), *(part.item() if hasattr(part, "item") else part for part in rest)],
    }


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Set the generators to a captured state."""
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["device"], device)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def apart(seed: int) -> int:
    """A seed far from the small ones under which users draw their data: noise must not repeat what made the data.

    Example:
        >>> apart(0) > 2**32 and apart(0) != apart(1)
        True
    """
    return int(np.random.SeedSequence(seed % 2**64).generate_state(1, np.uint64)[0])


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Generators seeded inside, and as they were before outside.

    Example:
        >>> before = torch.get_rng_state()
        >>> with isolated(0, torch.device("cpu")):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    with unchanged(device):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        # Not torch.manual_seed, which would reseed every accelerator, also those the run does not use.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def unchanged(device: torch.device) -> Iterator[None]:
    """Generators go on inside, and are as they were before outside."""
    outside = capture(device)
    try:
        yield
    finally:
        restore(outside, device)
