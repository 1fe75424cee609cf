"""Checks of values against a likelihood's support: each error names the worst value, its row, and what to use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from .. import supports
from ..kinds import Table


def is_binary(x: Tensor) -> bool:
    """Whether x contains only 0, 1 and NaN; the first row decides most cases."""
    return all(bool(((part == 0) | (part == 1) | part.isnan()).all()) for part in (x[:1], x))


def is_unit(x: Tensor) -> bool:
    """Whether every value is in [0, 1], with none missing."""
    return not x.numel() or bool(x.min() >= 0 and x.max() <= 1)


def check_unit(x: Tensor, where: str) -> None:
    """Raise unless every value is in [0, 1], as noise needs."""
    if not is_unit(x):
        bad = x[~((x >= 0) & (x <= 1))]
        worst = bad[bad.abs().argmax()].item()
        use = "remove it, or use a model of missing entries" if worst != worst else "bring it to [0, 1] first"
        raise ValueError(f"{where} must lie in [0, 1] to be binarized or dequantized, but holds {worst:g}; {use}")


def check_event(model: Any, shape: torch.Size, dtype: torch.dtype, where: str) -> None:
    """Raise unless rows have the ``shape`` and dtype of the model, if it states them."""
    wanted = getattr(model, "shape", None)
    if wanted is None:
        return
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{where} has examples of shape {tuple(shape)}, but the model's are {tuple(wanted)}")
    own = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if own and dtype not in own:
        names = " and ".join(sorted(str(name).removeprefix("torch.") for name in own))
        raise ValueError(
            f"{where} is {str(dtype).removeprefix('torch.')}, but the model's parameters are {names}; "
            f"convert one to the other, as x.to(torch.{names.split()[0]}) does"
        )


def check_drawn(levels: int | None, where: str, support: Any) -> None:
    """Raise unless the support contains the values after noise: 0 and 1, or numbers between if there are ``levels``."""
    base, probe = supports.entry(support), [0.0, 1.0] if levels is None else [0.4321]  # not a grey level
    if base is not None and not base.check(torch.tensor(probe)).all():
        what = "binarized to 0 and 1" if levels is None else "dequantized to (0, 1)"
        fix = "binarize='none'" if levels is None else "dequantize=False"
        raise ValueError(f"{where} is {what}, outside the likelihood's support {_words(base)}; use {fix}")


def check_values(
    x: Tensor, rows: np.ndarray, where: str, support: Any = None, missing: bool = False, ours: bool = False
) -> None:
    """ValueError unless x (B, ...) is finite and inside the support, if there is one.

    ``rows`` (B,) are the row numbers for errors; ``missing`` allows NaN; ``ours``, whether the data came from ``load``,
    decides the advice.
    """
    if x.numel() == 0:
        return
    low, high = x.aminmax()  # one pass and no mask; NaN propagates
    if not (low.isfinite() and high.isfinite()):
        bad = x.isinf() if missing else ~x.isfinite()
        if bad.any():
            row, *at = bad.nonzero()[0].tolist()
            spot = f"row {rows[row]}, {f'column {at[0]}' if x.dim() == 2 else f'element {tuple(at)}'}"
            raise ValueError(
                f"{where} holds {int(bad.sum())} values that are NaN or infinite, the first in {spot}; remove them, "
                "or use a model of missing entries"
            )
    base = supports.entry(support)
    own = isinstance(base, Table | supports.scaled)  # these say themselves what is wrong
    if own and (wrong := base.complaint(x)) is not None:
        raise ValueError(f"{where} has, in row {rows[wrong[0]]}, {wrong[1]}")
    binary = base is constraints.boolean and is_binary(x)
    unit = base is constraints.unit_interval and low >= 0 and high <= 1
    if base is None or base is constraints.real or own or binary or unit:
        return
    bad = ~base.check(x)
    if missing:
        bad &= ~(x.isnan() if bad.shape == x.shape else x.flatten(bad.dim()).isnan().any(-1))
    if bad.any():
        values = x[bad].flatten()
        values = values[~values.isnan()]
        worst, advice = values[values.abs().argmax()].item(), _advice(base, *torch.aminmax(values), ours)
        row = rows[int(bad.reshape(len(x), -1).any(1).nonzero()[0])]
        outside = f"outside the likelihood's support {_words(base)} (first in row {row})"
        raise ValueError(f"{where} holds {worst:.6g}, {outside}; {advice}")


def _words(support: Any) -> str:
    names = {
        constraints.boolean: "{0, 1}",
        constraints.unit_interval: "[0, 1]",
        supports.open_unit_interval: "(0, 1)",
        constraints.nonnegative_integer: "0, 1, 2, ...",
        constraints.positive: "the positive numbers",
    }
    return names.get(support) or str(support)


def _advice(base: Any, low: Tensor, high: Tensor, ours: bool) -> str:
    """What to do about values from low to high outside the support."""
    if base is constraints.boolean and low >= 0 and high <= 1:
        how = "load it with binarize='dynamic'" if ours else "use data.as_split(x, binarize='dynamic')"
        return f"{how}, or choose a likelihood on [0, 1] or on the real line"
    if base is supports.open_unit_interval and low >= 0 and high <= 1:
        how = "load it with dequantize=True" if ours else "dequantize grey levels, or move it inside (0, 1)"
        return f"{how}, or choose a likelihood on [0, 1], such as continuous-bernoulli"
    if isinstance(base, supports.grid) and low >= 0 and high <= 1:
        what = f"round it to {base.levels} levels, without dequantizing, or set levels to the data's own"
        return f"{what}, or choose a density on [0, 1]"
    if base is constraints.nonnegative_integer and low >= 0 and high <= 1 and ours:
        return "load it with scale='none' if these are counts, or choose a likelihood on [0, 1]"
    if base is constraints.nonnegative_integer and low >= 0:
        return "round it if these are counts, or choose a likelihood on the positive numbers, such as gamma"
    if base is constraints.positive and low >= 0:
        return "leave zeros out or add a small number, or choose a likelihood that holds 0, such as normal"
    unit = base in (constraints.boolean, constraints.unit_interval, supports.open_unit_interval)
    if (unit or isinstance(base, supports.grid)) and low >= 0 and 1 < high <= 255:
        return "divide it by 255 if these are grey levels, or choose a likelihood on the real line, such as normal"
    return "choose a likelihood whose support holds it, such as normal"
