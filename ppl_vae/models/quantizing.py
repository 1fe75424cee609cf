"""What models with codebooks share: encoding, decoding, codebooks that start at data, and checks of the parts."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..code_priors import CodePrior, Frequencies
from ..data import Split
from ..distributions.means import mean_of
from ..likelihoods import Likelihood
from ..networks import Condition, Conditioned, condition_of, fold, stated
from ..parts import Part, digest
from ..quantizers import Quantizer
from .autoencoder import check_module
from .protocols import Discrete

STARTING = 20_000  # vectors of training rows that a codebook starts at; more for a larger one
PER_CODE = 40
PIECE = 256  # rows encoded at a time


class QuantizingModel(Part, Discrete):
    """Base of models with an encoder, one quantizer or several, a likelihood of their vectors and a prior of the codes.

    A subclass calls ``_complete`` at the end of its constructor.
    """

    usual = {"network": "conv", "network.flatten": False, "network.blocks": 2}
    # The shell's network keeps a grid, and residual blocks let a place see its neighbours: half of all 7 x 7 patches of
    # MNIST are blank, and an encoder that sees no more gives them all one code.

    prior: CodePrior  # type: ignore[assignment]

    def __init__(self, encoder: nn.Module, quantizer: Quantizer, likelihood: Likelihood) -> None:
        super().__init__()
        check_module("encoder", encoder, "networks.Conv(shape, flatten=False)")
        check_kind("quantizer", quantizer, Quantizer)
        check_kind("likelihood", likelihood, Likelihood)
        self.encoder, self.quantizer, self.likelihood = encoder, quantizer, likelihood
        self.shape = likelihood.shape
        if stated(encoder, "in_shape") not in (None, self.shape):
            raise ValueError(
                f"the encoder takes {stated(encoder, 'in_shape')}, but the likelihood's data is {self.shape}"
            )

    def _complete(self, code_prior: CodePrior | None) -> None:
        """Attach the prior, find the condition and run every part once on two examples, which sizes lazy layers."""
        check_kind("code_prior", code_prior, CodePrior | None)
        self.prior = (Frequencies() if code_prior is None else code_prior).attach(self.code_shape, self.num_codes)
        self._condition = (condition_of(self),)  # in a tuple, which does not register it a second time
        if self.condition is not None and self.condition.observes:
            raise ValueError(
                f"a {type(self).__name__} cannot be conditional on {self.condition!r}, which is a part of x; use "
                "models.CVAE"
            )
        self._try_once()
        self._built = [digest(layer.weight, layer.bias) for layer in self.last_layers]

    @property
    @abstractmethod
    def last_layers(self) -> list[Any]:
        """The linear or convolutional layer that makes the vectors of every level."""

    @property
    @abstractmethod
    def grids(self) -> list[tuple[int, ...]]:
        """Grid of the vectors of every level."""

    @abstractmethod
    def encoded(self, level: int, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Vectors (B, *grid, dim) of x that a level is to quantise; the levels above it are quantised."""

    @property
    def num_codes(self) -> int:  # type: ignore[override]
        """Values that a code may take."""
        return self.quantizer.num_codes

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on one entry of the data."""
        return self.likelihood.support

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]
        """What y is, where a part needs it."""
        return self._condition[0]

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The encoder's features of x (B, *shape)."""
        return self.encoder(x, y) if isinstance(self.encoder, Conditioned) else fold(self.encoder, x, len(self.shape))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Integer codes (B, *code_shape) of x (B, *shape)."""
        return self.quantize(x, y).codes

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Pictures (..., *shape) of integer codes z (..., *code_shape): the means of p(x | z, y).

        Args:
            z: codes.
            y: labels (..., *event) for each code, for parts that use them.
            like: data (..., *shape) whose totals the pictures get, for a likelihood of counts given their total.

        Raises:
            ValueError: codes that are no whole numbers, of another shape or out of range.
        """
        c = z.long() if torch.compiler.is_compiling() else self.checked(z)  # an exported graph checks nothing
        return mean_of(self.likelihood_at(c, y), like)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Reconstructions (B, *shape) of x (B, *shape): the means of p(x | c, y) at its codes."""
        return mean_of(self.likelihood(self.quantize(x, y).values, y))

    @torch.no_grad()
    def start(self, train: Split) -> None:
        """Start the parts at the training rows, and the levels at vectors of some of them, the coarsest level first.

        The last layer before a quantizer, if it is as it was built, is scaled so that its vectors have the mean squared
        length 1. Much shorter ones move to other codes at each step of an optimizer; much longer ones make the
        commitment weigh more than the likelihood. Codebooks then start at these vectors.
        """
        super().start(train)
        mode, device, taken = self.training, next(self.parameters()).device, 1 if self.condition is None else 2
        self.train()  # the vectors of training: batch normalisation has seen no data yet
        for quantizer in self.levels:
            quantizer.eval()
        for level, (quantizer, grid) in enumerate(zip(self.levels, self.grids, strict=True)):
            layer = self.last_layers[level]
            as_built = digest(layer.weight, layer.bias) == self._built[level]
            if not as_built and not quantizer.fresh:
                continue
            wanted = -(-max(STARTING, PER_CODE * self.num_codes) // math.prod(grid))
            rows = np.linspace(0, len(train) - 1, min(len(train), wanted)).astype(np.int64)
            batches = (train.take(piece)[:taken] for piece in np.array_split(rows, -(-len(rows) // PIECE)))
            found = [self.encoded(level, *(t.to(device) for t in batch)) for batch in batches]
            vectors = torch.cat(found).reshape(-1, quantizer.dim)
            unit = vectors.var(0, correction=0).sum().sqrt()
            if as_built and unit > 0:
                for parameter in (layer.weight, layer.bias):
                    parameter.div_(unit)
                vectors = vectors / unit
            if quantizer.fresh:
                quantizer.start_at(vectors)
        self.train(mode)

    @torch.no_grad()
    def _try_once(self) -> None:
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        like: Any = next((p for p in self.parameters() if not torch.nn.parameter.is_lazy(p)), torch.zeros(()))
        x = torch.zeros(2, *self.shape, dtype=like.dtype, device=like.device)
        y = None if self.condition is None else self.condition.example(2, x)
        found = self.likelihood(self.quantize(x, y).values, y)
        for module, mode in modes:
            module.training = mode
        if tuple(found.batch_shape) != (2,) or tuple(found.event_shape) != tuple(self.shape):
            raise ValueError(
                f"likelihood gave batch shape {tuple(found.batch_shape)} and event shape {tuple(found.event_shape)} "
                f"for 2 examples, where (2,) and {tuple(self.shape)} are needed"
            )


def check_kind(name: str, part: Any, kind: Any) -> None:
    """TypeError unless the part called ``name`` is of its kind."""
    if not isinstance(part, kind):
        folder = "likelihoods" if name == "likelihood" else f"{name.removeprefix('top_')}s"
        raise TypeError(f"{name} must be one of ppl_vae.{folder}, not {part!r}")
