"""Abstract classes for what a model can do, tested with ``isinstance``.

    Codec    codes of data and pictures of codes             autoencoders, RBM, VAE
    Latent   a distribution over codes, to draw from         VAE, RegularizedAutoencoder
    Discrete integer codes, p(c) and p(x | c)                 VQVAE, VQVAE2
    Predictor  y of x: p(y | x), or the mean of y             SemiSupervisedVAE, SupervisedVAE
    Clustering p(component | x)                               MixtureVAE
    Pair     a Pyro model and guide                          VAE, Program

A model of one's own is a module with one or more of them as base classes, such as ``class Mine(nn.Module, Pair)``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeGuard

from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..parts import Abstract
from .exporting import Exported, export_codec

if TYPE_CHECKING:
    from ..code_priors import CodePrior
    from ..likelihoods import Likelihood
    from ..networks import Condition
    from ..quantizers import Quantized, Quantizer


class Codec(Abstract):
    """A model with an encoder and a decoder.

    A class attribute ``usual``, a dict, says which flags of the shell have other defaults for this model.

    Attributes:
        shape: event shape of the data.
        support: constraint on one entry of the data.
        code_shape: event shape of the codes.
        code_support: constraint on a code; ``decode`` needs codes inside it.
        condition: what y is, where the model needs it; None where it does not.
        target: what y is, where it is a site of the model, known of some examples; None where it is none. Evaluation
            treats it as unknown unless y is given.

    Example:
        >>> import torch
        >>> class Half(nn.Module, Codec):
        ...     shape, code_shape, support = (4,), (2,), constraints.real
        ...     code_support = constraints.independent(constraints.real, 1)
        ...     def encode(self, x, y=None):
        ...         return x[..., :2]
        ...     def decode(self, z, y=None, *, like=None):
        ...         return z.repeat_interleave(2, -1)
        >>> half, x = Half(), torch.ones(5, 4)
        >>> half.decode(half.encode(x)).shape
        torch.Size([5, 4])
    """

    shape: tuple[int, ...]
    support: constraints.Constraint
    code_shape: tuple[int, ...]
    code_support: constraints.Constraint
    condition: Condition | None = None
    target: Condition | None = None

    @property
    def drawn_by(self) -> Condition | None:
        """What y is where data can be drawn for a y of choice: the condition, or a label that is a site before z."""
        return self.condition

    @abstractmethod
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes (B, *code_shape) of x (B, *shape), such as the means of q(z | x, y)."""

    @abstractmethod
    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Pictures (..., *shape) of codes z (..., *code_shape), such as the means of p(x | z, y).

        Args:
            z: codes.
            y: labels (..., *event) for each code, for models that use them.
            like: data (..., *shape) whose totals the pictures get, if p(x | z) is given a total.
        """

    def export(
        self,
        path: str | Path,
        part: Literal["encoder", "decoder", "predictor"] = "encoder",
        *,
        x: Any = None,
        y: Any = None,
        metadata: Mapping[str, str] | None = None,
        tolerance: float = 1e-5,
    ) -> Exported:
        """Write ``encode``, ``decode`` or ``predict`` to a file that runs without this package, for any number of rows.

        A file ``.onnx`` runs in ONNX Runtime from many languages, a file ``.pt2`` in ``torch.export.load``. The encoder
        takes ``x`` and gives ``z``, the decoder takes ``z`` and gives ``x``; those of a conditional model also take
        ``y``, and so does the decoder of a semi-supervised one. The predictor of a ``Predictor`` takes ``x`` and gives
        ``y``, probabilities of the classes or means. Weights and units are inside, half-precision ones as float32. The
        file's numbers are compared with the model's before anything is written, those of ONNX only where
        ``onnxruntime`` is installed.

        Args:
            path: the file to write, ending in ``.onnx`` or ``.pt2``.
            part: which part of the model.
            x: rows (B, *shape) on which to compare, of which the first 256 are used; made up if not given.
            y: their labels (B, ...), for a conditional model; made up if not given.
            metadata: further strings to keep in the file, beside the package's version, shapes and names.
            tolerance: largest difference from the model, relative to the output's scale.

        Returns:
            path, names of inputs and output, and the difference.

        Raises:
            TypeError: metadata that are not strings.
            ValueError: another suffix or part, a folder that does not exist, an encoder that averages random draws
                since the mean of q(z | x) has no formula, a program that cannot be traced, a file that differs by more
                than the tolerance, or ``onnx`` and ``onnxscript`` not installed.

        Source: the ONNX standard, onnx.ai; ``torch.export`` and ``torch.onnx`` make the files.

        Example:
            >>> import tempfile, torch
            >>> from ppl_vae import models, networks
            >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     made = ae.export(f"{folder}/encoder.pt2")
            ...     torch.export.load(made.path).module()(torch.ones(5, 6)).shape
            torch.Size([5, 2])
        """
        if part == "predictor" and not isinstance(self, Predictor):
            raise ValueError(f"{type(self).__name__} predicts nothing, so it has no part 'predictor'; use 'encoder'")
        return export_codec(self, path, part, x, y, metadata, tolerance)


class Latent(Abstract):
    """A model that can draw codes: it has ``prior``, a method or a module that gives a distribution over codes.

    ``prior(y=None)`` has batch shape () or (B,) and event shape ``code_shape``.
    """

    _needs: ClassVar[tuple[str, ...]] = ("prior",)

    if TYPE_CHECKING:
        prior: Callable[..., TorchDistribution]


class Discrete(Codec, Latent):
    """A model whose codes are integers c, a function of x, with p(c | y) and p(x | c, y).

    Since log p(x) = log sum_c p(c) p(x | c) >= log p(c(x)) + log p(x | c(x)), it has a lower bound on the
    log-likelihood; -log p(c) alone is the rate. ``encode`` gives integers.

    Attributes:
        num_codes: values 0, ..., num_codes - 1 that an entry of a code may take.
        prior: p(c | y).
        likelihood: p(x | c, y), of quantised vectors.
    """

    num_codes: int
    prior: CodePrior  # type: ignore[override]
    likelihood: Likelihood

    @property
    def code_support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on the codes of one example."""
        return constraints.independent(constraints.integer_interval(0, self.num_codes - 1), len(self.code_shape))

    @abstractmethod
    def quantize(self, x: Tensor, y: Tensor | None = None) -> Quantized:
        """Quantised vectors as the likelihood takes them, codes (B, *code_shape) and costs of x (B, *shape).

        The ``loss_terms`` are squared distances summed over the vectors of an example, means over the batch.
        """

    @abstractmethod
    def values_at(self, codes: Tensor) -> Tensor:
        """Quantised vectors of integer codes (..., *code_shape), as the likelihood takes them."""

    def likelihood_at(self, codes: Tensor, y: Tensor | None = None) -> TorchDistribution:
        """p(x | c, y) of integer codes c (..., *code_shape)."""
        return self.likelihood(self.values_at(codes), y)

    @property
    @abstractmethod
    def levels(self) -> list[Quantizer]:
        """The quantizers, the coarsest first."""

    def cost(self, quantized: Quantized) -> Tensor:
        """What codebook and commitment add to the loss, a scalar in nats per example, from ``quantize``."""
        return self.levels[0].cost(quantized.loss_terms)

    def settle(self) -> None:
        """Let codebooks take up what a step has left for them; comes after every step, in every process."""
        for quantizer in self.levels:
            quantizer.settle()

    def defer(self) -> None:
        """Let codebooks learn of the batches of several processes in ``settle`` alone, as ``fit`` needs it."""
        for quantizer in self.levels:
            quantizer.defer()

    def checked(self, codes: Tensor) -> Tensor:
        """Integer codes (..., *code_shape), refused if they cannot be this model's.

        Raises:
            ValueError: codes that are no whole numbers, of another shape or out of range.
        """
        n = len(self.code_shape)
        if tuple(codes.shape[codes.dim() - n :]) != tuple(self.code_shape):
            raise ValueError(f"codes must have the shape (..., {str(self.code_shape)[1:-1]}), not {tuple(codes.shape)}")
        whole = codes if not codes.is_floating_point() else codes.round()
        bad = (whole != codes) | (codes < 0) | (codes >= self.num_codes)
        if bad.any():
            raise ValueError(
                f"codes must be whole numbers from 0 to {self.num_codes - 1}, not {codes[bad].flatten()[0].item()}"
            )
        return whole.long()


class Predictor(Abstract):
    """A model that tells y of x; ``target`` says what y is."""

    _needs: ClassVar[tuple[str, ...]] = ("target",)

    if TYPE_CHECKING:
        target: Condition

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """Of a ``Label`` the probabilities p(y | x), (B, classes); of numbers their means (B, *event)."""


class Clustering(Abstract):
    """A model whose codes have components, which nobody names.

    Attributes:
        components: how many.
    """

    components: int

    @abstractmethod
    def assign(self, x: Tensor) -> Tensor:
        """Probabilities p(component | x), (B, components)."""


class Pair(Abstract):
    """A model with the Pyro programs ``model`` and ``guide``, both called with the batch, (x,) or (x, y).

    Attributes:
        prepared: whether the parameters are known, which ``prepare`` finds where only a run tells.
        enumerated: whether ``SVI`` sums over the values of a discrete site where no estimator is named.
    """

    prepared: bool = True
    enumerated: bool = False

    def prepare(self, *batch: Any) -> None:
        """Find the parameters on a first batch, where only a run tells."""

    @abstractmethod
    def model(self, *batch: Any, **options: Any) -> Any:
        """The generative program, which observes x."""

    @abstractmethod
    def guide(self, *batch: Any, **options: Any) -> Any:
        """The variational program, over the latent sites of ``model``."""


if TYPE_CHECKING:

    class PairModule(nn.Module, Pair):
        """A module with the two programs."""


def is_pair(model: object) -> TypeGuard[PairModule]:
    """Whether a model has the two Pyro programs: a ``Pair``, or a user's module with methods of their names."""
    return isinstance(model, Pair) or all(callable(getattr(model, name, None)) for name in ("model", "guide"))
