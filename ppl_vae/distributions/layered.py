"""A chain of layers over one vector: z = (z1, ..., zL), each layer conditional on the one before it.

top-down    p(zL) p(z_{L-1} | zL) ... p(z1 | z2)        bottom-up    q(z1) q(z2 | z1) ... q(zL | z_{L-1})
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_event, check_size
from ..networks import MLP, Head
from .softplus import inverse_softplus

SCALE_FLOOR = 1e-6


class Layered(TorchDistribution):
    """Distribution of concatenated layers, each given its neighbour; event shape (sum of sizes,).

    Args:
        first: distribution of the layer that is drawn first, event shape (size,).
        conditionals: for each later layer, in the order of drawing, a callable from the layer before (..., size) to
            a distribution of batch shape (...).
        sizes: sizes of z1 ... zL.
        top_down: zL is drawn first; else z1.

    Source: Sonderby et al. 2016, "Ladder variational autoencoders"; Burda et al. 2016.

    Example:
        >>> first = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> p = Layered(first, [lambda z: dist.Normal(z[..., :1], 1.0).to_event(1)], (1, 2), top_down=True)
        >>> p.sample((5,)).shape, p.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        first: TorchDistribution,
        conditionals: Sequence[Callable[[Tensor], TorchDistribution]],
        sizes: Sequence[int],
        top_down: bool,
    ) -> None:
        if len(conditionals) != len(sizes) - 1:
            raise ValueError(f"conditionals must be one fewer than the {len(sizes)} layers, not {len(conditionals)}")
        self.first, self.conditionals, self.sizes, self.top_down = first, list(conditionals), tuple(sizes), top_down
        super().__init__(first.batch_shape, torch.Size([sum(sizes)]), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Layered:
        """The same chain, drawn independently for every entry of a larger batch."""
        return Layered(self.first.expand(torch.Size(batch_shape)), self.conditionals, self.sizes, self.top_down)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A reparameterised sample (*sample_shape, *batch_shape, dim)."""
        layers = [self.first.rsample(torch.Size(sample_shape))]
        for conditional in self.conditionals:
            layers.append(conditional(layers[-1]).rsample())
        return torch.cat(layers[::-1] if self.top_down else layers, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density (...) of z (..., dim), in nats."""
        check_event("z", value.shape, self.event_shape[-1])
        layers = value.split(self.sizes, -1)
        layers = layers[::-1] if self.top_down else layers
        log_prob = self.first.log_prob(layers[0])
        for conditional, parent, layer in zip(self.conditionals, layers, layers[1:], strict=False):
            log_prob = log_prob + conditional(parent).log_prob(layer)
        return log_prob


class NormalGiven(nn.Module):
    """Diagonal Normal over (size,) whose mean and scale are a network of another layer; the scale starts near 1."""

    def __init__(self, given: int, size: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = MLP(given, hidden)
        self.head = Head(self.network, (size,), parameters=2)
        nn.init.constant_(self.head.bias(1), inverse_softplus(1.0))

    def forward(self, z: Tensor) -> TorchDistribution:
        """Distribution of batch shape (...) and event shape (size,) from z (..., given)."""
        mean, raw_scale = self.head(self.network(z))
        return dist.Normal(mean, F.softplus(raw_scale) + SCALE_FLOOR).to_event(1)


def layer_sizes(dim: int, layers: int | Sequence[int]) -> tuple[int, ...]:
    """Sizes of z1 ... zL that add up to ``dim``.

    Args:
        dim: size of the code.
        layers: number of layers, of sizes as equal as possible, larger ones first; or their sizes.

    Raises:
        ValueError: fewer than two layers, or sizes that do not add up.

    Example:
        >>> layer_sizes(16, 3), layer_sizes(16, (12, 4))
        ((6, 5, 5), (12, 4))
    """
    check_size("dim", dim)
    if isinstance(layers, int):
        count = check_size("layers", layers, least=2)
        if dim < count:
            raise ValueError(f"dim must be at least the {count} layers, each of which takes one number, not {dim}")
        return tuple(dim // count + (i < dim % count) for i in range(count))
    sizes = tuple(check_size("layers", size) for size in layers)
    if len(sizes) < 2 or sum(sizes) != dim:
        raise ValueError(f"layers must be two or more sizes that add up to dim {dim}, not {list(sizes)}")
    return sizes
