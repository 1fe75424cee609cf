"""Familiar autoencoders by name: each is an ``Autoencoder`` with certain parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from ..corruptions import RelativeGaussian
from ..networks import Conv
from ..penalties import Contraction, Hidden, Penalty
from ..penalties.activations import chain, is_activation
from .autoencoder import Autoencoder, check_module, check_penalty


class ConvAutoencoder(Autoencoder):
    """An ``Autoencoder`` of ``networks.Conv`` and its mirror image.

    Args:
        dim: size of the code.
        shape: (channels, height, width) of the data.
        hidden: channels of the layers; each layer halves height and width.
        activation: one of ``networks.ACTIVATIONS``.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        ValueError: data that are not images, or sizes below 1.

    Source: Masci et al. 2011, "Stacked convolutional auto-encoders".

    Example:
        >>> import torch
        >>> ConvAutoencoder(4, (1, 8, 8), [8, 16])(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        dim: int,
        shape: Sequence[int],
        hidden: Sequence[int] = (32, 64),
        activation: str = "relu",
        output: Literal["sigmoid", "identity"] = "sigmoid",
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        encoder = Conv(shape, hidden, activation)
        decoder = Conv.decoder(dim, [*reversed(hidden)], shape, activation)
        super().__init__(encoder, decoder, dim, shape, output, scale=scale)


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder whose encoder gets corrupted data in training and the clean data in evaluation mode.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        corruption: one of ``ppl_vae.corruptions``, or a module from x to corrupted x.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        TypeError: a corruption that is not an ``nn.Module``.

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import corruptions, networks
        >>> encoder, decoder = networks.MLP(6, [8]), networks.MLP(2, [8])
        >>> DenoisingAutoencoder(encoder, decoder, 2, 6, corruptions.Masking(0.5))(torch.ones(5, 6)).shape
        torch.Size([5, 6])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        corruption: nn.Module,
        output: Literal["sigmoid", "identity"] = "sigmoid",
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        check_module("corruption", corruption, "corruptions.Masking(0.3)")
        super().__init__(encoder, decoder, dim, shape, output, corruption=corruption, scale=scale)


class LatentNoiseAutoencoder(Autoencoder):
    """An autoencoder whose decoder gets codes with Normal noise in training and the codes themselves afterwards.

    It shows why noise alone does not make a VAE: nothing keeps the codes together, so draws from a simple distribution
    over codes still fall between them.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        noise: mean squared length of the noise as a share of the codes' mean squared distance from their centre.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        ValueError: a negative noise.

    Source: Poole, Sohl-Dickstein and Ganguli 2014, "Analyzing noise in autoencoders and deep networks".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> ae = LatentNoiseAutoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> ae(torch.rand(5, 6)).shape
        torch.Size([5, 6])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        noise: float = 0.05,
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output, code_corruption=RelativeGaussian(noise), scale=scale)


class ContractiveAutoencoder(Autoencoder):
    """An autoencoder whose code changes little when the data do, by ``penalties.Contraction``.

    Args:
        encoder: module from x (B, *shape) to features, without batch normalisation.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        weight: weight of the squared norm of the encoder's Jacobian, in units of the reconstruction error.
        code: activation of the code, "identity", "sigmoid" or "relu".
        probes: number of passes of Hutchinson's estimate; None: the exact norm.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        ValueError: a negative weight, or an encoder with batch normalisation.

    Source: Rifai et al. 2011, "Contractive auto-encoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> ae = ContractiveAutoencoder(networks.MLP(6, []), networks.MLP(3, []), 3, 6)
        >>> ae.penalised(torch.rand(5, 6))[1]["contraction"].shape
        torch.Size([5])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        weight: float = 0.1,
        code: Literal["identity", "sigmoid", "relu"] = "sigmoid",
        probes: int | None = None,
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output, code, penalty=Contraction(weight, probes), scale=scale)


class SparseAutoencoder(Autoencoder):
    """An autoencoder with a penalty on its code, or with one on every layer of the encoder.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        penalty: one of ``ppl_vae.penalties`` for the code; or a sequence, one (or None) for each hidden layer of an
            encoder of ``networks`` and one for the code. In the shell: for the code only.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        code: activation of the code, "identity", "sigmoid" or "relu"; by default the one that fits the penalty.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        TypeError: something that is not a penalty.
        ValueError: a penalty that does not fit its layer, or a wrong number of penalties.

    Source: Ng 2011, "Sparse autoencoder"; Makhzani and Frey 2014, "k-sparse autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks, penalties
        >>> encoder, decoder = networks.MLP(6, [8]), networks.MLP(10, [8])
        >>> ae = SparseAutoencoder(encoder, decoder, 10, 6, penalties.KSparse(3))
        >>> (ae.encode(torch.rand(5, 6)) != 0).sum(1)
        tensor([3, 3, 3, 3, 3])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        penalty: Penalty | Sequence[Penalty | None],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        code: Literal["identity", "sigmoid", "relu"] | None = None,
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        given: Any = penalty if isinstance(penalty, Sequence) and penalty else [penalty]
        *hidden, last = given
        for each in (*hidden, last):
            if each is not None or not hidden:
                check_penalty(each)
        if hidden and len(hidden) != (layers := sum(map(is_activation, chain(encoder)))):
            raise ValueError(
                f"penalty must be one, or one for each of the encoder's {layers} hidden layers and the code, not "
                f"{len(hidden) + 1}"
            )
        placed: list[Penalty] = [Hidden(each, layer) for layer, each in enumerate(hidden) if each is not None]
        suited = "identity" if last is None else last.squash
        every = placed if last is None else [*placed, last]
        super().__init__(
            encoder, decoder, dim, shape, output, suited if code is None else code, penalty=every, scale=scale
        )
