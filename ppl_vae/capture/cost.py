"""Estimate of the time that compiling saves, from the sizes of layers, without a clock.

    seconds of a forward pass = products / 10^11 + outputs * 1 ns

with the floating point operations of the layers' products and the numbers that all layers give. A clock would choose
differently on a busy machine, and a run and its repetition must choose alike.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WORTH = 30.0  # estimated seconds of eager work from which on the wait for a compiler is repaid
PER_FLOP, PER_NUMBER = 1e-11, 1e-9  # seconds
SPEEDUP = 100.0  # of an accelerator over a core, where its size shows at all


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


def repays(seconds: float, device: torch.device) -> bool:
    """Whether so many seconds of eager work repay a compiler, and there is one."""
    return seconds > WORTH and has_compiler(device)


def has_compiler(device: torch.device) -> bool:
    """Whether there is what ``torch.compile`` needs to make code for the device."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return False
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl") if name)
