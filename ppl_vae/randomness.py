"""Random number generators: isolate, save and restore them, and derive seeds from whole numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")


def capture(device: torch.device) -> dict[str, Any]:
    """State of torch's (CPU and device), Python's and numpy's global generators, in types that load without pickle."""
    state: Any = np.random.get_state()
    name, keys, *rest = state
    return {
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [str(name), keys.tolist(), *(part.item() if isinstance(part, np.generic) else part for part in rest)],
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


def seed_of(*key: int) -> int:
    """A 64-bit seed for a key of whole numbers, the same on every machine.

    Example:
        >>> seed_of(0, 1) != seed_of(0, 1, 0)
        True
    """
    return int(np.random.SeedSequence([len(key), *key]).generate_state(1, np.uint64)[0])


def apart(seed: int) -> int:
    """A seed that differs from the small ones of users, so that noise does not repeat the draws that made the data.

    Example:
        >>> apart(0) > 2**32 and apart(0) != apart(1)
        True
    """
    return int(np.random.SeedSequence(seed % 2**64).generate_state(1, np.uint64)[0])


def seed_all(seed: int, device: torch.device = CPU) -> None:
    """Seed the generators of torch, numpy and Python; only inside ``unchanged`` or ``isolated``."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed, which would reseed every accelerator, also those the run does not use.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def isolated(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Context with seeded generators; their state is restored at its end.

    Example:
        >>> before = torch.get_rng_state()
        >>> with isolated(0):
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    with unchanged(device):
        seed_all(seed, device)
        yield


@contextmanager
def unchanged(device: torch.device = CPU) -> Iterator[None]:
    """Context that restores the generators' state at its end."""
    cpu, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
