"""p(codes | y): a module that returns an autoregressive distribution over integer codes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..checks import check_share, check_size
from ..networks import Condition, event_shape, full_precision
from ..parts import Abstract, Part
from .distribution import CodeDistribution

PIECE = 2**16  # entries of codes that are drawn at once: their cached activations take about 100 MB at default sizes


class Stepper(Abstract):
    """Logits of the entries 0, 1, 2, ... of n codes in row-major order, one entry a call.

    What earlier calls computed is cached: a call costs the pass of one entry. Dropout is off, in training mode too, and
    no gradient is recorded.

    Args:
        length: number of entries of a code.

    Attributes:
        entry: index of the entry whose logits the next call gives.
    """

    def __init__(self, length: int) -> None:
        self.length, self.entry = length, 0

    def next(self, previous: Tensor | None = None) -> Tensor:
        """Logits (n, num_codes) of the next entry.

        Args:
            previous: values (n,) of the entry before it; None at the first entry.

        Raises:
            ValueError: ``previous`` is missing, or given at the first entry, or every entry is done.
        """
        if self.entry == self.length:
            raise ValueError(f"the stepper has given all {self.length} entries of the codes; make another one")
        if (previous is None) != (self.entry == 0):
            wrong = "must be None" if self.entry == 0 else "is missing: give the values of the entry before"
            raise ValueError(f"previous {wrong} at entry {self.entry}")
        with torch.no_grad():
            logits = self.step(previous)
        self.entry += 1
        return full_precision(logits)

    @abstractmethod
    def step(self, previous: Tensor | None) -> Tensor:
        """Logits (n, num_codes) of ``self.entry``; ``previous`` (n,) is None at entry 0."""


class CodePrior(Part):
    """Base of the priors of codes. The model that gets one calls ``attach`` with the codes' shape and ``num_codes``.

    A subclass makes its layers in ``build``, and gives logits in ``all_logits`` and in the ``Stepper`` of
    ``make_stepper``. Both get the features of y, never y itself.

    Args:
        epochs: passes over the training data of the stage that trains the prior; None for as many as ``fit`` is given.
        condition: what y is, for p(codes | y): ``networks.Label``, ``Vector`` or ``Picture``.

    Attributes:
        shape: event shape of the codes.
        num_codes: number of values of an entry: 0 to num_codes - 1. It is 0 before ``attach``.
        trained: whether a stage of gradient steps trains the prior.

    Raises:
        TypeError: not a condition.
        ValueError: epochs below 1.
    """

    trained: ClassVar[bool] = True
    shape: tuple[int, ...] = ()
    num_codes: int = 0

    def __init__(self, epochs: int | None = None, condition: Condition | None = None) -> None:
        super().__init__()
        if condition is not None and not isinstance(condition, Condition):
            raise TypeError(f"condition must be networks.Label, Vector or Picture, not {condition!r}")
        self.epochs = None if epochs is None else check_size("epochs", epochs)
        self.condition = condition

    def attach(self, shape: int | Sequence[int], num_codes: int) -> Self:
        """Build the layers for codes of event shape ``shape`` with values 0 to num_codes - 1; returns self.

        Attaching again with the same sizes changes nothing.

        Raises:
            ValueError: sizes that the prior cannot take, or others than it was attached with before.
        """
        shape, num_codes = event_shape("shape", shape), check_size("num_codes", num_codes)
        if self.num_codes == 0:
            self.build(shape, num_codes)
            self.shape, self.num_codes = shape, num_codes
        elif (shape, num_codes) != (self.shape, self.num_codes):
            raise ValueError(
                f"this {type(self).__name__} is already attached to codes of shape {self.shape} with {self.num_codes} "
                f"values; make a new one for shape {shape} with {num_codes} values"
            )
        return self

    @abstractmethod
    def build(self, shape: tuple[int, ...], num_codes: int) -> None:
        """Make the layers; called once, by ``attach``."""

    @abstractmethod
    def all_logits(self, codes: Tensor, seen: Tensor | None) -> Tensor:
        """Logits (B, *shape, num_codes) of codes (B, *shape), given the features of y, ``seen`` (B, size), or None."""

    @abstractmethod
    def make_stepper(self, n: int, seen: Tensor | None) -> Stepper:
        """Stepper of n codes, given the features of y, ``seen`` (n, size), or None."""

    def forward(self, y: Tensor | None = None) -> CodeDistribution:
        """p(codes | y): batch shape () or, with a condition, (B,) for y (B, *event); event shape ``shape``."""
        self._check_attached()
        if self.condition is None:
            return CodeDistribution(self)
        y = self.condition.needed(y)
        return CodeDistribution(self, y, y.shape[: y.dim() - len(self.condition.event)])

    def logits(self, codes: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits of all entries in one pass, each given the entries before it.

        Args:
            codes: integers (B, *shape), 0 to num_codes - 1; values are not checked.
            y: (B, *event) where the prior has a condition.

        Returns:
            Logits (B, *shape, num_codes) in float32, or in float64 if the prior is.

        Raises:
            ValueError: codes or y of another shape, or a prior that is not attached.
        """
        self._check_attached()
        self.check_shape(codes)
        return full_precision(self.all_logits(codes, self._seen(len(codes), y)))

    def stepper(self, n: int, y: Tensor | None = None) -> Stepper:
        """Logits of n codes, one entry at a time, from a cache.

        Args:
            n: number of codes.
            y: (n, *event) where the prior has a condition.

        Raises:
            ValueError: y of another shape, or a prior that is not attached.
        """
        self._check_attached()
        with torch.no_grad():
            return self.make_stepper(n, self._seen(n, y))

    @torch.no_grad()
    def draw(self, n: int, y: Tensor | None = None, progress: Callable[[int, int], object] | None = None) -> Tensor:
        """Draw n codes (n, *shape), some rows at a time so that the cache stays small.

        Args:
            n: number of codes.
            y: (n, *event) where the prior has a condition.
            progress: called after every entry with the number of entries that are drawn, and with that of all.

        Raises:
            ValueError: y of another shape, or a prior that is not attached.
        """
        self._check_attached()
        length = math.prod(self.shape)
        if self.condition is not None:
            y = self.condition.check_shape(y, n)
        drawn: list[Tensor] = []
        for start in range(0, n, rows := max(1, PIECE // length)):
            count = min(rows, n - start)
            stepper = self.stepper(count, None if self.condition is None or y is None else y[start : start + count])
            entries: list[Tensor] = []
            for entry in range(length):
                logits = stepper.next(entries[-1] if entries else None)
                entries.append(torch.multinomial(logits.softmax(-1), 1).squeeze(-1))
                if progress is not None:
                    progress(start * length + count * (entry + 1), n * length)
            drawn.append(torch.stack(entries, 1))
        return torch.cat(drawn).reshape(n, *self.shape) if drawn else torch.zeros(0, *self.shape, dtype=torch.long)

    def conclude(self, batches: Iterable[Tensor]) -> None:
        """Set what has a closed form from the codes (B, *shape) of the training data; by default nothing."""

    def check_shape(self, codes: Tensor) -> None:
        """ValueError unless codes have the shape (B, *shape)."""
        if codes.dim() == 0 or tuple(codes.shape[1:]) != self.shape:
            sizes = ", ".join(["B", *map(str, self.shape)])
            raise ValueError(f"codes must be of shape ({sizes}), not {tuple(codes.shape)}")

    def check_codes(self, codes: Tensor) -> None:
        """Refuse values that are not codes.

        Raises:
            ValueError: values that are not whole numbers from 0 to num_codes - 1.
        """
        bad = codes[(codes < 0) | (codes >= self.num_codes) | (codes != codes.round())]
        if len(bad):
            raise ValueError(f"codes must be whole numbers from 0 to {self.num_codes - 1}, not {bad[0].item():g}")

    def extra_repr(self) -> str:  # noqa: D102
        return f"shape={self.shape}, num_codes={self.num_codes}" if self.num_codes else "not attached"

    def _seen(self, n: int, y: Tensor | None) -> Tensor | None:
        """Features (n, size) of y; None without a condition."""
        if self.condition is None:
            return None
        return self.condition(self.condition.check_shape(y, n)).flatten(1)

    def _check_attached(self) -> None:
        if self.num_codes == 0:
            raise ValueError(
                f"this {type(self).__name__} does not know its codes yet: give it to a model, such as "
                "models.VQVAE(..., code_prior=...), or call attach(shape, num_codes)"
            )


def check_dropout(value: float) -> float:
    """The value; ValueError unless it is a share below 1."""
    if check_share("dropout", value) == 1:
        raise ValueError("dropout must be below 1: at 1 nothing is left to train")
    return value
