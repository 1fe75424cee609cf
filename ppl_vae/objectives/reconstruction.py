"""The objective of autoencoders: the reconstruction error, summed over an example's entries, mean over the batch.

That of a model with integer codes, a ``models.Discrete`` such as the VQ-VAE, is -log p(x | c) and what codebook and
commitment cost; a stage after it trains the prior of the codes. What another model adds to its error, and how it goes
about its training, is the model's to say:

    stages()          of ``models.hooks.Layered``: layers to train before the whole, and for how many epochs each
    conclude(batches) of ``models.hooks.Concluded``: what is left to do with the training data when all is trained
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models import Codec, Discrete, Reconstructs
from ..models.hooks import Concluded, Layer, Layered, Machine
from ..parts import Recorded
from .contrastive_divergence import OnCodes
from .discrete import discrete_loss, discrete_stages, discrete_trouble
from .loss import Loss
from .objective import Objective, Stage

if TYPE_CHECKING:
    from ..data import Split

LOSSES = ("mse", "bce")


class Reconstruction(Recorded, Objective):
    """Squared error |x - x'|^2 or cross-entropy -sum_i x_i log x'_i + (1 - x_i) log(1 - x'_i) of an autoencoder.

    The penalties of a model that is a ``models.Reconstructs``, such as every autoencoder, are added to it. Of a
    ``models.Discrete``, such as a ``VQVAE``, the loss is -log p(x | c) in nats per example, of its codes c, plus the
    costs of codebook and commitment; then its prior p(c) is trained on -log p(c), in a stage named "code prior".

    Args:
        model: a ``models.Reconstructs`` or ``models.Discrete``, or any module whose call gives reconstructions of the
            shape of x.
        loss: "mse" (squared error summed over the entries) or "bce" (cross-entropy in nats, data in [0, 1]); None for
            "mse", and for the likelihood of a ``models.Discrete``.

    Raises:
        TypeError: a model that is not an ``nn.Module``.
        ValueError: a loss that is neither word, or one for a model that has a likelihood.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> Reconstruction(ae)(torch.ones(5, 6)).terms["squared_error"].shape
        torch.Size([5])
    """

    def __init__(self, model: nn.Module, loss: Literal["mse", "bce"] | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {model!r}")
        if loss not in (*LOSSES, None):
            raise ValueError(f"loss must be 'mse' or 'bce', not {loss!r}")
        discrete = isinstance(model, Discrete)
        if discrete and loss is not None:
            raise ValueError(f"loss is {loss!r}, but {type(model).__name__} has a likelihood; leave loss out")
        self.model: Any = model
        self.loss: Any = loss or "mse"
        self.watch = ("reconstruction", "max") if discrete else ("loss", "min")

    @property
    def support(self) -> Any:
        """Constraint on one entry of the data, or None where the model is no ``Codec``, which says it."""
        return self.model.support if isinstance(self.model, Codec) else None

    def prepare(self, x: Tensor, *_: Tensor) -> None:
        """Warn, before training, of a model that can learn the identity; let codebooks wait for other processes."""
        if isinstance(self.model, Discrete):
            self.model.defer()
        if isinstance(self.model, Reconstructs) and self.model.overcomplete:
            warnings.warn(
                f"the code is no smaller than the data's {x[0].numel()} entries, so the autoencoder may learn the "
                "identity: a smaller one, or a sparse, denoising or contractive autoencoder, will not",
                stacklevel=2,
            )

    def stages(self) -> list[Stage]:
        """The model's layers, each trained alone, then the whole, and what is left to do after it."""
        if isinstance(self.model, Discrete):
            return discrete_stages(self)
        early = []
        if isinstance(self.model, Layered):
            for index, (layer, epochs) in enumerate(self.model.stages()):
                (own,) = _of_layer(layer, "mse" if index else self.loss).stages()
                begin = own.begin if index else self._before(own.begin)
                early.append(replace(own, name=f"layer {index + 1}", epochs=epochs, begin=begin))
        end = self._conclude if isinstance(self.model, Concluded) else None
        return [*early, Stage("", self, begin=self.start, end=end)]

    def _before(self, begin: Callable[[Split], None] | None) -> Callable[[Split], None]:
        """The model's start, which the layers need too, and then that of the first layer."""

        def both(train: Split) -> None:
            self.start(train)
            if begin is not None:
                begin(train)

        return both

    def _conclude(self, train: Split) -> None:
        device = next(self.model.parameters()).device
        self.model.conclude(x for x, *_ in train.batches(device=device))

    def after_step(self) -> None:
        """Let codebooks take up what the step has left for them."""
        if isinstance(self.model, Discrete):
            self.model.settle()

    def forward(self, x: Tensor, *y: Tensor) -> Loss:
        """Loss of a batch (x, ...); labels are used by conditional models."""
        if isinstance(self.model, Discrete):
            return discrete_loss(self.model, x, *y)
        out, penalties = self.model.penalised(x) if isinstance(self.model, Reconstructs) else (self.model(x), {})
        x = self.model.in_units(x) if isinstance(self.model, Reconstructs) else x
        errors = _errors(x, out, self.loss)
        value = sum((penalty.mean() for penalty in penalties.values()), next(iter(errors.values())).mean())
        return Loss(value, {name: term.detach() for name, term in {**errors, **penalties}.items()})

    @torch.no_grad()
    def diagnose(self, x: Tensor, *y: Tensor) -> str | None:
        """Name of the first of code and reconstruction that is not finite, or None."""
        if isinstance(self.model, Discrete):
            return discrete_trouble(self.model, x, *y)
        out = self.model(x)
        code = self.model.encode(x) if isinstance(self.model, Codec) else x
        if not code.isfinite().all():
            return "the code"
        return None if out.isfinite().all() else "the reconstruction"


def _of_layer(layer: Layer | Machine, loss: str) -> Objective:
    """The objective of a layer: contrastive divergence for an RBM, the reconstruction error otherwise."""
    return OnCodes(layer) if isinstance(layer, Machine) else _LayerReconstruction(layer, loss)


class _LayerReconstruction(Objective):
    """The reconstruction error of a layer of a stack; the layer gives what is to be reconstructed and what it makes."""

    def __init__(self, layer: Layer, loss: str) -> None:
        super().__init__()
        self.model, self.loss = layer, loss

    def forward(self, x: Tensor, *_: Tensor) -> Loss:
        h, out = self.model(x)
        errors = _errors(h, out, self.loss)
        return Loss(next(iter(errors.values())).mean(), {name: term.detach() for name, term in errors.items()})


def _errors(x: Tensor, out: Tensor, loss: str) -> dict[str, Tensor]:
    """Errors of every example, (B,), by name: first the one to minimise."""
    out = out.to(x.dtype) if out.dtype != x.dtype else out
    squared = {"squared_error": (x - out).square().flatten(1).sum(1)}
    if loss == "mse":
        return squared
    return {"cross_entropy": F.binary_cross_entropy(out, x, reduction="none").flatten(1).sum(1)} | squared
