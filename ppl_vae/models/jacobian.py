"""Squared Frobenius norms of Jacobians, |J|^2 = sum_ij (df_i / dx_j)^2, for each example of a batch.

Exactly by one vector-Jacobian product for each output, |J|^2 = sum_i |e_i' J|^2; or without bias by Hutchinson's
estimate |J|^2 = E |v' J|^2 with entries of v that are -1 or 1 with equal probability.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def squared_jacobian(
    function: Callable[[Tensor], Tensor], x: Tensor, probes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Values (B, ...) of a function at x (B, ...) and the squared norms of its Jacobians, (B,).

    Rows must not depend on each other. The result can be differentiated with respect to the function's parameters.

    Args:
        function: takes x to values.
        x: where.
        probes: vectors of the estimate; None for the exact norm.

    Source: Hutchinson 1989.

    Example:
        >>> values, squared = squared_jacobian(lambda x: x @ torch.ones(3, 2), torch.zeros(4, 3))
        >>> squared
        tensor([6., 6., 6., 6.])
    """
    values, pull = torch.func.vjp(function, x)[:2]
    if probes is None:
        size = values[0].numel()
        basis = torch.eye(size, dtype=values.dtype, device=values.device)
        vectors = basis.view(size, 1, *values.shape[1:]).expand(size, *values.shape)
    else:
        vectors = 2.0 * torch.randint(0, 2, (probes, *values.shape), device=values.device).to(values) - 1.0
    (rows,) = torch.func.vmap(pull)(vectors)
    squared = rows.square().flatten(2).sum((0, 2))
    return values, squared if probes is None else squared / probes
