"""Gated PixelCNN over a grid of codes: two stacks of convolutions, causal without masks.

    v_0 = e moved down by one row + p,  h_0 = e moved right by one column + p,  e the embedded codes, p learned
    a_l = conv(v_{l-1}),                     v_l = v_{l-1} + gate(a_l)             rows above, all columns
    b_l = conv(h_{l-1}) + A_l a_l,           h_l = h_{l-1} + B_l gate(b_l)         this row, columns to the left
    gate(f, g) = tanh(f) sigmoid(g)

The inputs are moved by one row and by one column, so no layer sees the entry itself; the convolutions are padded above
and to the left only, so no layer sees a later one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_size
from ..networks import Condition
from .base import CodePrior, Stepper, check_dropout

SMALL = 0.02  # standard deviation of the last layer's initial weights: a fresh prior is near uniform


class PixelCNN(CodePrior):
    """Gated PixelCNN with a vertical and a horizontal stack, residual; for codes of shape (height, width).

    A layer widens the field of entries that an entry is given by ``kernel // 2`` rows and columns; choose ``layers`` so
    that it reaches the whole grid.

    Args:
        width: channels.
        layers: number of gated layers.
        kernel: width of the convolutions, odd and at least 3.
        dropout: share of the channels set to 0, over the whole grid, in what a layer adds to the horizontal stack; in
            training mode.
        epochs: passes over the training data of the stage that trains the prior; None for as many as ``fit`` is given.
        condition: what y is, for p(codes | y); its features are added to every entry through a linear layer.

    Raises:
        ValueError: sizes below 1, an even kernel or one below 3, a dropout outside [0, 1); when the model is built,
            codes that are no grid.

    Source: van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders".

    Example:
        >>> prior = PixelCNN(width=8, layers=2).attach((3, 3), 16)
        >>> prior().sample((5,)).shape, prior.logits(torch.zeros(5, 3, 3, dtype=torch.long)).shape
        (torch.Size([5, 3, 3]), torch.Size([5, 3, 3, 16]))
    """

    def __init__(
        self,
        width: int = 32,
        layers: int = 5,
        kernel: int = 3,
        dropout: float = 0.1,
        epochs: int | None = None,
        condition: Condition | None = None,
    ) -> None:
        super().__init__(epochs, condition)
        self.width, self.dropout = check_size("width", width), check_dropout(dropout)
        if check_size("kernel", kernel, 3) % 2 == 0:
            raise ValueError(f"kernel must be odd, such as {kernel + 1}, not {kernel}")
        self.kernel = kernel
        self.gated = nn.ModuleList([_Gated(width, kernel, dropout) for _ in range(check_size("layers", layers))])
        self.of_y = None if condition is None else nn.Linear(condition.size, width, bias=False)

    def build(self, shape: tuple[int, ...], num_codes: int) -> None:  # noqa: D102
        if len(shape) != 2:
            raise ValueError(
                f"PixelCNN takes codes of shape (height, width), not {shape}; code_priors.Transformer takes any shape"
            )
        self.embedding = nn.Embedding(num_codes, self.width)
        self.positions = nn.Parameter(0.1 * torch.randn(2, *shape, self.width))
        last = nn.Linear(2 * self.width, num_codes)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(self.width, 2 * self.width), nn.ReLU(), last)
        nn.init.normal_(last.weight, std=SMALL)
        nn.init.zeros_(last.bias)

    def all_logits(self, codes: Tensor, seen: Tensor | None) -> Tensor:  # noqa: D102
        e = self.embedding(codes)  # (B, height, width, channels)
        down, right = F.pad(e[:, :-1], (0, 0, 0, 0, 1, 0)), F.pad(e[:, :, :-1], (0, 0, 1, 0))
        v, h = (self._added(moved, p, seen) for moved, p in zip((down, right), self.positions, strict=True))
        for layer in self.gated:
            v, h = layer(v, h)
        return self.head(h.movedim(1, -1))

    def make_stepper(self, n: int, seen: Tensor | None) -> Stepper:  # noqa: D102
        return _Cached(self, n, seen)

    def _added(self, moved: Tensor, positions: Tensor, seen: Tensor | None) -> Tensor:
        """Channels first: moved inputs (B, height, width, channels) with positions and the features of y added."""
        h = moved + positions
        if seen is not None and self.of_y is not None:
            h = h + self.of_y(seen.to(self.of_y.weight.dtype))[:, None, None]
        return h.movedim(-1, 1)


class _Gated(nn.Module):
    """One layer of both stacks."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.reach, self.dropout = kernel // 2, dropout
        self.down = nn.Conv2d(width, 2 * width, (self.reach + 1, kernel))
        self.along = nn.Conv2d(width, 2 * width, (1, self.reach + 1))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.mixed = nn.Conv2d(width, width, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Activations (B, width, height, width of the grid) of both stacks in the next layer."""
        r = self.reach
        more_v, across = self.vertical(F.pad(v, (r, r, r, 0)))
        more_h = self.horizontal(F.pad(h, (r, 0)), self._dropped(across))
        return v + more_v, h + self._dropped(more_h)

    def vertical(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """The residual of v, and what the other stack gets, made of v padded above and at both sides."""
        a = self.down(above)
        return _gate(a), self.across(a)

    def horizontal(self, left: Tensor, across: Tensor) -> Tensor:
        """The residual of h, made of h padded at the left."""
        return self.mixed(_gate(self.along(left) + across))

    def _dropped(self, h: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return h
        # Eager and compiled steps draw the same noise: it has no memory format of images, and no draw goes unused (a
        # compiler would leave it out), so none is on v, whose last value nothing reads.
        return h * F.dropout(h.new_ones(h.shape[:2]), self.dropout)[:, :, None, None]


def _gate(a: Tensor) -> Tensor:
    f, g = a.chunk(2, 1)
    return f.tanh() * g.sigmoid()


class _Cached(Stepper):
    """In every layer: the last rows of v, what the current row of h gets from v, and the last entries of h.

    The vertical stack is computed row by row, when a row begins; it needs complete rows only.
    """

    def __init__(self, prior: PixelCNN, n: int, seen: Tensor | None) -> None:
        height, self.width = prior.shape
        super().__init__(height * self.width)
        self.prior, self.seen = prior, seen
        self.nothing = prior.positions.new_zeros(n, 1, 1, prior.width)  # moved in at the borders
        self.row: list[Tensor] = [self.nothing] * self.width
        above = prior.positions.new_zeros(n, prior.width, prior.kernel // 2 + 1, self.width + 2 * (prior.kernel // 2))
        self.above = [above] * len(prior.gated)
        self.across: list[Tensor] = []
        self.left: list[Tensor] = []

    def step(self, previous: Tensor | None) -> Tensor:
        prior, (row, column) = self.prior, divmod(self.entry, self.width)
        if previous is not None:
            self.row.append(prior.embedding(previous)[:, None, None])
        if column == 0:
            self._begin(row)
        h = prior._added(self.row[-1] if column else self.nothing, prior.positions[1, row, column], self.seen)
        for i, layer in enumerate(prior.gated):
            self.left[i] = torch.cat([self.left[i][..., 1:], h], -1)
            h = h + layer.horizontal(self.left[i], self.across[i][..., column : column + 1])
        return prior.head(h.flatten(1))

    def _begin(self, row: int) -> None:
        """The vertical stack at a new row, from the embedded row before it."""
        prior, r = self.prior, self.prior.kernel // 2
        v = prior._added(torch.cat(self.row, 2), prior.positions[0, row], self.seen)
        self.row, self.across = [], []
        self.left = [v.new_zeros(*v.shape[:2], 1, r + 1)] * len(prior.gated)
        for i, layer in enumerate(prior.gated):
            self.above[i] = torch.cat([self.above[i][:, :, 1:], F.pad(v, (r, r))], 2)
            more, across = layer.vertical(self.above[i])
            self.across.append(across)
            v = v + more
