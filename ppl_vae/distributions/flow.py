"""Normalizing flows: z = f(u), u ~ base, with a bijection f whose log-determinant is known.

    log p(z) = log p_base(u) - log |det df/du|

f is a chain of masked autoregressive transforms of zuko. One direction takes one pass of the network, the other one
pass per dimension (two for a coupling). A prior is mostly scored, so its fast direction is z -> u; a posterior is
sampled, so its fast direction is u -> z, and the density of the last draw is cached.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..checks import check_event, check_size, nearest

Kind = Literal["coupling", "autoregressive", "spline"]
BINS = 8  # of a spline, on [-5, 5]


class Flow(TorchDistribution):
    """A base distribution pushed through a bijection of vectors.

    Args:
        base: distribution of u, event shape (dim,).
        transform: bijection of (..., dim), in its fast direction; its parameters broadcast with the base's batch.
        drawn: the fast direction is u -> z, for a posterior; else z -> u, for a prior.

    Source: Rezende and Mohamed 2015, "Variational inference with normalizing flows".

    Example:
        >>> import pyro.distributions as dist
        >>> base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
        >>> p = Flow(base, flow_transform(3, "coupling")())
        >>> torch.allclose(p.log_prob(torch.ones(3)), base.log_prob(torch.ones(3)))
        True
    """

    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.real_vector
    has_rsample = True

    def __init__(self, base: TorchDistribution, transform: Any, drawn: bool = False) -> None:
        self.base, self.transform, self.drawn = base, transform, drawn
        self._draw: tuple[Tensor, Tensor, Tensor, bool] | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Flow:
        """The same flow for every entry of a larger batch."""
        return Flow(self.base.expand(torch.Size(batch_shape)), self.transform, self.drawn)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A reparameterised sample (*sample_shape, *batch_shape, dim)."""
        u = self.base.rsample(torch.Size(sample_shape))
        with torch.autocast(u.device.type, enabled=False):
            if not self.drawn:
                return self.transform.inv(u)
            z, log_det = self.transform.call_and_ladj(u)
        self._draw = (z, u, log_det, torch.is_grad_enabled())
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density (...) of z (..., dim), in nats."""
        if self._draw is not None and value is self._draw[0] and (self._draw[3] or not torch.is_grad_enabled()):
            _, u, log_det, _ = self._draw
            return self.base.log_prob(u) - log_det
        check_event("z", value.shape, self.event_shape[-1])
        with torch.autocast(value.device.type, enabled=False):
            if self.drawn:
                u = self.transform.inv(value)
                log_det = -self.transform.call_and_ladj(u)[1]
            else:
                u, log_det = self.transform.call_and_ladj(value)
        return self.base.log_prob(u) + log_det


def flow_transform(
    dim: int, kind: Kind = "coupling", transforms: int = 2, hidden: Sequence[int] = (64, 64), context: int = 0
) -> nn.Module:
    """Module that returns a chain of bijections of (..., dim), given a context (..., context) if there is one.

    It starts as the identity: the last layer of every network is 0.

    Args:
        dim: size of the vectors.
        kind: "coupling" and "autoregressive" are affine, s u + t, with s and t a network of half of the dimensions or
            of all earlier ones; "spline" is autoregressive and rational-quadratic on [-5, 5].
        transforms: number of transforms; every second one reverses the order of the dimensions.
        hidden: sizes of the hidden layers of each network.
        context: size of the context.

    Raises:
        ValueError: an unknown kind, or a size below 1.

    Source: Dinh et al. 2017 (coupling); Kingma et al. 2016 and Papamakarios et al. 2017 (autoregressive); Durkan et
    al. 2019 (spline).
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is unknown; {nearest(str(kind), get_args(Kind))}")
    hidden = tuple(check_size("hidden", size) for size in hidden)
    zuko = _zuko()
    shapes: dict[str, Any] = {}
    if kind == "spline":
        shapes = {
            "univariate": zuko.transforms.MonotonicRQSTransform,
            "shapes": [(BINS,), (BINS,), (BINS - 1,)],
        }
    order = torch.arange(dim)
    layers = [
        zuko.flows.MaskedAutoregressiveTransform(
            dim,
            context,
            passes=2 if kind == "coupling" else dim,
            order=order if i % 2 == 0 else order.flip(0),
            hidden_features=hidden,
            **shapes,
        )
        for i in range(check_size("transforms", transforms))
    ]
    for layer in layers:
        # A single dimension without context has plain parameters instead of a network.
        last = [*layer.hyper[-1].parameters()] if hasattr(layer, "hyper") else [*layer.parameters()]
        for parameter in last:
            nn.init.zeros_(parameter)
    return zuko.lazy.LazyComposedTransform(*layers)


@functools.cache
def _zuko() -> Any:
    """Import zuko late, and undo its change to the validation of all torch distributions."""
    if "zuko" in sys.modules:
        return sys.modules["zuko"]
    kept = {name: Distribution.__dict__[name] for name in ("_validate_args", "arg_constraints")}
    try:
        import zuko
    finally:
        for name, value in kept.items():
            setattr(Distribution, name, value)
    for found in vars(zuko.distributions).values():  # zuko's own classes rely on the empty constraints
        if isinstance(found, type) and found.__module__ == zuko.distributions.__name__:
            if issubclass(found, Distribution) and "arg_constraints" not in vars(found):
                setattr(found, "arg_constraints", {})  # noqa: B010 - a property, to the type checker
    return zuko
