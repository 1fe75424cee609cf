"""What an objective returns: the scalar to minimise and the terms to report."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """Result of an objective on one batch.

    Attributes:
        value: scalar to minimise, in mean nats per example (or the model's own unit where it has no density).
        terms: tensors of shape (B,) or scalars, for reporting; in nats at beta = 1.
        others: losses of the other players, by name, scalars; each moves its own parameters.
    """

    value: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    others: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        terms = ", ".join(f"{name} {tuple(term.shape)}" for name, term in self.terms.items())
        others = f", others: {', '.join(self.others)}" if self.others else ""
        return f"Loss({self.value!r}, terms: {terms or 'none'}{others})"
