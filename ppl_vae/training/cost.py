"""How long eager training would take, estimated from sizes and never from a clock.

    seconds = steps * (2 ms + 3 * seconds of a forward pass)

as ``capture.cost`` estimates it, three times for the backward pass. A clock would choose differently on a busy
machine, and a run and its resumption must choose alike.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..capture.cost import WORTH, forward_seconds, has_compiler
from .capture import gradient_step

FEW = 200  # below this many steps compiling never pays off
PER_STEP = 2e-3  # seconds of a step, whatever its size


def eager_seconds(objective: nn.Module, batch: tuple[Tensor, ...], steps: int) -> float:
    """Estimated seconds of ``steps`` eager steps on batches like ``batch``; runs one, which changes nothing.

    Example:
        >>> import torch
        >>> from ppl_vae import Reconstruction, models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> round(eager_seconds(Reconstruction(ae), (torch.rand(5, 6),), steps=1000), 2)
        2.0
    """
    work = 3 * forward_seconds(objective, lambda: gradient_step(objective, batch), batch[0].device)
    return steps * (PER_STEP + work)


def worth_capturing(objective: nn.Module, batch: tuple[Tensor, ...], steps: int) -> bool:
    """Whether a training of ``steps`` steps repays a capture: it is long, and there is a compiler."""
    return steps > FEW and has_compiler(batch[0].device) and eager_seconds(objective, batch, steps) > WORTH
