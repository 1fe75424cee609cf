"""The distribution that a prior of codes returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

if TYPE_CHECKING:
    from .base import CodePrior

ROWS = 1000  # codes whose logits ``log_prob`` holds at once


class CodeDistribution(TorchDistribution):
    """p(codes | y) of a prior of codes: event shape ``prior.shape``, values 0 to num_codes - 1.

    Args:
        prior: the prior, attached.
        y: (*batch_shape, *event) where the prior has a condition.
        batch_shape: leading dimensions.

    Example:
        >>> from ppl_vae.code_priors import Frequencies
        >>> p = Frequencies().attach((2, 2), 8)()
        >>> p.sample((5,)).shape, p.log_prob(torch.zeros(5, 2, 2, dtype=torch.long)).shape
        (torch.Size([5, 2, 2]), torch.Size([5]))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        prior: CodePrior,
        y: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.prior, self.y = prior, y
        super().__init__(torch.Size(batch_shape), torch.Size(prior.shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:  # noqa: D102
        return constraints.independent(constraints.integer_interval(0, self.prior.num_codes - 1), len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> CodeDistribution:
        """The same distribution, drawn independently for every entry of a larger batch."""
        return CodeDistribution(self.prior, self._y(batch_shape), batch_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass of codes (..., *event_shape), in nats.

        Raises:
            ValueError: codes of another shape; unless validation is off, values that are not codes.
        """
        cut = value.dim() - len(self.event_shape)
        if cut < 0 or value.shape[cut:] != self.event_shape:
            raise ValueError(f"codes must have shape (..., {_sizes(self.event_shape)}), not {tuple(value.shape)}")
        if self._validate_args:
            self.prior.check_codes(value)
        lead = torch.broadcast_shapes(value.shape[:cut], self.batch_shape)
        codes = value.long().expand(*lead, *self.event_shape).reshape(-1, *self.event_shape)
        y = self._rows(lead)
        pieces = [
            self._log_prob(codes[start : start + ROWS], None if y is None else y[start : start + ROWS])
            for start in range(0, max(len(codes), 1), ROWS)
        ]
        return (pieces[0] if len(pieces) == 1 else torch.cat(pieces)).reshape(lead)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Codes (*sample_shape, *batch_shape, *event_shape); ``prior.draw`` does the same and shows progress."""
        lead = torch.Size((*sample_shape, *self.batch_shape))
        return self.prior.draw(lead.numel(), self._rows(lead)).reshape(*lead, *self.event_shape)

    def _log_prob(self, codes: Tensor, y: Tensor | None) -> Tensor:
        logits = self.prior.logits(codes, y).flatten(0, -2)
        each = F.cross_entropy(logits, codes.flatten(), reduction="none")
        return -each.reshape(len(codes), self.event_shape.numel()).sum(-1)

    def _y(self, lead: Sequence[int]) -> Tensor | None:
        """The y of every entry of a batch (*lead, *event)."""
        return None if self.y is None else self.y.expand(*lead, *self.y.shape[len(self.batch_shape) :])

    def _rows(self, lead: Sequence[int]) -> Tensor | None:
        """The same as one batch (N, *event)."""
        y = self._y(lead)
        return None if y is None else y.reshape(-1, *y.shape[len(lead) :])


def _sizes(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
