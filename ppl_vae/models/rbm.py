"""The restricted Boltzmann machine: p(v, h) = exp(-E(v, h)) / Z, with data v and codes h that are binary or Normal.

    E(v, h) = V(v) + H(h) - h' W v / s^2
    V(v) = -b'v or |v - b|^2 / 2 s^2,   H(h) = -c'h or |h|^2 / 2 - c'h

Given one side, the units of the other are independent: h | v has logits, or means, c + W v / s^2; v | h has b + W'h.
Summed over all h the energy is the free energy, F(v) = -log sum_h exp(-E(v, h)), so that log p(v) = -F(v) - log Z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..networks import event_shape, full_precision
from ..parts import Part
from .partition import annealed, enumerated
from .protocols import Codec

if TYPE_CHECKING:
    from ..data import Split

UNITS = ("bernoulli", "gaussian")


class RBM(Part, Codec):
    """A restricted Boltzmann machine, trained by ``objectives.ContrastiveDivergence`` under ``fit``.

    ``encode`` and ``decode`` return means, as an autoencoder's do; ``draw_code`` and ``draw_data`` sample.

    Args:
        dim: number of code units.
        shape: event shape of the data.
        visible: "bernoulli" for data in [0, 1] (grey levels are probabilities), "gaussian" for real data.
        code: "bernoulli" or "gaussian" (standard deviation 1); only one side may be gaussian.
        scale: s, standard deviation of gaussian data given the code.

    Raises:
        ValueError: unknown units, gaussian ones on both sides, or a scale that is not positive.

    Source: Smolensky 1986; Hinton 2002; Hinton and Salakhutdinov 2006 for gaussian codes.

    Example:
        >>> rbm = RBM(4, (1, 2, 3))
        >>> x = torch.rand(5, 1, 2, 3).bernoulli()
        >>> rbm.encode(x).shape, rbm(x).shape, rbm.log_prob(x).shape
        (torch.Size([5, 4]), torch.Size([5, 1, 2, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        dim: int,
        shape: int | Sequence[int],
        visible: Literal["bernoulli", "gaussian"] = "bernoulli",
        code: Literal["bernoulli", "gaussian"] = "bernoulli",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.dim, self.shape = check_size("dim", dim), event_shape("shape", shape)
        for name, units in (("visible", visible), ("code", code)):
            if units not in UNITS:
                raise ValueError(f"{name} must be 'bernoulli' or 'gaussian', not {units!r}")
        if visible == code == "gaussian":
            raise ValueError(
                "visible and code are both 'gaussian', which has no finite Z; make one of them 'bernoulli'"
            )
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise ValueError(f"scale must be a positive number, not {scale!r}")
        if visible == "bernoulli" and scale != 1:
            raise ValueError(f"scale applies to visible='gaussian' only; with 'bernoulli' it must be 1, not {scale!r}")
        self.visible, self.code, self.scale, self.size = visible, code, float(scale), math.prod(self.shape)
        self.weight = nn.Parameter(0.01 * torch.randn(self.dim, self.size))
        self.data_bias = nn.Parameter(torch.zeros(self.size))
        self.code_bias = nn.Parameter(torch.zeros(self.dim))

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on one entry of the data."""
        return constraints.unit_interval if self.visible == "bernoulli" else constraints.real

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of the codes, (dim,)."""
        return (self.dim,)

    @property
    def code_support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on a code: means of binary units lie between 0 and 1."""
        entry = constraints.unit_interval if self.code == "bernoulli" else constraints.real
        return constraints.independent(entry, 1)

    def extra_repr(self) -> str:
        """Sizes and units."""
        return f"dim={self.dim}, shape={self.shape}, visible={self.visible!r}, code={self.code!r}"

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> RBM:
        """Set the data's biases so that at W = 0 the data have this mean (*shape), clamped to [0.02, 0.98] if binary.

        Returns:
            the machine itself.
        """
        mean = self._flat(mean)
        self.data_bias.copy_(mean if self.visible == "gaussian" else mean.clamp(0.02, 0.98).logit())
        return self

    def start(self, train: Split) -> None:
        """Let the data's biases start at the mean of the training data, unless something has trained them."""
        if not self.data_bias.any():
            self.start_at(train.mean())

    # Conditionals

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Means (..., dim) of the codes given x (..., *shape); ``y`` is not used."""
        a = self._code_inputs(self._flat(x))
        return a if self.code == "gaussian" else torch.sigmoid(a)

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Means (..., *shape) of the data given codes z (..., dim); ``y`` and ``like`` are not used."""
        a = self._data_inputs(z)
        return (a if self.visible == "gaussian" else torch.sigmoid(a)).unflatten(-1, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Mean-field reconstructions (..., *shape) of x (..., *shape)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def draw_code(self, x: Tensor) -> Tensor:
        """Codes (..., dim) drawn given x (..., *shape)."""
        mean = self.encode(x)
        return mean + torch.randn_like(mean) if self.code == "gaussian" else torch.bernoulli(mean)

    @torch.no_grad()
    def draw_data(self, z: Tensor) -> Tensor:
        """Data (..., *shape) drawn given codes z (..., dim)."""
        mean = self.decode(z)
        return mean + self.scale * torch.randn_like(mean) if self.visible == "gaussian" else torch.bernoulli(mean)

    def gibbs(self, x: Tensor, steps: int = 1) -> Tensor:
        """Data (..., *shape) after ``steps`` rounds of Gibbs sampling, codes given data and data given codes."""
        for _ in range(check_size("steps", steps, least=0)):
            x = self.draw_data(self.draw_code(x))
        return x

    # Energies, in nats

    def energy(self, x: Tensor, z: Tensor) -> Tensor:
        """E (...) of data x (..., *shape) and codes z (..., dim)."""
        linear = (z * F.linear(self._flat(x), self.weight)).sum(-1) / self.scale**2
        return self._data_energy(self._flat(x)) + self._code_energy(z) - linear

    def free_energy(self, x: Tensor) -> Tensor:
        """F (...) of data x (..., *shape): -log of the sum, or integral, of exp(-E) over all codes."""
        v = self._flat(x)
        return self._data_energy(v) - _log_sum(self._code_inputs(v), self.code, 1.0)

    def code_free_energy(self, z: Tensor) -> Tensor:
        """Free energy (...) of codes z (..., dim): -log of the sum, or integral, of exp(-E) over all data."""
        total = _log_sum(self._data_inputs(z), self.visible, self.scale)
        if self.visible == "gaussian":
            total = total - self.data_bias.square().sum() / (2 * self.scale**2)
        return self._code_energy(z) - total

    # Likelihood

    def log_partition(self) -> Tensor:
        """log Z, a scalar, by enumerating the smaller binary side; differentiable.

        Raises:
            ValueError: both sides are too large; use ``annealed_log_partition``.
        """
        return enumerated(self)

    def annealed_log_partition(self, chains: int = 100, steps: int = 1000, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Estimate of log Z by annealed importance sampling from W = 0, and its standard error.

        exp of the estimate is unbiased; with too few steps the estimate itself is too small.

        Args:
            chains: independent runs.
            steps: number of temperatures between W = 0 and the model.
            seed: of the draws.

        Source: Neal 2001; Salakhutdinov and Murray 2008.
        """
        return annealed(self, check_size("chains", chains, 2), check_size("steps", steps), seed)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) (...), with log Z by enumeration, in nats."""
        return -self.free_energy(x) - self.log_partition()

    def pseudo_log_likelihood(self, x: Tensor) -> Tensor:
        """Estimate (B,) of sum_i log p(x_i | the other entries) of binary x (B, *shape), from one random entry.

        Raises:
            ValueError: gaussian data.
        """
        if self.visible == "gaussian":
            raise ValueError("pseudo_log_likelihood is defined for visible='bernoulli' only")
        v = self._flat(x)
        chosen = torch.arange(self.size, device=v.device) == torch.randint(self.size, (len(v), 1), device=v.device)
        flipped = torch.where(chosen, 1 - v, v).unflatten(-1, self.shape)
        return self.size * F.logsigmoid(self.free_energy(flipped) - self.free_energy(x))

    # Helpers

    def _flat(self, x: Tensor) -> Tensor:
        n = len(self.shape)
        if tuple(x.shape[x.dim() - n :]) != self.shape:
            raise ValueError(f"RBM was built for events of shape {self.shape}, not a tensor {tuple(x.shape)}")
        return x.flatten(x.dim() - n)

    def _code_inputs(self, v: Tensor) -> Tensor:
        return full_precision(F.linear(v, self.weight / self.scale**2, self.code_bias))

    def _data_inputs(self, z: Tensor) -> Tensor:
        return full_precision(F.linear(z, self.weight.mT, self.data_bias))

    def _data_energy(self, v: Tensor) -> Tensor:
        if self.visible == "gaussian":
            return (v - self.data_bias).square().sum(-1) / (2 * self.scale**2)
        return -(v * self.data_bias).sum(-1)

    def _code_energy(self, z: Tensor) -> Tensor:
        quadratic = z.square().sum(-1) / 2 if self.code == "gaussian" else 0.0
        return quadratic - (z * self.code_bias).sum(-1)


def _log_sum(inputs: Tensor, units: str, scale: float) -> Tensor:
    """Log of the sum, or integral, of exp(input * state) over the states of independent units, {0, 1} or Normal."""
    if units == "bernoulli":
        return F.softplus(inputs).sum(-1)
    return (inputs.square() / (2 * scale**2) + math.log(scale) + 0.5 * math.log(2 * math.pi)).sum(-1)
