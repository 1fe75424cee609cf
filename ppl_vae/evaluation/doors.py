"""Entry to evaluation: checks data and labels, and runs models.

Every function of a model takes ``(model, x, y=None, *, ...)``. Its data and labels are checked by ``check_data``, and
the model runs inside ``evaluating``: in evaluation mode, without gradients, with separate random states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import randomness, supports
from ..data.checks import check_event, check_values
from ..data.labels import to_labels
from ..data.rows import to_float
from ..handlers import LocalParameters
from ..likelihoods import Likelihood
from ..models import VAE, Codec, Discrete, Pair, SemiSupervisedVAE

PIECE = 1000  # examples at a time


def check_data(
    model: Any, x: Any, y: Any = None, *, values: bool = True, third: str | None = "num_particles"
) -> tuple[Tensor, Tensor | None]:
    """x (B, *shape) as a float tensor and y as labels or None; both fit the model, and with ``values`` its support.

    A number in the place of y is a TypeError, with the advice to write it as the argument ``third``.
    """
    y = _labels(y, third)
    x = to_float(x, "x")
    if x.numel() == 0:
        raise ValueError("x is empty; give at least one example")
    check_event(model, x.shape[1:], x.dtype, "x")
    if values and isinstance(model, Codec) and model.support is not None:
        missing = supports.allows_missing(model.support)
        check_values(x, np.arange(len(x)), "x", model.support, missing, ours=True)
    return x, check_labels(model, observed(model, x, y), len(x))


def observed(model: Any, x: Tensor, y: Any) -> Any:
    """The y of x where the model's condition takes it from x itself, else y as it is."""
    condition = model.condition if isinstance(model, Codec) else None
    return condition.of(x) if condition is not None and condition.observes else y


def counted(model: Any, x: Tensor) -> Tensor:
    """Which entries of x (B, *shape) a log-likelihood counts, (B, *shape) bool."""
    known = isinstance(model, VAE | Discrete) and isinstance(model.likelihood, Likelihood)
    return model.likelihood.counted(x) if known else ~x.isnan()


def filled_labels(model: Any, x: Tensor, y: Tensor | None) -> Tensor | None:
    """y for functions that need one: where y is a site of the model and unknown, what the model predicts of x."""
    if not isinstance(model, SemiSupervisedVAE):
        return y
    predicted = in_pieces(model, lambda x: model.predict(x).argmax(-1), x)
    return predicted if y is None else torch.where(model.target.known(y), y.cpu(), predicted)


def check_density(model: Any, function: str) -> None:
    """A TypeError for an autoencoder, which has no density."""
    if isinstance(model, Discrete):
        raise TypeError(
            f"{function} needs a density p(x) that can be sampled; of a {type(model).__name__} only a bound is known: "
            "use evaluation.elbo"
        )
    if isinstance(model, Codec) and not isinstance(model, Pair):
        raise TypeError(
            f"{function} needs a density p(x), which {type(model).__name__} does not have; use a VAE, or "
            "evaluation.reconstruction_error and anomaly_scores, which take any models.Codec"
        )


def check_real_codes(model: Any, function: str, instead: str) -> None:
    """A TypeError for a model with integer codes, which have neither lines between them nor means.

    ``instead`` says what to use.
    """
    if isinstance(model, Discrete):
        raise TypeError(
            f"{function} needs codes that are real numbers; those of a {type(model).__name__} are integers, with "
            f"nothing between two of them. Use {instead}"
        )


def check_labels(model: Any, y: Any, n: int, *, third: str | None = None, partly: bool = True) -> Tensor | None:
    """y as a tensor of n labels that fit the model's condition, or None where it needs none.

    Where y is a site of the model, some may be unknown, unless ``partly`` is false.
    """
    y = _labels(y, third)
    kind = (model.condition or model.target) if isinstance(model, Codec) else None
    if kind is not None and (y is not None or model.condition is not None):
        kind.check(y, n, partly=partly and model.condition is None)
    elif y is not None and len(y) != n:
        raise ValueError(f"y must hold a label for each of the {n} examples, not {len(y)} labels")
    return y


def _labels(y: Any, third: str | None) -> Tensor | None:
    if y is None:
        return None
    if isinstance(y, str | int | float) or (isinstance(y, Tensor | np.ndarray | np.generic) and not y.shape):
        given = repr(y if isinstance(y, str | int | float) else y.item())
        advice = f"; write {third}={given}" if third else ""
        raise TypeError(f"y must be labels (B, ...) or None, not {given}{advice}")
    return y if isinstance(y, Tensor) else to_labels(y)


@contextmanager
def evaluating(model: nn.Module, seed: int) -> Iterator[torch.device]:
    """Evaluation mode, no gradients, no validation, seeded generators and no parameter store; undone afterwards."""
    broken = next((name for name, p in model.named_parameters() if not is_lazy(p) and p.isnan().any()), None)
    if broken is not None:
        raise ValueError(
            f"parameter {broken} of the model holds NaN, so no figure of it can be computed; train it again, or load "
            "weights from before it diverged"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with (
            torch.no_grad(),
            randomness.isolated(randomness.apart(seed), device),
            LocalParameters(),
            pyro.validation_enabled(False),
        ):
            yield device
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise ValueError(
            "a program takes a gradient inside, and evaluation runs without gradients; let it take that under "
            "torch.enable_grad(), of a value with .detach().requires_grad_()"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def batches(device: torch.device, size: int, x: Tensor, y: Tensor | None) -> Iterator[tuple[Tensor, ...]]:
    """(x,) or (x, y), ``size`` examples at a time, on the device."""
    for i in range(0, len(x), size):
        yield tuple(t[i : i + size].to(device) for t in (x, y) if t is not None)


def in_pieces(
    model: nn.Module, function: Callable[..., Tensor], *given: Tensor | None, seed: int = 0, size: int = PIECE
) -> Tensor:
    """``function`` of tensors (N, ...), some of which may be None, ``size`` examples at a time; joined on the CPU."""
    count = next(len(t) for t in given if t is not None)
    with evaluating(model, seed) as device:
        pieces = [
            function(*(t if t is None else t[i : i + size].to(device) for t in given)).cpu()
            for i in range(0, count, size)
        ]
    return torch.cat(pieces)
