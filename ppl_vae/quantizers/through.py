"""Gradients through a quantizer: straight through, or turned and scaled as the vector is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Through = Literal["straight-through", "rotation"]
TINY = 1e-6  # a vector shorter than this has no direction


def passed(z: Tensor, e: Tensor, gradient: Through) -> Tensor:
    """The values of e, detached, with a gradient to z."""
    return rotated(z, e) if gradient == "rotation" else straight_through(z, e)


def straight_through(z: Tensor, e: Tensor) -> Tensor:
    """The values of e, with the gradient of z: z + sg(e - z).

    Example:
        >>> z = torch.tensor([0.25], requires_grad=True)
        >>> out = straight_through(z, torch.tensor([2.0]))
        >>> out.item(), torch.autograd.grad(out, z)[0].item()
        (2.0, 1.0)
    """
    return z + (e - z).detach()


def rotated(z: Tensor, e: Tensor) -> Tensor:
    """The values of e as sg(|e| / |z| R) z, R the rotation from the direction of z to that of e.

    Where z has no direction, the gradient is reflected instead of turned, and not scaled.

    Args:
        z: vectors (..., dim).
        e: the codes' vectors (..., dim).

    Source: Fifty et al. 2024, "Restructuring vector quantization with the rotation trick", section 4.2.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]], requires_grad=True)
        >>> out = rotated(z, torch.tensor([[0.0, 1.0]]))
        >>> out.sum().backward()
        >>> out.detach(), z.grad
        (tensor([[0., 1.]]), tensor([[ 0.5000, -0.5000]]))
    """
    with torch.no_grad():
        long, length = z.norm(dim=-1, keepdim=True), e.norm(dim=-1, keepdim=True)
        here, there = z / long.clamp(min=TINY), e / length.clamp(min=TINY)
        between = here + there
        between = between / between.norm(dim=-1, keepdim=True).clamp(min=TINY)
        scale = torch.where(long > TINY, length / long.clamp(min=TINY), torch.ones_like(long))
    turned = z - 2 * (z * between).sum(-1, keepdim=True) * between + 2 * (z * here).sum(-1, keepdim=True) * there
    return straight_through(scale * turned, e)
