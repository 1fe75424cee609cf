"""Matrix products of a captured graph by the faster of the two libraries in PyTorch.

PyTorch multiplies float32 matrices on a CPU with MKL, which keeps to AVX2 on AMD's processors. oneDNN, in the
same wheel, uses AVX-512 wherever it is: twice the speed on a Zen 5 core, in the same full precision. Its call costs
some 10 us more, and it copies a transposed first factor, so that small and slender products stay where they are.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

SMALL = 2**20  # multiplications that do not repay the dearer call
SLENDER = 64  # columns of a result that do not repay a copy of the first factor
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


def _addmm(bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(a, b.t(), bias, "none", [], "")


def _addmm_shape(bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


torch.library.define("ppl_vae::addmm", "(Tensor? bias, Tensor a, Tensor b) -> Tensor")
torch.library.impl("ppl_vae::addmm", "CPU", _addmm)
torch.library.register_fake("ppl_vae::addmm", _addmm_shape)


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this processor has AVX-512 that MKL leaves unused, and PyTorch a oneDNN that can be called."""
    about = getattr(torch.cpu, "get_capabilities", dict)()
    if "AMD" not in about.get("cpu_name", "") or not about.get("avx512_f") or not torch.backends.mkl.is_available():
        return False
    bias, a, b = torch.arange(2.0), torch.arange(6.0).view(3, 2).t(), torch.arange(6.0).view(2, 3).t()
    try:  # whole numbers, so that any order of adding gives the same; transposed, as in a backward pass
        return torch.equal(_addmm(bias, a, b), torch.addmm(bias, a, b))
    except (AttributeError, RuntimeError, TypeError):  # built without it, or with another signature
        return False


def through_onednn(graph: Any) -> int:
    """Send the float32 products of a graph of ATen operations that gain by it to oneDNN; gives how many.

    Args:
        graph: a GraphModule from ``make_fx`` on fake tensors, changed in place.
    """
    nodes = [node for node in graph.graph.nodes if node.target in _PRODUCTS and _gains(node)]
    for node in nodes:
        bias, a, b = node.args if len(node.args) == 3 else (None, *node.args)
        with graph.graph.inserting_before(node):
            new = graph.graph.call_function(torch.ops.ppl_vae.addmm.default, (bias, a, b))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()
    return len(nodes)


def _gains(node: Any) -> bool:
    *bias, a, b = (factor.meta["val"] for factor in node.args)
    if a.device.type != "cpu" or a.dtype != torch.float32 or node.kwargs or any(t.dim() != 1 for t in bias):
        return False
    (m, k), n = a.shape, b.shape[1]
    return m * k * n >= SMALL and (a.is_contiguous() or n >= SLENDER) and _dense(a) and _dense(b)


def _dense(factor: Tensor) -> bool:
    """Whether rows or columns lie one behind the other: on a slice of a matrix oneDNN takes 1,000 times as long."""
    return factor.is_contiguous() or factor.t().is_contiguous()
