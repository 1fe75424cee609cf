"""Generation from a part of x, or with y exchanged: what only models of x given y can do."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..checks import check_size
from ..models import VAE, Clustering, Codec
from .coding import codes, decode
from .doors import check_data, check_labels
from .generation import sample_draws, sample_means


def completions(model: VAE, x: Any, *, n: int = 3, draw: bool = False, seed: int = 0) -> Tensor:
    """Completions (n, B, *shape) of the part of x that a model of the rest given that part is given.

    Each is the mean of p(x | z, y), or with ``draw`` a draw of it, at another draw of p(z | y); y is the part of x that
    ``networks.Quadrants`` shows, and the rest of x is not looked at.

    Args:
        model: a VAE whose condition is a part of x.
        x: data (B, *shape).
        n: how many completions of each.
        draw: whether to draw from p(x | z, y).
        seed: of the draws.

    Raises:
        ValueError: another model, n below 1, no data or data of another shape.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> seen = networks.Quadrants((1, 4, 4))
        >>> decoder = likelihoods.Bernoulli(networks.Conditioned(networks.MLP(2 + 16, [8]), seen), (1, 4, 4))
        >>> cvae = models.CVAE(priors.Normal(2), likelihood=likelihoods.Completed(decoder, seen))
        >>> completions(cvae, torch.ones(5, 1, 4, 4)).shape
        torch.Size([3, 5, 1, 4, 4])
    """
    condition = model.condition if isinstance(model, Codec) else None
    if condition is None or not condition.observes:
        raise ValueError(
            "completions needs a model of x given a part of x, such as networks.Quadrants; use evaluation.inpaint or "
            f"impute with a {type(model).__name__}"
        )
    _, y = check_data(model, x, values=False, third="n")
    assert y is not None  # of x
    each = y.expand(check_size("n", n), *y.shape).reshape(-1, *y.shape[1:])
    make = sample_draws if draw else sample_means
    return make(model, len(each), each, seed=seed).reshape(n, *y.shape)


def transfer(model: Codec, x: Any, y: Any, *, to: Any, seed: int = 0) -> Tensor:
    """X (B, *shape) with y exchanged while z stays: z encodes x and y, and is decoded with ``to``.

    Args:
        model: a model of x given y.
        x: data (B, *shape).
        y: what x is, (B, ...).
        to: what it becomes, (B, ...).
        seed: of the draws that are averaged where a posterior or a likelihood knows no mean.

    Raises:
        ValueError: a model that is not conditional, data or y that do not fit, or a class in ``to`` that no training
            example had.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models", figure 1.

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [8]), networks.Label(10))
        >>> cvae = models.CVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, 6))
        >>> transfer(cvae, torch.ones(5, 6), y=torch.arange(5), to=torch.tensor([7] * 5)).shape
        torch.Size([5, 6])
    """
    condition = model.drawn_by if isinstance(model, Codec) and not isinstance(model, Clustering) else None
    if condition is None or condition.observes:
        raise ValueError(f"transfer needs a model of x given y, such as a CVAE of labels, not {type(model).__name__}")
    x, y = check_data(model, x, y, values=False, third="seed")
    to = check_labels(model, to, len(x), partly=False)
    condition.check(to, len(x))
    condition.check_seen(to)
    return decode(model, codes(model, x, y, seed=seed), to, like=x)
