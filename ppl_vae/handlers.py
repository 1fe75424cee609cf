"""Effect handlers over Pyro programs, and schedules for what they scale.

``scale_latents(fn, beta)`` multiplies the scale of every unobserved sample site by beta, so that under any estimator

    log w = log p(x | z) + beta (log p(z) - log q(z)),

with model and guide scaled alike. ``LocalParameters`` answers the parameter sites that ``register`` emits, so that a
training loop which owns the modules leaves Pyro's parameter store empty.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pyro
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import effectful
from torch import Tensor, nn

from .checks import check_size
from .parts import Abstract, Recorded

__all__ = ["Cyclical", "Linear", "LocalParameters", "register", "scale_latents"]

Beta = float | Tensor | Callable[[int], float]


class ScaleLatents(Messenger):
    """Multiplies the scale of unobserved sample sites by beta and records it in ``infer["beta"]``.

    Unlike ``poutine.scale`` it does not scale the likelihood or the plate's own site, and is exact at 0.
    """

    def __init__(self, beta: float | Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or type(msg["fn"]).__name__ == "_Subsample":
            return
        msg["scale"] = msg["scale"] * self.beta
        infer = msg["infer"] or {}
        # All sites keep the same beta object, so equal scales are known without reading the tensor.
        msg["infer"] = {**infer, "beta": self.beta * infer["beta"] if "beta" in infer else self.beta}


def scale_latents(fn: Callable[..., Any], beta: float | Tensor) -> Callable[..., Any]:
    """The beta handler: the program ``fn`` with every unobserved sample site scaled by ``beta``.

    Apply it to model and guide alike; the objective ``SVI(model, estimator, beta)`` does. ``beta`` may be 0, and may
    be a tensor, so that a schedule needs no new program.

    Args:
        fn: a Pyro model or guide.
        beta: a number >= 0 or a scalar tensor.

    Raises:
        ValueError: a negative or non-finite number.
        TypeError: a schedule.

    Source: Higgins et al. 2017, "beta-VAE".

    Example:
        >>> import pyro.distributions as dist
        >>> program = scale_latents(lambda: pyro.sample("z", dist.Normal(0.0, 1.0)), beta=0.0)
        >>> pyro.poutine.trace(program).get_trace().log_prob_sum().item()
        0.0
    """
    check_beta(beta)
    if callable(beta):
        raise TypeError(f"beta must be a number or a tensor here, not the schedule {beta!r}; SVI takes schedules")

    @functools.wraps(fn)
    def scaled(*args: Any, **kwargs: Any) -> Any:
        with ScaleLatents(beta):
            return fn(*args, **kwargs)

    return scaled


def check_beta(beta: Any) -> None:
    """ValueError unless ``beta`` is a finite number >= 0, a scalar tensor or a schedule."""
    if isinstance(beta, bool) or not (callable(beta) or isinstance(beta, int | float | Tensor)):
        raise ValueError(f"beta must be a number, a tensor or a schedule, not {beta!r}")
    if isinstance(beta, Tensor) and beta.numel() != 1:
        raise ValueError(f"beta must be a scalar, not a tensor of shape {tuple(beta.shape)}")
    if isinstance(beta, int | float) and not (0 <= beta < math.inf):
        raise ValueError(f"beta must be a finite number of at least 0, not {beta!r}")


class Schedule(Abstract, Recorded):
    """Base of the schedules for beta."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Value at an optimizer step, counted from 0."""


class Linear(Schedule):
    """Schedule that goes linearly from ``start`` to ``end`` over ``steps`` optimizer steps and stays there.

    The warm-up of Bowman et al. 2016 and Sonderby et al. 2016.

    Example:
        >>> [Linear(steps=4)(step) for step in (0, 2, 9)]
        [0.0, 0.5, 1.0]
    """

    def __init__(self, steps: int = 1000, start: float = 0.0, end: float = 1.0) -> None:
        self.steps = check_size("steps", steps)
        self.start, self.end = start, end

    def __call__(self, step: int) -> float:
        """Value at an optimizer step, counted from 0."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


class Cyclical(Schedule):
    """Schedule of repeated linear ramps: each ``period`` rises for ``ramp`` of its length, then stays at ``end``.

    Source: Fu et al. 2019, "Cyclical annealing schedule".

    Example:
        >>> [Cyclical(period=10)(step) for step in (0, 4, 5, 9, 10)]
        [0.0, 0.8, 1.0, 1.0, 0.0]
    """

    def __init__(self, period: int = 1000, ramp: float = 0.5, start: float = 0.0, end: float = 1.0) -> None:
        self.period = check_size("period", period)
        if not 0 < ramp <= 1:
            raise ValueError(f"ramp must be a share of the period in (0, 1], not {ramp!r}")
        self.ramp, self.start, self.end = ramp, start, end

    def __call__(self, step: int) -> float:
        """Value at an optimizer step, counted from 0."""
        share = (step % self.period) / (self.period * self.ramp)
        return self.start + (self.end - self.start) * min(share, 1.0)


@effectful(type="register")
def register(name: str, module: nn.Module) -> nn.Module:
    """Register a module's parameters with Pyro under ``name``, unless a ``LocalParameters`` handler answers."""
    return pyro.module(name, module)


class LocalParameters(Messenger):
    """Answers the sites of ``register``, so that parameters do not enter Pyro's parameter store.

    Example:
        >>> with LocalParameters():
        ...     _ = register("net", nn.Linear(2, 2))
        >>> "net$$$weight" in pyro.get_param_store()
        False
    """

    def _pyro_register(self, msg: dict[str, Any]) -> None:
        msg["value"] = msg["args"][1]
        msg["done"] = True
