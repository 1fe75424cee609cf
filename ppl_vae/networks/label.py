"""y is a class, known or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..checks import check_size
from .condition import Condition

if TYPE_CHECKING:
    from ..data import Split

UNKNOWN = -1
"""The label of an example whose class is not known, as in scikit-learn's semi-supervised estimators."""


class Label(Condition):
    """y is a class, 0 to classes - 1; its features are one-hot, or an embedding.

    Args:
        classes: number of classes.
        embedding: size of a learned embedding; None for one-hot features.

    Raises:
        ValueError: fewer than 2 classes, or an embedding below 1.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models"; Sohn et al. 2015, "Learning
    structured output representation using deep conditional generative models".

    Example:
        >>> Label(3)(torch.tensor([0, 2]))
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
    """

    event = ()
    seen: Tensor

    def __init__(self, classes: int, embedding: int | None = None) -> None:
        super().__init__()
        self.classes = check_size("classes", classes, least=2)
        self.table = None
        if embedding is not None:
            self.table = nn.Linear(classes, check_size("embedding", embedding), bias=False)
        self.shape = (classes if embedding is None else embedding,)
        self.register_buffer("seen", torch.ones(classes, dtype=torch.bool))  # classes of the training rows

    def start(self, train: Split) -> None:
        """Keep which classes the training rows have, where their labels are at hand."""
        if isinstance(train.y, Tensor):
            values = torch.arange(self.classes, device=train.y.device)
            self.seen.copy_(torch.isin(values, train.y))

    def check_seen(self, y: Tensor) -> None:
        """Refuse labels y (B,) of classes that no training row has; unknown ones pass."""
        y = y.to(self.seen.device)
        new = (self.known(y) & ~self.seen[y.clamp(min=0)]).nonzero()
        if len(new):
            row = int(new[0])
            raise ValueError(
                f"y holds the label {int(y[row])} in row {row}, which no training example has, so the model knows "
                f"nothing of it; use one of {self.seen.nonzero().flatten().tolist()}"
            )

    def forward(self, y: Tensor) -> Tensor:
        """Features (..., size) of labels (...); 0 for a label out of range, which ``check`` refuses."""
        like = torch.get_default_dtype() if self.table is None else self.table.weight.dtype
        hot = (y.unsqueeze(-1) == torch.arange(self.classes, device=y.device)).to(like)
        return hot if self.table is None else self.table(hot)

    def known(self, y: Tensor) -> Tensor:
        """Which of the labels y (B,) are known, (B,) bool; -1 says unknown."""
        return y != UNKNOWN

    def unknown(self, n: int, like: Tensor) -> Tensor:
        """Labels -1."""
        return self.example(n, like) + UNKNOWN

    def example(self, n: int, like: Tensor) -> Tensor:
        """Labels 0."""
        return torch.zeros(n, dtype=torch.long, device=like.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}seen", self.seen)  # weights of a time before it was kept
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _kind(self) -> tuple[Any, ...]:
        return "Label", self.classes

    def _check_dtype(self, y: Tensor) -> None:
        if y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(
                f"y must hold whole numbers, such as torch.int64, for {self!r}, not {y.dtype}; networks.Vector takes "
                "numbers"
            )

    def _words(self, n: int | str) -> str:
        return f"labels 0 to {self.classes - 1} of shape ({n},)"

    def _bad(self, y: Tensor) -> Tensor:
        return (y < 0) | (y >= self.classes)

    def _refusal(self, value: Tensor, row: int) -> str:
        return f"y holds the label {int(value)} in row {row}, but {self!r} takes 0 to {self.classes - 1}"

    def __repr__(self) -> str:
        return f"Label({self.classes})" if self.table is None else f"Label({self.classes}, {self.shape[0]})"
