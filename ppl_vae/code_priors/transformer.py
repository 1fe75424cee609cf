"""A causal transformer over the entries of a code in row-major order.

h_t = e(c_{t-1}) + p_t + W f(y),    c_0 a start token
h = h + attention(norm(h)),  h = h + mlp(norm(h)),  for every layer;  attention of entry t to entries 1 ... t
log p(c_t | c_1, ..., c_{t-1}, y) = log softmax(V norm(h_t))
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_size
from ..networks import Condition
from .base import CodePrior, Stepper, check_dropout

SMALL = 0.02  # standard deviation of the last layer's initial weights: a fresh prior is near uniform


class Transformer(CodePrior):
    """Small causal transformer with learned positions and layer normalisation before every block; codes of any shape.

    Args:
        width: size of an entry's activations; a multiple of ``heads``.
        layers: number of layers, each an attention block and a multilayer perceptron.
        heads: attention heads of a layer.
        dropout: share of activations set to 0 after the embedding and after every block, in training mode.
        epochs: passes over the training data of the stage that trains the prior; None for as many as ``fit`` is given.
        condition: what y is, for p(codes | y); its features are added to every entry through a linear layer.

    Raises:
        ValueError: sizes below 1, a width that is no multiple of heads, or a dropout outside [0, 1).

    Source: Vaswani et al. 2017, "Attention is all you need"; Radford et al. 2019 for the order of the layers.

    Example:
        >>> prior = Transformer(width=8, layers=1, heads=2).attach((3, 3), 16)
        >>> prior().sample((5,)).shape, prior.logits(torch.zeros(5, 3, 3, dtype=torch.long)).shape
        (torch.Size([5, 3, 3]), torch.Size([5, 3, 3, 16]))
    """

    def __init__(
        self,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        epochs: int | None = None,
        condition: Condition | None = None,
    ) -> None:
        super().__init__(epochs, condition)
        self.width, self.heads = check_size("width", width), check_size("heads", heads)
        self.dropout = check_dropout(dropout)
        check_size("layers", layers)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, {heads}, not {width}")
        self.blocks = nn.ModuleList([_Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.of_y = None if condition is None else nn.Linear(condition.size, width, bias=False)

    def build(self, shape: tuple[int, ...], num_codes: int) -> None:  # noqa: D102
        self.embedding = nn.Embedding(num_codes + 1, self.width)  # the last row is the start token
        self.positions = nn.Parameter(SMALL * torch.randn(math.prod(shape), self.width))
        self.head = nn.Linear(self.width, num_codes)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(self.width))
        nn.init.normal_(self.head.weight, std=SMALL)
        nn.init.zeros_(self.head.bias)

    def all_logits(self, codes: Tensor, seen: Tensor | None) -> Tensor:  # noqa: D102
        flat = codes.reshape(len(codes), -1)
        tokens = F.pad(flat[:, :-1], (1, 0), value=self.num_codes)
        h = self._added(self.embedding(tokens) + self.positions, seen)
        h = F.dropout(h, self.dropout, self.training)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h)).reshape(*codes.shape, self.num_codes)

    def make_stepper(self, n: int, seen: Tensor | None) -> Stepper:  # noqa: D102
        return _Cached(self, n, seen)

    def _added(self, h: Tensor, seen: Tensor | None) -> Tensor:
        """Activations (B, T, width) with the features of y added."""
        if seen is None or self.of_y is None:
            return h
        return h + self.of_y(seen.to(self.of_y.weight.dtype)).unsqueeze(1)


class _Block(nn.Module):
    """One layer: attention to the entries up to this one, then a multilayer perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.of_queries = nn.Linear(width, 3 * width)  # queries, keys and values
        self.of_values = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor) -> Tensor:
        """Activations (B, T, width) of the next layer."""
        h = h + self._dropped(self._attended(F.scaled_dot_product_attention(*self._projected(h), is_causal=True)))
        return h + self._dropped(self.mlp(self.norms[1](h)))

    def step(self, h: Tensor, keys: Tensor, values: Tensor, entry: int) -> Tensor:
        """The same for one entry, h (n, 1, width), whose key and value are written to the cache."""
        query, key, value = self._projected(h)
        keys[:, :, entry : entry + 1], values[:, :, entry : entry + 1] = key, value
        h = h + self._attended(
            F.scaled_dot_product_attention(query, keys[:, :, : entry + 1], values[:, :, : entry + 1])
        )
        return h + self.mlp(self.norms[1](h))

    def _projected(self, h: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, (B, heads, T, width / heads) each."""
        return self.of_queries(self.norms[0](h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def _attended(self, attended: Tensor) -> Tensor:
        return self.of_values(attended.transpose(1, 2).flatten(2))

    def _dropped(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


class _Cached(Stepper):
    """Keys and values of the entries so far, in every layer."""

    def __init__(self, prior: Transformer, n: int, seen: Tensor | None) -> None:
        super().__init__(len(prior.positions))
        self.prior, self.n, self.seen = prior, n, seen
        sizes = (len(prior.blocks), 2, n, prior.heads, self.length, prior.width // prior.heads)
        self.cache = prior.positions.new_empty(sizes)

    def step(self, previous: Tensor | None) -> Tensor:
        prior, t = self.prior, self.entry
        if previous is None:
            previous = torch.full((self.n,), prior.num_codes, device=prior.positions.device)
        h = prior._added((prior.embedding(previous) + prior.positions[t]).unsqueeze(1), self.seen)
        for block, (keys, values) in zip(prior.blocks, self.cache, strict=True):
            h = block.step(h, keys, values, t)
        return prior.head(prior.norm(h)).squeeze(1)
