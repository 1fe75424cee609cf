"""Stages: what is trained one after the other, each with a seed of its own, and nothing else changed meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from .. import randomness, supports
from ..data import Split
from ..objectives import Objective, Stage
from ..trials import trial


def stages_of(objective: Objective, device: torch.device) -> list[Stage]:
    """The stages of an objective, in order; listing them leaves the generators as they were.

    Raises:
        ValueError: no main stage, or two stages of one name.
    """
    with randomness.unchanged(device):
        stages = [*objective.stages()]
    names = [stage.name for stage in stages]
    if names.count("") != 1 or len({*names}) < len(names):
        raise ValueError(f"stages must have different names, the main one's being '', and they are {names}")
    return stages


def stage_words(name: str) -> str:
    """What an error calls a stage."""
    return f"stage {name!r}" if name else "the main stage"


def seed_of(seed: int, name: str) -> int:
    """The seed of a stage: the run's for the main one, another for every other name.

    Example:
        >>> seed_of(7, ""), seed_of(7, "layer 1") != seed_of(7, "layer 2")
        (7, True)
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4]) if name else seed


@contextmanager
def alone(whole: nn.Module, part: nn.Module) -> Iterator[None]:
    """Inside, only parameters of ``part`` take gradients, and all of ``whole`` and ``part`` is in eval mode.

    Parameters that were frozen before stay so.
    """
    own = {id(p) for p in part.parameters()}
    flags = [(p, p.requires_grad) for p in {*whole.parameters(), *part.parameters()}]
    whole.eval()
    part.eval()
    try:
        for p, trained in flags:
            p.requires_grad_(trained and id(p) in own)
        yield
    finally:
        for p, trained in flags:
            p.requires_grad_(trained)


def check_again(split: Split, objective: Objective, before: supports.Space) -> None:
    """Check rows anew where the begin of a stage has changed the support, as units of the training rows do."""
    if supports.of(objective.support) != before:
        split.check(objective.support, objective.needs_labels, check_labels=objective.check_labels)


def try_once(part: nn.Module, batch: Sequence[Tensor], whole: nn.Module) -> None:
    """One loss in eval mode with Pyro's validation on, which leaves nothing behind: errors come before training."""
    if not len(batch[0]):
        return
    with in_eval_mode(whole, part), trial(*batch), pyro.validation_enabled(True):
        part(*batch)


@contextmanager
def in_eval_mode(*wholes: nn.Module) -> Iterator[None]:
    """Inside, the modules are in eval mode; at the end each of their parts is in the mode it was in."""
    modes = [(module, module.training) for module in {part for whole in wholes for part in whole.modules()}]
    for whole in wholes:
        whole.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_same_stages(known: list[dict[str, Any]], now: list[tuple[str, int]], constant: bool, run: str) -> None:
    """ValueError unless a run of stages ``known`` can go on with names and epochs ``now``.

    Args:
        known: as a checkpoint holds them.
        now: names and epochs.
        constant: whether the learning rate does not depend on the number of steps.
        run: what an error calls the run.
    """
    before, names = [stage["name"] for stage in known], [name for name, _ in now]
    if before != names:
        raise ValueError(f"{run} has the stages {before}, and the objective now has {names}; name a new folder")
    for i, (stage, (_, new)) in enumerate(zip(known, now, strict=True)):
        if stage["epochs"] != new and (i < len(now) - 1 or not constant):
            raise ValueError(
                f"{stage_words(stage['name'])} had {stage['epochs']} epochs in {run} and is now to have {new}; only "
                "the last stage can be made longer, at a constant learning rate; give the same to resume it"
            )
