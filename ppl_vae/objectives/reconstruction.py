"""The objective of autoencoders: the reconstruction error, summed over an example's entries, mean over the batch."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..parts import Recorded
from .loss import Loss


class Reconstruction(Recorded, nn.Module):
    """Squared error |x - x'|^2 or cross-entropy -sum_i x_i log x'_i + (1 - x_i) log(1 - x'_i) of an autoencoder.

    Args:
        model: module whose call gives reconstructions of the shape of x.
        loss: "mse" (squared error summed over the entries) or "bce" (cross-entropy in nats, data in [0, 1]).

    Raises:
        TypeError: a model that is not an ``nn.Module``.
        ValueError: a loss that is neither word.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> Reconstruction(ae)(torch.ones(5, 6)).terms["squared_error"].shape
        torch.Size([5])
    """

    def __init__(self, model: nn.Module, loss: Literal["mse", "bce"] = "mse") -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {model!r}")
        if loss not in ("mse", "bce"):
            raise ValueError(f"loss must be 'mse' or 'bce', not {loss!r}")
        self.model: Any = model
        self.loss = loss

    @property
    def support(self) -> Any:
        """Constraint on one entry of the data, or None where the model does not say."""
        return getattr(self.model, "support", None)

    def forward(self, x: Tensor, *_: Tensor) -> Loss:
        """Loss of a batch (x, ...); labels are not used."""
        out = self.model(x)
        out = out.to(x.dtype) if out.dtype != x.dtype else out
        squared = (x - out).square().flatten(1).sum(1)
        if self.loss == "mse":
            return Loss(squared.mean(), {"squared_error": squared.detach()})
        entropy = F.binary_cross_entropy(out, x, reduction="none").flatten(1).sum(1)
        return Loss(entropy.mean(), {"cross_entropy": entropy.detach(), "squared_error": squared.detach()})

    @torch.no_grad()
    def diagnose(self, x: Tensor, *_: Tensor) -> str | None:
        """Name of the first of code and reconstruction that is not finite, or None."""
        code = self.model.encode(x) if hasattr(self.model, "encode") else x
        if not code.isfinite().all():
            return "the code"
        return None if self.model(x).isfinite().all() else "the reconstruction"
