"""Codes that start at data: k-means of vectors, by scikit-learn."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_event

PER_CODE = 64  # vectors that k-means looks at for each code, drawn at random where there are more
ROUNDS = 50  # of Lloyd's algorithm


def checked(vectors: Tensor, dim: int) -> Tensor:
    """The vectors (N, dim), float32 or float64, without gradients; a ValueError for another shape or NaN."""
    check_event("vectors", vectors.shape, dim)
    flat = vectors.detach().reshape(-1, dim)
    bad = int((~flat.isfinite()).any(1).sum())
    if bad:
        raise ValueError(
            f"vectors hold NaN or infinite values in {bad} of {len(flat)} rows; a network that gives them, or the data "
            "that it sees, must be finite before codes can start there"
        )
    return flat if flat.dtype == torch.float64 else flat.float()


def k_means(vectors: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Centres (num_codes, dim) of clusters of vectors (N, dim), and how many vectors each has, (num_codes,).

    Seeded from torch's generator; k-means++, then Lloyd's algorithm, in one thread, so that it is the same each time.

    Raises:
        ValueError: more codes than distinct vectors.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if len(vectors) > PER_CODE * num_codes:
        vectors = vectors[torch.randperm(len(vectors))[: PER_CODE * num_codes].to(vectors.device)]
    points = vectors.cpu().numpy()
    seed = int(torch.randint(2**31 - 1, ()))
    distinct = len(np.unique(points, axis=0)) if len(points) else 0
    if distinct < num_codes:
        raise ValueError(
            f"num_codes is {num_codes}, but there are only {distinct} distinct vectors to start the codes at; give "
            f"more vectors, or use num_codes={max(distinct, 1)} or fewer"
        )
    with threadpool_limits(1):  # sums over threads would be in no fixed order
        fitted = KMeans(num_codes, n_init=1, max_iter=ROUNDS, algorithm="lloyd", random_state=seed).fit(points)
    centres = torch.from_numpy(fitted.cluster_centers_).to(vectors)
    return centres, torch.from_numpy(np.bincount(fitted.labels_, minlength=num_codes)).to(vectors)
