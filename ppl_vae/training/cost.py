"""How long eager training would take, estimated from sizes and never from a clock.

    seconds = steps * (2 ms + 3 * (products / 10^11 + outputs * 1 ns))

with the floating point operations of the layers' products and the numbers that all layers give in one forward pass,
three times for the backward pass. A clock would choose differently on a busy machine, and a run and its resumption must
choose alike.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .capture import gradient_step

WORTH = 30.0  # estimated seconds of eager training from which on the wait for a compiler is repaid
FEW = 200  # steps that are never worth it
PER_STEP, PER_FLOP, PER_NUMBER = 2e-3, 1e-11, 1e-9  # seconds
SPEEDUP = 100.0  # of an accelerator over a core, where its size shows at all


def eager_seconds(objective: nn.Module, batch: tuple[Tensor, ...], steps: int) -> float:
    """Estimated seconds of ``steps`` eager steps on batches like ``batch``; runs one, which changes nothing.

    Example:
        >>> from ppl_vae import Reconstruction, models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> round(eager_seconds(Reconstruction(ae), (torch.rand(5, 6),), steps=1000), 2)
        2.0
    """
    work = 3 * forward_seconds(objective, lambda: gradient_step(objective, batch), batch[0].device)
    return steps * (PER_STEP + work)


def forward_seconds(module: nn.Module, run: Callable[[], Any], device: torch.device) -> float:
    """Estimated seconds of what the layers of ``module`` do forward in ``run``."""
    flops = numbers = 0

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal flops, numbers
        if isinstance(output, Tensor):
            numbers += output.numel()
            weight = getattr(layer, "weight", None)
            if isinstance(weight, Tensor) and weight.dim() > 1:
                # Of a transposed convolution, whose weights come by inputs, every input meets all of its weights.
                whole = inputs[0] if getattr(layer, "transposed", False) else output
                flops += 2 * whole.numel() * weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in module.modules() if not list(m.children())]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return (flops * PER_FLOP + numbers * PER_NUMBER) / (1.0 if device.type == "cpu" else SPEEDUP)


def worth_capturing(objective: nn.Module, batch: tuple[Tensor, ...], steps: int) -> bool:
    """Whether a training of ``steps`` steps repays a capture: it is long, and there is a compiler."""
    return steps > FEW and has_compiler(batch[0].device) and eager_seconds(objective, batch, steps) > WORTH


def has_compiler(device: torch.device) -> bool:
    """Whether there is what ``torch.compile`` needs to make code for the device."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return False
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl") if name)
