"""How a codebook is updated: by running means of the vectors that each code is given (EMA), or by gradient descent.

    EMA:  N_k <- d N_k + (1 - d) n_k,  m_k <- d m_k + (1 - d) s_k,  e_k = m_k / (S (N_k + eps) / (S + K eps))

n_k counts the vectors of the batch whose code is k, s_k is their sum, S = sum_k N_k, and d is the decay.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..checks import check_share, check_weight, nearest
from ..parts import Part


class CodebookUpdate(Part):
    """Base of the updates; one object without state may serve several quantizers.

    One that is not learned has a method ``codes(counts, sums)``, as ``EMA`` has.

    Attributes:
        learned: whether the codebook is a parameter, trained by the codebook loss; else it is a buffer.
        decay: weight of the past in the running statistics of a code's use.
    """

    learned: bool = False
    decay: float
    _needs: ClassVar[tuple[str, ...]] = ("decay",)


class EMA(CodebookUpdate):
    """Codes are running means of the vectors that they are nearest to, with Laplace smoothing of the counts.

    Args:
        decay: weight of the past in a step, between 0 and 1. The paper's 0.99 follows an encoder that moves quickly too
            slowly.
        epsilon: added to every count, so that a code that is not used divides by no zero.

    Raises:
        ValueError: a decay outside [0, 1] or a negative epsilon.

    Source: van den Oord et al. 2017, "Neural discrete representation learning", appendix A.1.

    Example:
        >>> import torch
        >>> EMA().codes(torch.ones(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[1., 2.],
                [3., 4.]])
    """

    def __init__(self, decay: float = 0.9, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.decay = check_share("decay", decay)
        self.epsilon = check_weight("epsilon", epsilon)

    def codes(self, counts: Tensor, sums: Tensor) -> Tensor:
        """The codebook (num_codes, dim) of running counts (num_codes,) and sums (num_codes, dim) of vectors."""
        total = counts.sum()
        smoothed = (counts + self.epsilon) / (total + len(counts) * self.epsilon) * total
        return sums / smoothed[:, None]

    def extra_repr(self) -> str:  # noqa: D102
        return f"decay={self.decay:g}, epsilon={self.epsilon:g}"


class Gradient(CodebookUpdate):
    """Codes are parameters, which the codebook loss |sg z - e|^2 pulls to the vectors that they are nearest to.

    Args:
        decay: weight of the past in the running counts of the codes' use, between 0 and 1.

    Raises:
        ValueError: a decay outside [0, 1].

    Source: van den Oord et al. 2017, "Neural discrete representation learning", equation 3.

    Example:
        >>> from torch import nn
        >>> from ppl_vae.quantizers import VectorQuantizer
        >>> isinstance(VectorQuantizer(8, 2, update=Gradient()).codebook, nn.Parameter)
        True
    """

    learned = True

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = check_share("decay", decay)


UPDATES = {"ema": EMA, "gradient": Gradient}


def update_of(value: Any) -> CodebookUpdate:
    """The update, given as a part or by its name."""
    if isinstance(value, CodebookUpdate):
        return value
    if isinstance(value, str) and value in UPDATES:
        return UPDATES[value]()
    if isinstance(value, str):
        raise ValueError(f"update {value!r} is unknown; {nearest(value, UPDATES)}")
    raise TypeError(f"update must be 'ema', 'gradient' or a part such as quantizers.EMA(0.99), not {value!r}")
