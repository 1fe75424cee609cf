"""The nearest code of every vector, by squared distance."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 2**25  # distances that are held at a time: 128 MiB in float32


@torch.no_grad()
def nearest_code(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Indices (N,) of the codes nearest to vectors: argmin_k |e_k|^2 - 2 z.e_k, the lowest where some are equal.

    Vectors and codes are taken from the codebook's mean, so that a common offset costs no digits. Where two codes are
    equally near to about 1e-6 of (|z|^2 + |e|^2), measured from there in float32, rounding decides between them.

    Args:
        vectors: (N, dim), float32 or float64.
        codebook: (num_codes, dim), of the same dtype.

    Example:
        >>> nearest_code(torch.tensor([[0.2], [0.5], [3.0]]), torch.tensor([[0.0], [1.0]]))
        tensor([0, 0, 1])
    """
    center = codebook.mean(0)
    codes = codebook - center
    squares = codes.square().sum(1)
    rows = max(AT_ONCE // len(codes), 1)
    with torch.autocast(vectors.device.type, enabled=False):
        # An exported graph takes any number of vectors, so it cannot be cut into pieces.
        pieces = (vectors,) if torch.compiler.is_exporting() else vectors.split(rows)
        found = [torch.addmm(squares, z - center, codes.T, alpha=-2).argmin(1) for z in pieces]
    return found[0] if len(found) == 1 else torch.cat(found)
