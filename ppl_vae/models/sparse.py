"""The sparse autoencoder: few entries of a code, or of any layer of the encoder, are active at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from ..networks import ACTIVATIONS
from ..penalties import Penalty
from .autoencoder import Autoencoder, check_code, squashed


class SparseAutoencoder(Autoencoder):
    """An autoencoder with a penalty on its code, or one on every layer of the encoder.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        penalty: one of ``ppl_vae.penalties`` for the code, or a sequence of them (None for a layer without), one for
            each hidden layer of an encoder of ``networks`` and one for the code. The shell gives the code's only.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        code: activation of the code, "identity", "sigmoid" or "relu"; by default the one that suits the penalty.

    Raises:
        TypeError: something that is no penalty.
        ValueError: a penalty that does not fit its layer, or another number of them than of layers.

    Source: Ng 2011, "Sparse autoencoder"; Makhzani and Frey 2014, "k-sparse autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks, penalties
        >>> encoder, decoder = networks.MLP(6, [8]), networks.MLP(10, [8])
        >>> ae = SparseAutoencoder(encoder, decoder, 10, 6, penalties.KSparse(3))
        >>> (ae.encode(torch.rand(5, 6)) != 0).sum(1)
        tensor([3, 3, 3, 3, 3])
    """

    constrained = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        penalty: Penalty | Sequence[Penalty | None],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        code: Literal["identity", "sigmoid", "relu"] | None = None,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output)
        given = [penalty] if isinstance(penalty, nn.Module) or not isinstance(penalty, Sequence) else [*penalty]
        for each in given:
            if not (each is None and len(given) > 1) and not isinstance(each, Penalty):
                raise TypeError(f"penalty must be one of ppl_vae.penalties, such as penalties.L1(0.1), not {each!r}")
        self.penalties = nn.ModuleList([each or Penalty() for each in given])
        last: Any = self.penalties[-1]
        self.code = check_code(last.squash if code is None else code)
        last.check(self.dim, self.code)
        if len(given) > 1:
            self._check_layers()

    def _check_layers(self) -> None:
        """One penalty for each activation of the encoder and for the code, each fitting its layer."""
        layers = [*getattr(self.encoder, "layers", ())]
        found = [layer for layer in layers if isinstance(layer, _ACTIVATIONS)]
        if len(found) + 1 != len(self.penalties):
            raise ValueError(
                f"penalty must be one, or one for each of the encoder's {len(found)} hidden layers and the code, not "
                f"{len(self.penalties)}"
            )
        sizes = [math.prod(layer.weight.shape[:1]) for layer in layers if hasattr(layer, "weight")]
        for penalty, size, layer in zip(self.penalties, sizes, found, strict=False):
            squash = next(name for name, cls in ACTIVATIONS.items() if type(layer) is cls)
            penalty.check(size, squash)  # type: ignore[operator]

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, dim) of x (B, *shape)."""
        return self._encode(x)[0]

    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x, and the penalties of all layers together."""
        z, activations = self._encode(x)
        pairs = zip(self.penalties, activations, strict=True)
        costs = [cost for penalty, a in pairs if (cost := penalty.cost(a)) is not None]  # type: ignore[operator]
        return self.decode(z), {"penalty": sum(costs[1:], costs[0])} if costs else {}

    def _encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Codes, and the activations that each penalty is about."""
        activations = []
        if len(self.penalties) == 1:
            features = self.encoder(x)
        else:
            features, penalties = x, iter(self.penalties)
            for layer in self.encoder.layers:  # type: ignore[union-attr]
                features = layer(features)
                if isinstance(layer, _ACTIVATIONS):
                    activations.append(features)
                    features = next(penalties)(features)
        z = squashed(self.to_code(features)[0], self.code)
        return self.penalties[-1](z), [*activations, z]


_ACTIVATIONS = tuple(ACTIVATIONS.values())
