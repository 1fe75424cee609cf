"""Generation: random codes and their pictures; ``near_data`` and ``recognised`` say whether these pass for data."""

from __future__ import annotations

from torch import Tensor

from .. import randomness
from ..checks import check_size
from ..models import VAE, Codec, Discrete, Latent, MixtureVAE, SemiSupervisedVAE
from ..models.density import Density
from ..statistics.finite import check_codes
from .coding import PICTURES, codes, decode, likelihood_at
from .doors import check_labels, evaluating, in_pieces


def random_codes(
    model: Codec | Latent, n: int, y: Tensor | None = None, *, x: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Codes (n, *code_shape): draws of the model's prior, or where it has none of a Normal fitted to the codes of x.

    Args:
        model: a VAE or an autoencoder.
        n: how many.
        y: labels (n, ...) to draw for, of a ``MixtureVAE`` components, or None.
        x: training data (B, *shape), for a model without a prior.
        seed: of the draws.

    Raises:
        TypeError: a model without a prior, and no x.
        ValueError: n below 1, no data, data of another shape, or labels that do not fit.

    Example:
        >>> import torch
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> random_codes(ae, 5, x=torch.rand(50, 6)).shape
        torch.Size([5, 2])
    """
    y = labels_for(model, n, y, seed)
    if isinstance(model, Latent):
        with evaluating(model, seed) as device:
            y = None if y is None else y.to(device)
            prior = model.component(y) if isinstance(model, MixtureVAE) and y is not None else model.prior(y)
            return prior.sample(() if prior.batch_shape else (n,)).cpu()
    if x is None:
        raise TypeError(f"a {type(model).__name__} has no prior to draw from; give x, data to fit a Normal to in codes")
    z = check_codes(codes(model, x), "x")
    with randomness.unchanged():  # importing scikit-learn draws from Python's random numbers
        density = Density(z[0].numel(), 1).fit(z.flatten(1))
    with evaluating(density, seed):
        return density().sample((n,)).reshape(n, *z.shape[1:])


prior_draws = random_codes


def sample_means(model: Codec, n: int, y: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Means (n, *shape) of p(x | z) at n draws of the prior; the same seed gives the same pictures.

    Arguments and errors as of ``random_codes``, for a model with a prior and a decoder.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [16]), (1, 8, 8)))
        >>> sample_means(vae, 3).shape
        torch.Size([3, 1, 8, 8])
    """
    y = labels_for(model, n, y, seed)
    return decode(model, random_codes(model, n, y, seed=seed), y)


def sample_draws(
    model: VAE | Discrete | SemiSupervisedVAE, n: int, y: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    """Draws (n, *shape) from p(x | z) at the codes of ``sample_means`` with the same n, y and seed."""
    if not isinstance(model, VAE | Discrete | SemiSupervisedVAE):
        raise TypeError(
            f"a {type(model).__name__} has no likelihood to draw from; take its pictures of codes as they are"
        )
    y = labels_for(model, n, y, seed)
    z = random_codes(model, n, y, seed=seed)
    draw = lambda z, y: likelihood_at(model, z, y).sample()  # noqa: E731
    return in_pieces(model, draw, z, y, seed=seed + 1, size=PICTURES)


def labels_for(model: Codec | Latent, n: int, y: Tensor | None = None, seed: int = 0) -> Tensor | None:
    """y for n new examples, drawn from p(y) where the model has one and y is not given."""
    y = check_labels(model, y, check_size("n", n), third="seed", partly=False)
    kind = model.drawn_by if isinstance(model, Codec) else None
    if kind is not None and y is not None:
        kind.check(y, n)
        kind.check_seen(y)
    if y is None and isinstance(model, SemiSupervisedVAE):
        with evaluating(model, seed):
            return model.draw_target(n).cpu()
    return y
