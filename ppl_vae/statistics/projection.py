"""Codes in the plane."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import torch
from torch import Tensor

from .. import randomness
from .finite import check_codes


def project(codes: Tensor) -> Tensor:
    """Codes (N, ...) in the plane (N, 2): as they are when dim is 2, else the first two principal components.

    Raises:
        ValueError: codes that are NaN or infinite.

    Example:
        >>> project(torch.randn(20, 5)).shape
        torch.Size([20, 2])
    """
    codes = check_codes(codes, "x").flatten(1)
    if codes.shape[1] == 1:
        return torch.cat([codes, torch.zeros_like(codes)], 1)
    if codes.shape[1] == 2 or len(codes) < 2 or bool((codes == codes[0]).all()):
        return codes[:, :2]
    with randomness.unchanged():  # importing scikit-learn draws from Python's random numbers
        from sklearn.decomposition import PCA
    return torch.from_numpy(PCA(2, svd_solver="full").fit_transform(codes.double().numpy())).float()


def neighbour_map(codes: Tensor) -> Tensor | None:
    """UMAP of codes (N, ...) in the plane (N, 2): codes that are near stay near; None without ``umap-learn``.

    None also for fewer than 10 codes, which have too few neighbours.

    Raises:
        ValueError: codes that are NaN or infinite.

    Source: McInnes, Healy and Melville 2018, "UMAP: uniform manifold approximation and projection".

    Example:
        >>> neighbour_map(torch.randn(5, 4)) is None
        True
    """
    codes = check_codes(codes, "x").flatten(1)
    if len(codes) < 10 or find_spec("umap") is None:
        return None
    with randomness.unchanged(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        import umap

        points = umap.UMAP(n_neighbors=min(15, len(codes) - 1), random_state=0).fit_transform(codes.double().numpy())
    return torch.as_tensor(points, dtype=torch.float32)
