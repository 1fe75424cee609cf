"""Networks: tensor -> features, for any number of leading batch dimensions.

A network maps an event of shape ``in_shape`` to features of shape ``out_shape``. Leading dimensions are folded into
one, run through the layers and unfolded again, so convolutions and batch normalisation work under vectorised
particles. Encoders halve the image at every hidden size (3x3 convolution, stride 2); ``X.decoder`` builds the mirror
image, whose last features a likelihood turns into parameters with a head of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_size, nearest
from .data.kinds import parse_kinds
from .parts import Part

__all__ = ["MLP", "Conv", "ConvTranspose", "FillMissing", "ResNet", "ResNetTranspose", "TableEncoder"]

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; {nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def event_shape(argument: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, int | Sequence):
        raise TypeError(f"{argument} must be a whole number or several, such as (1, 8, 8), not {type(value).__name__}")
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return tuple(check_size(argument, size) for size in sizes)


def _image_shape(argument: str, value: Any) -> tuple[int, int, int]:
    shape = event_shape(argument, value)
    if len(shape) != 3:
        raise ValueError(f"{argument} must be an image shape (channels, height, width), not {shape}; networks.MLP fits")
    return shape


def _sizes(value: Sequence[int], allow_empty: bool = False) -> list[int]:
    hidden = [check_size("hidden", size) for size in ([value] if isinstance(value, int) else value)]
    if not hidden and not allow_empty:
        raise ValueError("hidden must hold at least one size for a convolutional network, not []")
    return hidden


def fold(network: nn.Module, x: Tensor, event_dim: int) -> Tensor:
    """Run ``network`` on x (..., *event) as one batch of events and give the leading dimensions back.

    Example:
        >>> fold(nn.Conv2d(1, 4, 3), torch.zeros(5, 2, 1, 8, 8), event_dim=3).shape
        torch.Size([5, 2, 4, 6, 6])
    """
    lead = x.shape[: x.dim() - event_dim]
    if len(lead) == 1:
        return network(x)
    out = network(x.reshape(-1, *x.shape[x.dim() - event_dim :]))
    return out.reshape(*lead, *out.shape[1:])


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 if it is half or bfloat16: densities are never computed in less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Network(Part):
    """Base of the networks: checks the event shape and folds leading dimensions around ``layers``.

    Attributes:
        in_shape: event shape taken, a tuple of ints.
        out_shape: shape of the features given, ``(features,)`` or ``(channels, height, width)``.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    layers: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape)."""
        return fold(self.layers, self._checked(x), len(self.in_shape))

    def _checked(self, x: Tensor) -> Tensor:
        n = len(self.in_shape)
        if x.dim() < n or tuple(x.shape[x.dim() - n :]) != self.in_shape:
            raise ValueError(
                f"{type(self).__name__} was built for events of shape {self.in_shape}, not a tensor {tuple(x.shape)}"
            )
        return x


class MLP(Network):
    """Fully connected layers, each followed by the activation.

    Args:
        in_shape_or_dim: event shape, or its single size; events are flattened.
        hidden: sizes of the layers; ``[]`` only flattens, which makes a linear model.
        activation: one of ``networks.ACTIVATIONS``.

    Raises:
        ValueError: a size below 1 or an unknown activation.

    Example:
        >>> MLP((1, 8, 8), [32, 16], activation="tanh")(torch.zeros(7, 5, 1, 8, 8)).shape
        torch.Size([7, 5, 16])
    """

    def __init__(
        self, in_shape_or_dim: int | Sequence[int], hidden: Sequence[int] = (200, 200), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.in_shape = event_shape("in_shape_or_dim", in_shape_or_dim)
        sizes = [math.prod(self.in_shape), *_sizes(hidden, allow_empty=True)]
        self.out_shape = (sizes[-1],)
        layers: list[nn.Module] = [nn.Flatten()]
        for size_in, size_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(size_in, size_out), _activation(activation)]
        self.layers = nn.Sequential(*layers)

    @classmethod
    def decoder(cls, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu") -> MLP:
        """Network from codes of size ``dim``; ``shape`` is the data's, left to the likelihood's head."""
        return cls(dim, hidden, activation)


class Conv(Network):
    """Encoder of 3x3 convolutions of stride 2, one for each hidden size (its channels), with the activation after each.

    Args:
        in_shape: (channels, height, width).
        hidden: channels of the layers.
        activation: one of ``networks.ACTIVATIONS``.

    Example:
        >>> Conv((1, 28, 28), [16, 32])(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1568])
    """

    def __init__(self, in_shape: Sequence[int], hidden: Sequence[int] = (32, 64), activation: str = "relu") -> None:
        super().__init__()
        self.in_shape = _image_shape("in_shape", in_shape)
        channels, *sides = self.in_shape
        layers: list[nn.Module] = []
        for size in _sizes(hidden):
            layers += [nn.Conv2d(channels, size, 3, stride=2, padding=1), _activation(activation)]
            channels, sides = size, [(side + 1) // 2 for side in sides]
        self.out_shape = (channels * math.prod(sides),)
        self.layers = nn.Sequential(*layers, nn.Flatten())

    @classmethod
    def decoder(cls, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu") -> ConvTranspose:
        """The mirrored network, from codes of size ``dim`` to features with the image's height and width."""
        return ConvTranspose(dim, hidden, shape, activation)


class ConvTranspose(Network):
    """Decoder of 3x3 transposed convolutions of stride 2, from a code to (hidden[-1], height, width).

    Args:
        dim: size of the code.
        hidden: channels, widest first; the code is mapped to ``hidden[0]`` channels at the smallest size.
        shape: shape of the image to be decoded, for its height and width.
        activation: one of ``networks.ACTIVATIONS``.

    Example:
        >>> ConvTranspose(16, [64, 32], (1, 28, 28))(torch.zeros(3, 5, 16)).shape
        torch.Size([3, 5, 32, 28, 28])
    """

    def __init__(self, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        self.in_shape = event_shape("dim", dim)
        _, *target = _image_shape("shape", shape)
        hidden = _sizes(hidden)
        sides = [target]
        for _ in hidden:
            sides.append([(side + 1) // 2 for side in sides[-1]])
        sides.reverse()
        layers: list[nn.Module] = [
            nn.Linear(dim, hidden[0] * math.prod(sides[0])),
            _activation(activation),
            nn.Unflatten(1, (hidden[0], *sides[0])),
        ]
        channels = hidden[0]
        for size, small, large in zip([*hidden[1:], hidden[-1]], sides, sides[1:], strict=False):
            bottom, right = (b - (2 * a - 1) for a, b in zip(small, large, strict=True))
            layers.append(nn.ConvTranspose2d(channels, size, 3, stride=2, padding=1, output_padding=(bottom, right)))
            layers.append(_activation(activation))
            channels = size
        self.out_shape = (channels, *target)
        self.layers = nn.Sequential(*layers)


class _Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions, batch-normalised, pre-activated (He et al. 2016b)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            _activation(activation),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            _activation(activation),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _with_residuals(layers: nn.Module, activation: str) -> nn.Sequential:
    """The layers with a residual block behind the activation of every strided convolution."""
    out: list[nn.Module] = []
    channels = None
    for layer in layers.children():
        out.append(layer)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            channels = layer.out_channels
        elif channels is not None:
            out.append(_Residual(channels, activation))
            channels = None
    return nn.Sequential(*out)


class ResNet(Network):
    """``Conv`` with a batch-normalised residual block after every halving.

    Args:
        in_shape: (channels, height, width).
        hidden: channels of the stages.
        activation: one of ``networks.ACTIVATIONS``.

    Example:
        >>> ResNet((3, 32, 32), [16, 32])(torch.zeros(2, 5, 3, 32, 32)).shape
        torch.Size([2, 5, 2048])
    """

    def __init__(self, in_shape: Sequence[int], hidden: Sequence[int] = (32, 64), activation: str = "relu") -> None:
        super().__init__()
        plain = Conv(in_shape, hidden, activation)
        self.in_shape, self.out_shape = plain.in_shape, plain.out_shape
        self.layers = _with_residuals(plain.layers, activation)

    @classmethod
    def decoder(
        cls, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu"
    ) -> ResNetTranspose:
        """The mirrored network, from codes of size ``dim`` to features with the image's height and width."""
        return ResNetTranspose(dim, hidden, shape, activation)


class ResNetTranspose(Network):
    """``ConvTranspose`` with a batch-normalised residual block after every doubling.

    Args:
        dim: size of the code.
        hidden: channels, widest first.
        shape: shape of the image to be decoded.
        activation: one of ``networks.ACTIVATIONS``.

    Example:
        >>> ResNetTranspose(16, [32, 16], (3, 32, 32))(torch.zeros(5, 16)).shape
        torch.Size([5, 16, 32, 32])
    """

    def __init__(self, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        plain = ConvTranspose(dim, hidden, shape, activation)
        self.in_shape, self.out_shape = plain.in_shape, plain.out_shape
        self.layers = _with_residuals(plain.layers, activation)


class FillMissing(Network):
    """A network in front of which missing (NaN) entries of x are filled in, for encoders of incomplete data.

    Args:
        network: module from the filled x to features; with ``mask`` its first dimension is twice that of x.
        shape: event shape of x.
        fill: what stands for a missing entry: a number, or a tensor of shape ``shape`` such as the training mean.
        mask: whether the network also sees which entries were given, as 0 and 1 behind x along its first dimension.

    Raises:
        ValueError: a network that takes another shape, or a fill that does not fit or is not finite.

    Source: zeros, Nazabal et al. 2020, "Handling incomplete heterogeneous data using VAEs"; the mask beside them,
    Collier et al. 2020, "VAEs in the presence of missing data".

    Example:
        >>> network = FillMissing(MLP(6, [8]), 3, mask=True)
        >>> network(torch.tensor([[0.1, float("nan"), 0.3]])).isfinite().all()
        tensor(True)
    """

    fill: Tensor

    def __init__(
        self, network: nn.Module, shape: int | Sequence[int], fill: float | Tensor = 0.0, mask: bool = False
    ) -> None:
        super().__init__()
        self.in_shape, self.mask = event_shape("shape", shape), mask
        takes = (2 * self.in_shape[0], *self.in_shape[1:]) if mask else self.in_shape
        given: Any = getattr(network, "in_shape", takes)
        if tuple(given) != takes:
            raise ValueError(f"network takes {tuple(given)}, where {takes} is needed with mask={mask}")
        fill = torch.as_tensor(fill, dtype=torch.get_default_dtype())
        if not fill.isfinite().all() or fill.dim() and tuple(fill.shape) != self.in_shape:
            raise ValueError(f"fill must be a finite number or a tensor of shape {self.in_shape}, not {fill!r}")
        self.layers = network
        self.register_buffer("fill", fill.clone())
        out_shape: Any = getattr(network, "out_shape", None)
        if out_shape is not None:
            self.out_shape = out_shape

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape), which may hold NaN."""
        missing = self._checked(x).isnan()
        x = torch.where(missing, self.fill.to(x.dtype), x)
        if self.mask:
            x = torch.cat([x, (~missing).to(x.dtype)], -len(self.in_shape))
        return fold(self.layers, x, len(self.in_shape))


class TableEncoder(Network):
    """MLP over the columns of a table, each brought to a form that suits its kind; a missing entry becomes 0.

    Real columns are standardised, positive and count columns after a logarithm, binary and ordinal columns scaled to
    -1 ... 1, categorical ones made one-hot. ``start_at`` takes the training data's mean and standard deviation.

    Args:
        in_shape_or_dim: (D,), the number of columns.
        hidden: sizes of the layers.
        activation: one of ``networks.ACTIVATIONS``.
        kinds: as for ``likelihoods.Columns``.
        mask: whether the layers also see which entries are there.

    Raises:
        ValueError: rows that are not vectors, or kinds that do not fit them.

    Example:
        >>> network = TableEncoder(2, [8], kinds={0: "positive", 1: "categorical(3)"}, mask=True)
        >>> network(torch.tensor([[2.5, 1.0], [math.nan, math.nan]])).shape
        torch.Size([2, 8])
    """

    zero: Tensor
    unit: Tensor
    _positive: Tensor
    _count: Tensor
    _plain: Tensor
    _column: Tensor
    _code: Tensor

    def __init__(
        self,
        in_shape_or_dim: int | Sequence[int],
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        kinds: str | Mapping[Any, Any] | None = None,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_shape, self.mask = event_shape("in_shape_or_dim", in_shape_or_dim), mask
        if len(self.in_shape) != 1:
            raise ValueError(f"in_shape_or_dim must be that of a table's rows, one dimension, not {self.in_shape}")
        size = self.in_shape[0]
        columns = parse_kinds(kinds, size)
        unknown = next((c for c in columns if c.levelled and c.levels is None), None)
        if unknown is not None:
            raise ValueError(f"kinds gives {unknown.name!r} no number of levels: write {unknown.kind}(L)")
        hot = [(i, k) for i, c in enumerate(columns) if c.kind == "categorical" for k in range(c.levels or 0)]
        indices = {
            "positive": torch.tensor([c.kind == "positive" for c in columns]),
            "count": torch.tensor([c.kind == "count" for c in columns]),
            "plain": torch.tensor([i for i, c in enumerate(columns) if c.kind != "categorical"], dtype=torch.long),
            "column": torch.tensor([i for i, _ in hot], dtype=torch.long),
            "code": torch.tensor([float(k) for _, k in hot]),
        }
        for name, value in indices.items():
            self.register_buffer(f"_{name}", value, persistent=False)
        half = [((c.levels or 1) - 1) / 2 if c.kind in ("binary", "ordinal") else 0.0 for c in columns]
        self.register_buffer("zero", torch.tensor(half))
        self.register_buffer("unit", torch.tensor([h or 1.0 for h in half]))
        width = len(self._plain) + len(hot) + (size if mask else 0)
        inner = MLP(width, hidden, activation)
        self.layers, self.out_shape = inner.layers, inner.out_shape
        self._scaled = [i for i, c in enumerate(columns) if not c.levelled]

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor) -> TableEncoder:
        """Standardise by the mean and standard deviation (D,) of the training data.

        Returns:
            the network itself.
        """
        if tuple(mean.shape) != self.in_shape or tuple(std.shape) != self.in_shape:
            raise ValueError(f"mean and std must have shape {self.in_shape}, not {tuple(mean.shape)}")
        mean, std = mean.to(self.zero), std.to(self.zero)
        std = torch.where(std > 0, std, 1.0)
        shifted = mean + self._count.to(mean)
        shifted = torch.where(shifted > 0, shifted, 1.0)  # of an empty column
        spread = torch.log1p((std / shifted).square())  # variance of the logarithm, were it Normal
        logged = self._positive | self._count
        zero = torch.where(logged, shifted.log() - spread / 2, mean)
        unit = torch.where(logged, spread.sqrt().clamp(min=1e-6), std)
        self.zero[self._scaled], self.unit[self._scaled] = zero[self._scaled], unit[self._scaled]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., D), which may hold NaN."""
        if tuple(x.shape[-1:]) != self.in_shape:
            raise ValueError(f"TableEncoder was built for rows of shape {self.in_shape}, not a tensor {tuple(x.shape)}")
        seen = ~x.isnan()
        x = torch.where(seen, x, 1.0)
        x = torch.where(self._positive, x.clamp(min=1e-30).log(), x)  # whatever comes, the features stay finite
        x = torch.where(self._count, x.clamp(min=0).log1p(), x)
        here = seen.to(x.dtype)
        scaled = ((x - self.zero) / self.unit * here).index_select(-1, self._plain)
        hot = (x.index_select(-1, self._column) == self._code).to(x.dtype) * here.index_select(-1, self._column)
        return fold(self.layers, torch.cat([scaled, hot, *([here] if self.mask else [])], -1), 1)


class Head(nn.Module):
    """Last layer: features of a network -> ``parameters`` tensors of an event shape, in float32 or better.

    Features shaped like an image of the event's height and width go through a 1x1 convolution, all others through a
    linear layer. A network that does not state its ``out_shape`` gets a layer that is sized at its first use.

    Args:
        network: the module whose features come in.
        shape: event shape of each parameter.
        parameters: how many parameters the distribution has.

    Example:
        >>> mean, scale = Head(MLP(4, [8]), (3,), parameters=2)(torch.zeros(5, 8))
        >>> mean.shape
        torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module, shape: Sequence[int], parameters: int = 1) -> None:
        super().__init__()
        self.shape, self.parameters_per_event = tuple(shape), parameters
        features = getattr(network, "out_shape", None)
        self.spatial = (
            features is not None and len(features) == 3 and len(self.shape) == 3 and features[1:] == self.shape[1:]
        )
        self.feature_dim = 1 if features is None else len(features)
        size = math.prod(self.shape) * parameters
        self.layer: Any
        if features is None:
            self.layer = nn.LazyLinear(size)
        elif self.spatial:
            self.layer = nn.Conv2d(features[0], self.shape[0] * parameters, 1)
        else:
            self.layer = nn.Linear(math.prod(features), size)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Tuple of ``parameters`` tensors (..., *shape) from features (..., *out_shape)."""
        return self.stacked(features).unbind(-1 - len(self.shape))

    def stacked(self, features: Tensor) -> Tensor:
        """The same as one tensor (..., parameters, *shape)."""
        if self.spatial:
            out = full_precision(fold(self.layer, features, 3))
            return out.unflatten(-3, (self.parameters_per_event, self.shape[0]))
        if self.feature_dim > 1:
            features = features.flatten(-self.feature_dim)
        return full_precision(self.layer(features)).unflatten(-1, (self.parameters_per_event, *self.shape))

    def bias(self, index: int = 0) -> Tensor:
        """View of the bias behind parameter ``index``: shape (channels, 1, 1) when spatial, else the event shape."""
        part = self.layer.bias.chunk(self.parameters_per_event)[index]
        return part.reshape(-1, 1, 1) if self.spatial else part.reshape(self.shape)
