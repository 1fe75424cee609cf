"""The autoencoder: z = r(a(e(c(x)))), x' = d(n(z)), compared with x, an ``nn.Module`` without Pyro.

Its parts are the encoder e and the decoder d, the activation a of the code, a corruption c of the data and one, n, of
the code, both in training only, and penalties, which add to the loss or restrict (r) the code. Denoising, sparse,
contractive and regularised autoencoders are choices of these parts.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import supports
from ..checks import check_size
from ..networks import MLP, Head, Units, event_shape, fold, stated
from ..parts import Part
from ..penalties import KSparse, Pass, Penalty
from ..penalties.activations import chain, is_activation
from .protocols import Codec

CODES = {
    "identity": (nn.Identity(), constraints.real),
    "sigmoid": (torch.sigmoid, constraints.unit_interval),
    "relu": (torch.relu, constraints.nonnegative),
}
"""Activations that a code may have, and where its entries then lie."""


class Reconstructs(Codec):
    """A codec that ``objectives.Reconstruction`` trains on its reconstructions and on penalties of its own.

    Attributes:
        overcomplete: whether the model can learn the identity; training then warns.

    Example:
        >>> class Halved(nn.Module, Reconstructs):
        ...     shape, code_shape, support = (4,), (4,), constraints.real
        ...     code_support = constraints.independent(constraints.real, 1)
        ...     def encode(self, x, y=None):
        ...         return x / 2
        ...     def decode(self, z, y=None, *, like=None):
        ...         return 2 * z
        ...     def penalised(self, x):
        ...         return x, {"length": self.encode(x).square().sum(1)}
        >>> Halved().penalised(torch.ones(5, 4))[1]["length"].shape
        torch.Size([5])
    """

    overcomplete: bool = False

    @abstractmethod
    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x, in the units of ``in_units``, and what is to be added to the loss.

        The costs are (B,) or scalars, by name.
        """

    def in_units(self, x: Tensor) -> Tensor:
        """The data as the loss compares them with reconstructions: x itself, unless the model scales them."""
        return x


class Autoencoder(Part, Reconstructs):
    """Encoder and decoder networks, each followed by a linear head, with optional penalties and corruptions.

    With a code no smaller than the data it can learn the identity, and training warns of it; a penalty or a corruption
    keeps an overcomplete code from that.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        code: activation of the code, "identity", "sigmoid" or "relu".
        corruption: of the data that the encoder sees in training: one of ``ppl_vae.corruptions``, or a module from x to
            corrupted x; none if not given.
        penalty: one of ``ppl_vae.penalties`` or a list of them, whose costs are added up; none if not given.
        code_corruption: of the code that the decoder sees in training; none if not given.
        scale: units of what the networks, the loss, the corruption and the penalties see: "standard" for the mean and
            standard deviation of every column, or channel of pictures, in the training rows, "unit" for their minimum
            and range; None for the data's own. Codes are of data, and ``decode`` gives data, in their own units.

    Raises:
        TypeError: networks or corruptions that are no ``nn.Module``, or something that is no penalty.
        ValueError: networks that do not take the data or the codes, an unknown output or code, or a penalty that does
            not fit, or a scale whose data the output does not reach.

    Source: Rumelhart, Hinton and Williams 1986; Hinton and Salakhutdinov 2006.

    Example:
        >>> from ppl_vae import corruptions, networks, penalties
        >>> encoder, decoder = networks.MLP((1, 8, 8), [32]), networks.MLP(4, [32])
        >>> Autoencoder(encoder, decoder, 4, (1, 8, 8))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])

        One that is denoising, sparse and contractive:

        >>> both = [penalties.KLRate(0.1), penalties.Contraction(0.1)]
        >>> ae = Autoencoder(encoder, decoder, 4, (1, 8, 8), "sigmoid", "sigmoid", corruptions.Masking(0.3), both)
        >>> [*ae.penalised(torch.zeros(5, 1, 8, 8))[1]]
        ['penalty', 'contraction']
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        code: Literal["identity", "sigmoid", "relu"] = "identity",
        corruption: nn.Module | None = None,
        penalty: Penalty | Sequence[Penalty] | None = None,
        code_corruption: nn.Module | None = None,
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        super().__init__()
        if output not in ("sigmoid", "identity"):
            raise ValueError(f"output must be 'sigmoid' or 'identity', not {output!r}")
        if code not in CODES:
            raise ValueError(f"code must be 'identity', 'sigmoid' or 'relu', not {code!r}")
        self.dim, self.shape, self.output = check_size("dim", dim), event_shape("shape", shape), output
        self.code: str = code
        if scale == "standard" and output == "sigmoid":
            raise ValueError("output 'sigmoid' stays in [0, 1], which standardised data leave; use output='identity'")
        for name, network, takes in (("encoder", encoder, self.shape), ("decoder", decoder, (self.dim,))):
            check_module(name, network, "networks.MLP(shape, [200])")
            if stated(network, "in_shape") not in (None, takes):
                raise ValueError(f"the {name} takes {stated(network, 'in_shape')}, where {takes} is needed")
        for name, part in (("corruption", corruption), ("code_corruption", code_corruption)):
            if part is not None:
                check_module(name, part, "corruptions.Masking(0.3)")
        self.encoder, self.decoder = encoder, decoder
        self.to_code = Head(encoder, (dim,))
        self.to_data = Head(decoder, self.shape)
        self.corruption, self.code_corruption = corruption, code_corruption
        self.units = None if scale is None else Units(self.shape, scale)
        self.penalties = nn.ModuleList()
        for each in penalty if isinstance(penalty, Sequence) else [] if penalty is None else [penalty]:
            check_penalty(each)
            self.penalties.append(each)
        for each in self._penalties:
            each.attach(self)

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of the codes, (dim,)."""
        return (self.dim,)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on one entry of the data; with a scale it is known when the units are."""
        if self.output == "identity" or (self.units is not None and not self.units.known):
            return constraints.real
        inner = constraints.unit_interval
        return inner if self.units is None else supports.scale(inner, self.units.shift, self.units.unit)

    @property
    def code_support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on a code."""
        return constraints.independent(CODES[self.code][1], 1)

    @property
    def overcomplete(self) -> bool:  # type: ignore[override]
        """Whether nothing keeps the model from the identity: neither a small code nor a penalty or corruption."""
        constrained = len(self.penalties) or self.corruption is not None or self.code_corruption is not None
        narrowest = min(self.dim, math.prod(stated(self.encoder, "out_shape") or (self.dim,)))
        return not constrained and narrowest >= math.prod(self.shape)

    @property
    def _penalties(self) -> list[Penalty]:
        return cast(list[Penalty], [*self.penalties])

    @property
    def sigmoid_layer(self) -> Tensor | None:
        """W (dim, entries) if the code is sigmoid(W x + b) (for k-sparse codes: on the kept entries), else None."""
        one = isinstance(self.encoder, MLP) and len(self.encoder.layers) == 1  # type: ignore[arg-type]
        plain = all(isinstance(p, KSparse) or type(p).restrict is Penalty.restrict for p in self._penalties)
        return self.to_code.layer.weight if one and plain and self.code == "sigmoid" else None

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes (B, dim) of x (B, *shape); ``y`` is not used."""
        return self.activations(self.in_units(x))[0]

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Reconstructions (..., *shape) of codes z (..., dim); ``y`` and ``like`` are not used."""
        out = self._decoded(z)
        return out if self.units is None else self.units.back(out)

    def _decoded(self, z: Tensor) -> Tensor:
        (out,) = self.to_data(fold(self.decoder, z, 1))
        return torch.sigmoid(out) if self.output == "sigmoid" else out

    def in_units(self, x: Tensor) -> Tensor:
        """The data (B, *shape) as the networks and the loss see them: x itself where there is no scale."""
        if self.units is None:
            return x
        x = self.units(x)
        return x.clamp(0, 1) if self.output == "sigmoid" else x  # rounding may leave the interval

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions (B, *shape) of x (B, *shape): in training mode of corrupted x and codes."""
        return self.decode(self._corrupted(self.code_corruption, self._code(self.in_units(x))))

    def _code(self, x: Tensor) -> Tensor:
        """Codes of x in the networks' units, in training mode corrupted."""
        return self.activations(self._corrupted(self.corruption, x))[0]

    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x in the networks' units, and the penalties' costs, (B,) or scalars."""
        x = self.in_units(x)
        if not len(self.penalties):
            return self._decoded(self._corrupted(self.code_corruption, self._code(x))), {}
        x = self._corrupted(self.corruption, x)
        pull_code, pull_out, needed = None, None, {penalty.jacobian(self) for penalty in self._penalties}
        if "encoder" in needed:
            code, pull_code, hidden = cast(Any, torch.func.vjp(self.activations, x, has_aux=True))
        else:
            code, hidden = self.activations(x)
        z = self._corrupted(self.code_corruption, code)
        if "decoder" in needed:
            out, pull_out = torch.func.vjp(self._decoded, z)[:2]
        else:
            out = self._decoded(z)
        seen = Pass(self, x, code, out, hidden, pull_code, pull_out)
        costs: dict[str, Tensor] = {}
        for penalty in self._penalties:
            if (cost := penalty(seen)) is not None:
                costs[penalty.term] = costs[penalty.term] + cost if penalty.term in costs else cost
        return out, costs

    def activations(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Codes (B, dim) of x (B, *shape) in the networks' units, and hidden layers where a penalty is about one.

        The hidden layers are those of the encoder, (B, ...) each. A subclass with another encoder overrides this, so
        that ``encode`` and the penalties see the same.
        """
        hidden: list[Tensor] = []
        if any(penalty.layer is not None for penalty in self._penalties):
            features = x
            for layer in chain(self.encoder):
                features = layer(features)
                if is_activation(layer):
                    features = self._restricted(features, len(hidden))
                    hidden.append(features)
        else:
            features = self.encoder(x)
        (code,) = self.to_code(features)
        return self._restricted(CODES[self.code][0](code), None), hidden

    def _restricted(self, a: Tensor, layer: int | None) -> Tensor:
        for penalty in self._penalties:
            if penalty.layer == layer:
                a = penalty.restrict(a)
        return a

    def _corrupted(self, corruption: nn.Module | None, x: Tensor) -> Tensor:
        return corruption(x) if self.training and corruption is not None else x


def check_module(argument: str, value: object, such_as: str) -> None:
    """TypeError unless ``value`` is a module."""
    if not isinstance(value, nn.Module):
        raise TypeError(f"{argument} must be a torch.nn.Module, such as {such_as}, not {value!r}")


def check_penalty(value: object) -> None:
    """TypeError unless ``value`` is a penalty."""
    if not isinstance(value, Penalty):
        raise TypeError(f"penalty must be one of ppl_vae.penalties, such as penalties.L1(0.1), not {value!r}")
