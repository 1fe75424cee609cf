"""Penalties on Jacobians: w |J|^2, the squared Frobenius norm sum_ij (df_i / dx_j)^2 for each example.

Exact: one vector-Jacobian product for each output, |J|^2 = sum_i |e_i' J|^2. Unbiased: Hutchinson's estimate
|J|^2 = E |v' J|^2, the entries of v being -1 or 1 with equal probability. Closed form, for one sigmoid layer
h = sigmoid(W x + b): sum_j (h_j (1 - h_j))^2 sum_i W_ji^2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checks import check_size
from .base import Coder, Pass, Weighted


class _Jacobian(Weighted):
    """Base of the penalties on Jacobians."""

    def __init__(self, weight: float, probes: int | None) -> None:
        super().__init__(weight)
        self.probes = None if probes is None else check_size("probes", probes)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, probes={self.probes}"


class Contraction(_Jacobian):
    """Makes the code change little when the data do: the squared norm of the encoder's Jacobian, times a weight.

    The norm is exact: in closed form for one sigmoid layer (an encoder ``networks.MLP(shape, [])``), else by one
    backward pass through the encoder for each entry of the code. For large codes and encoders ``probes`` random passes
    estimate it without bias. With a corruption the Jacobian is taken at the corrupted data, the encoder's input.

    Args:
        weight: of the penalty, in units of the reconstruction error.
        probes: number of passes of Hutchinson's estimate; None: the exact norm.

    Raises:
        ValueError: a negative weight, probes below 1; when the model is built, an encoder with batch normalisation.

    Source: Rifai et al. 2011, "Contractive auto-encoders"; Hutchinson 1989.

    Example:
        >>> from ppl_vae import models, networks
        >>> encoder, decoder = networks.MLP(6, [8]), networks.MLP(3, [8])
        >>> ae = models.Autoencoder(encoder, decoder, 3, 6, corruption=None, penalty=Contraction(0.1))
        >>> ae.penalised(torch.rand(5, 6))[1]["contraction"].shape
        torch.Size([5])
    """

    term = "contraction"
    squash = "sigmoid"

    def __init__(self, weight: float = 0.1, probes: int | None = None) -> None:
        super().__init__(weight, probes)

    def forward(self, seen: Pass) -> Tensor:
        """Penalty of each example, (B,)."""
        if (weights := self._in_closed_form(seen.model)) is not None:
            slopes = (seen.code * (1 - seen.code)).square()
            return self.weight * (slopes @ weights.square().sum(1))
        return self.weight * squared_norm(seen.pull_code, seen.code, self.probes)

    def jacobian(self, model: Coder) -> Literal["encoder"] | None:
        """The encoder's, unless the closed form applies."""
        return "encoder" if self._in_closed_form(model) is None else None

    def _in_closed_form(self, model: Coder) -> Tensor | None:
        return model.sigmoid_layer if self.probes is None else None

    def attach(self, model: Coder) -> None:
        """ValueError if the encoder has batch normalisation."""
        _check_rows("encoder", model.encoder)


class DecoderGradient(_Jacobian):
    """Makes a smooth decoder: the squared norm of its Jacobian at the codes, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.
        probes: number of passes of Hutchinson's estimate; None: the exact norm, by one backward pass for each entry
            of the data.

    Raises:
        ValueError: a negative weight, probes below 1; when the model is built, a decoder with batch normalisation.

    Source: Ghosh et al. 2020, "From variational to deterministic autoencoders"; Hutchinson 1989.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(3, [8]), 3, 6, penalty=DecoderGradient())
        >>> ae.penalised(torch.rand(5, 6))[1]["gradient"].shape
        torch.Size([5])
    """

    term = "gradient"

    def __init__(self, weight: float = 0.01, probes: int | None = 1) -> None:
        super().__init__(weight, probes)

    def forward(self, seen: Pass) -> Tensor:
        """Penalty of each example, (B,)."""
        return self.weight * squared_norm(seen.pull_out, seen.out, self.probes)

    def jacobian(self, model: Coder) -> Literal["decoder"]:
        """The decoder's."""
        return "decoder"

    def attach(self, model: Coder) -> None:
        """ValueError if the decoder has batch normalisation."""
        _check_rows("decoder", model.decoder)


def squared_norm(pull: Callable[[Tensor], tuple[Tensor]] | None, values: Tensor, probes: int | None = None) -> Tensor:
    """Squared norms (B,) of the Jacobians of a function that maps each example separately.

    Args:
        pull: vector-Jacobian product of the function, from ``torch.func.vjp``.
        values: values of the function, (B, ...).
        probes: number of random vectors of the estimate; None: the exact norm.

    Example:
        >>> values, pull = torch.func.vjp(lambda x: x @ torch.ones(3, 2), torch.zeros(4, 3))
        >>> squared_norm(pull, values)
        tensor([6., 6., 6., 6.])
    """
    assert pull is not None, "the penalty does not say whose Jacobian it needs"
    if probes is None:
        size = values[0].numel()
        basis = torch.eye(size, dtype=values.dtype, device=values.device)
        vectors = basis.view(size, 1, *values.shape[1:]).expand(size, *values.shape)
    else:
        vectors = 2.0 * torch.randint(0, 2, (probes, *values.shape), device=values.device).to(values) - 1.0
    (rows,) = torch.func.vmap(pull)(vectors)
    squared = rows.square().flatten(2).sum((0, 2))
    return squared if probes is None else squared / probes


def _check_rows(name: str, network: nn.Module) -> None:
    """ValueError if batch normalisation makes examples depend on each other."""
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        made = "code" if name == "encoder" else "reconstruction"
        raise ValueError(
            f"{name} must have no batch normalisation, which makes the {made} of an example depend on the others; "
            "use networks.MLP or networks.Conv, which have none"
        )
