"""Fill in missing entries before a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import Network, event_shape, fold, stated
from .conditioned import Conditioned


class FillMissing(Network):
    """A network whose input x gets its missing (NaN) entries filled in, for encoders of incomplete data.

    Args:
        network: module from the filled x to features; with ``mask`` its first dimension is twice that of x.
        shape: event shape of x.
        fill: value of missing entries: a number, or a tensor of shape ``shape`` such as the training mean.
        mask: whether the network also gets the mask of observed entries (0 or 1), concatenated to x along its first
            dimension.

    Raises:
        ValueError: a network of another input shape, or a fill of another shape or not finite.

    Source: zeros, Nazabal et al. 2020, "Handling incomplete heterogeneous data using VAEs"; the mask,
    Collier et al. 2020, "VAEs in the presence of missing data".

    Example:
        >>> from ppl_vae import networks
        >>> network = FillMissing(networks.MLP(6, [8]), 3, mask=True)
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
        if isinstance(network, Conditioned):
            raise ValueError("network is Conditioned, which must be outermost: use Conditioned(FillMissing(...), ...)")
        given = stated(network, "in_shape") or takes
        if given != takes:
            raise ValueError(f"network takes {given}, where {takes} is needed with mask={mask}")
        fill = torch.as_tensor(fill, dtype=torch.get_default_dtype())
        if not fill.isfinite().all() or fill.dim() and tuple(fill.shape) != self.in_shape:
            raise ValueError(f"fill must be a finite number or a tensor of shape {self.in_shape}, not {fill!r}")
        self.layers = network
        self.register_buffer("fill", fill.clone())
        out_shape = stated(network, "out_shape")
        if out_shape is not None:
            self.out_shape = out_shape

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape), which may hold NaN."""
        missing = self._checked(x).isnan()
        x = torch.where(missing, self.fill.to(x.dtype), x)
        if self.mask:
            x = torch.cat([x, (~missing).to(x.dtype)], -len(self.in_shape))
        return fold(self.layers, x, len(self.in_shape))
