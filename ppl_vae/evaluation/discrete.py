"""Models with integer codes c, a function of x: the bound on log p(x), the rate, and how many codes are used.

    log p(x) >= log p(c) + log p(x | c),    rate = -log p(c),    perplexity = exp(-sum_k f_k log f_k)

with f_k the share of code k among all codes of the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import VQVAE, Discrete
from . import doors
from .coding import codes
from .doors import batches, check_data, evaluating, in_pieces


def bound(model: Discrete, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """log p(x | c) and the rate -log p(c) of every datum, each (B,), in nats."""
    x, y = check_data(model, x, y)
    with evaluating(model, 0) as device:
        found = []
        for batch in batches(device, doors.PIECE, x, y):
            c = model.encode(*batch)
            found.append((model.likelihood_at(c, *batch[1:]).log_prob(batch[0]).cpu(), rate_of(model, c, *batch[1:])))
    reconstruction, rate = zip(*found, strict=True)
    return torch.cat(reconstruction), torch.cat(rate)


def rate_of(model: Discrete, c: Tensor, y: Tensor | None = None) -> Tensor:
    """-log p(c | y) in nats of integer codes (B, *code_shape), (B,), on the CPU."""
    return -model.prior(y).log_prob(c).cpu()


def vectors(model: Discrete, c: Tensor) -> Tensor:
    """The quantised vectors of integer codes (N, *code_shape), one after another, (N, D), on the CPU."""
    return in_pieces(model, lambda part: model.values_at(part).flatten(1), c)


def lookup(model: VQVAE, c: Tensor) -> Tensor:
    """The quantised vectors (N, *grid, dim) of integer codes (N, *code_shape), on the CPU."""
    return in_pieces(model, model.quantizer.lookup, c)


@dataclass(frozen=True)
class CodeUsage:
    """How often each code is used by a set of data, all entries of their codes together.

    Attributes:
        counts: uses of each code, (num_codes,).
    """

    counts: Tensor

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the frequencies: the number of codes that, equally frequent, would say as much."""
        f = self.counts.double() / self.counts.sum()
        return torch.special.entr(f).sum().exp().item()

    @property
    def used(self) -> int:
        """Codes that are used at all."""
        return int((self.counts > 0).sum())

    def __repr__(self) -> str:
        return f"CodeUsage(perplexity {self.perplexity:.1f}, {self.used} of {len(self.counts)} codes used)"


def code_usage(model: Discrete, x: Tensor, y: Tensor | None = None) -> CodeUsage:
    """How often each code is used by x.

    Args:
        model: a model with integer codes, such as a VQ-VAE.
        x: data (B, *shape).
        y: labels (B, ...), or None.

    Raises:
        TypeError: a model whose codes are no integers.
        ValueError: no data, data of another shape, or labels that do not fit.

    Source: van den Oord et al. 2017, "Neural discrete representation learning", whose code reports the perplexity.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, quantizers
        >>> p = likelihoods.Bernoulli(networks.MLP(8, [16]), 6)
        >>> vq = models.VQVAE(networks.MLP(6, [16]), quantizers.VectorQuantizer(4, 2), p)
        >>> code_usage(vq, torch.rand(50, 6)).counts.sum()  # 4 codes each
        tensor(200)
    """
    x, y = check_data(model, x, y, values=False, third=None)
    check_discrete(model, "code_usage")
    return CodeUsage(torch.bincount(codes(model, x, y).flatten(), minlength=model.num_codes))


def check_discrete(model: object, function: str) -> Discrete:
    """The model; TypeError unless its codes are integers."""
    if not isinstance(model, Discrete):
        raise TypeError(f"{function} needs integer codes, as of models.VQVAE; {type(model).__name__} has none")
    return model
