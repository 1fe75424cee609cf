"""Codes in the plane."""

from __future__ import annotations

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
