"""The base of quantizers: vectors z (..., dim) -> codes, whole numbers, and the vectors that the codes stand for.

What a quantizer learns of a batch without gradients (running counts, EMA codes) it learns in ``forward`` in training
mode, by tensor operations alone. With several processes it learns of their joint batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import check_size
from ..parts import Part
from . import joint

DEAD = 0.1  # a code is dead below this part of an equal share of use, where revival sets no other
USE_DECAY = 0.99  # weight of the past in the running use


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of vectors z (..., dim).

    Attributes:
        values: the codes' vectors, (..., dim); their gradient is passed on to z, in evaluation mode too.
        codes: whole numbers, long, (..., *code_shape).
        loss_terms: scalars, the mean over all vectors of squared distances summed over dim: "commitment" |z - sg e|^2,
            unweighted, and with codes that are learned by gradients "codebook" |sg z - e|^2; those that apply.
        perplexity: exp of the entropy of the codes' frequencies in this batch of this process, a scalar from 1 to
            ``num_codes``; the mean over groups or stages.
    """

    values: Tensor
    codes: Tensor
    loss_terms: Mapping[str, Tensor]
    perplexity: Tensor


class Quantizer(Part):
    """Base of the quantizers.

    Attributes:
        dim: size of a vector.
        num_codes: number of values that an entry of a code may take.
        code_shape: shape of the codes of one vector.
        commitment: weight of the commitment term in ``cost``.
    """

    _needs: ClassVar[tuple[str, ...]] = ("dim", "num_codes", "code_shape", "commitment")
    dim: int
    num_codes: int
    code_shape: tuple[int, ...]
    commitment: float

    @abstractmethod
    def forward(self, z: Tensor) -> Quantized:
        """Quantize vectors z (..., dim); in training mode, learn of them."""

    @abstractmethod
    def lookup(self, codes: Tensor) -> Tensor:
        """The vectors (..., dim) of codes (..., *code_shape), whole numbers from 0 to num_codes - 1."""

    @abstractmethod
    def figures(self) -> dict[str, Tensor]:
        """Scalars to log: "usage", the share of codes in use, and "dead_codes", the number of others."""

    @property
    def fresh(self) -> bool:
        """Whether ``start_at`` is due: the codes are to start at data and are not set, loaded or trained yet."""
        return False

    def start_at(self, vectors: Tensor) -> Quantizer:
        """Start the codes at vectors (N, dim), where there are codes to start; returns self."""
        return self

    def cost(self, loss_terms: Mapping[str, Tensor]) -> Tensor:
        """codebook + commitment * commitment term of ``Quantized.loss_terms``, a scalar; 0 where there is none."""
        total = torch.zeros(())
        for name, term in loss_terms.items():
            total = total.to(term) + (self.commitment * term if name == "commitment" else term)
        return total

    def settle(self) -> None:  # noqa: B027
        """Do what ``forward`` has left to be done between two steps, in every process; an objective calls it.

        Dead codes that are parameters are replaced; after ``defer``, the processes' batches are joined.
        """

    def defer(self) -> None:  # noqa: B027
        """Let ``forward`` leave it to ``settle`` to join the batches of several processes.

        For training loops in which a process may have no examples in a step, as in ``fit``, and for captured steps:
        processes then wait for each other in ``settle`` alone. A single process learns in ``forward`` all the same.
        """


class Counted(Quantizer):
    """Base of the quantizers with one code for a vector, whose use is counted.

    Attributes:
        usage: running share of the vectors that each code is given, (num_codes,).
        least: a code is in use if its running share is at least this part of an equal share.
    """

    code_shape = ()
    usage: Tensor
    least: float = DEAD

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        self.num_codes, self.dim = check_size("num_codes", num_codes), check_size("dim", dim)
        self.register_buffer("usage", torch.full((num_codes,), 1 / num_codes))
        self._deferred = False

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:  # noqa: D102
        dead = self.usage * self.num_codes < self.least
        return {"usage": 1 - dead.float().mean(), "dead_codes": dead.sum()}

    def blank(self) -> tuple[list[Tensor], list[Tensor]]:
        """What is learned of no vectors at all: the sums over processes, counts first, and the draws of the first."""
        return [torch.zeros_like(self.usage)], []

    def absorb(self, counts: Tensor, *more: Tensor) -> None:
        """Learn of the sums and the draws of a batch of all processes; of nothing where there were no vectors."""
        total = counts.sum()
        self.usage.lerp_(counts / total.clamp(min=1), (1 - USE_DECAY) * (total > 0).to(counts))

    @torch.no_grad()
    def learn(self, sums: list[Tensor], draws: list[Tensor]) -> None:
        """Learn of this process's batch: tensors like those of ``blank``."""
        if joint.processes() == 1:
            self.absorb(*sums, *draws)
        elif not self._deferred:
            self.absorb(*joint.summed(sums), *joint.first(draws))
        else:
            for i, new in enumerate(sums):
                self.get_buffer(f"waiting_sum_{i}").add_(new)
            for i, new in enumerate(draws):
                self.get_buffer(f"waiting_draw_{i}").copy_(new)

    def defer(self) -> None:  # noqa: D102
        if joint.processes() > 1 and not self._deferred:
            self._deferred = True
            for name, tensors in zip(("sum", "draw"), self.blank(), strict=True):
                for i, tensor in enumerate(tensors):
                    self.register_buffer(f"waiting_{name}_{i}", tensor, persistent=False)

    @torch.no_grad()
    def settle(self) -> None:  # noqa: D102
        if self._deferred:
            sums, draws = self.blank()
            sums = [self.get_buffer(f"waiting_sum_{i}") for i in range(len(sums))]
            draws = [self.get_buffer(f"waiting_draw_{i}") for i in range(len(draws))]
            self.absorb(*joint.summed(sums), *joint.first(draws))
            for tensor in sums:
                tensor.zero_()


def counts_of(codes: Tensor, num_codes: int, like: Tensor) -> Tensor:
    """How often each code comes, (num_codes,), in the dtype of ``like``; sums of ones, exact in any order."""
    flat = codes.reshape(-1)
    ones = like.new_ones(()).expand(flat.shape[0])  # len(flat) would fix the batch of an exported graph
    return like.new_zeros(num_codes).index_add_(0, flat, ones)


def perplexity_of(counts: Tensor) -> Tensor:
    """exp of the entropy of the frequencies that counts (num_codes,) give, a scalar.

    Example:
        >>> perplexity_of(torch.tensor([2.0, 2.0, 0.0, 0.0])).item()
        2.0
    """
    return torch.special.entr(counts / counts.sum()).sum().exp()
