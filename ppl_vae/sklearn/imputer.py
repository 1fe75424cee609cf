"""``Imputer``: missing entries of a table from the posterior predictive of a VAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from torch import Tensor

from .. import evaluation
from ..evaluation.doors import evaluating
from .base import TableVAE
from .fitting import seed_from


class Imputer(OneToOneFeatureMixin, TransformerMixin, TableVAE):
    """Fills in the missing entries (NaN) of a table; the others come back bit for bit.

    A missing entry becomes its mean given the row's observed entries, rounded for counts; of a binary, categorical or
    ordinal column the most probable level. It does not depend on the rows beside it. With ``sample_posterior`` it
    becomes a draw: for multiple imputation, change ``random_state`` by ``set_params`` and call ``transform`` again,
    without fitting again.

    Args:
        n_components: as the other arguments, see ``VAETransformer``.
        sample_posterior: draw the missing entries, instead of taking their means.
        num_particles: codes z a row, weighted by how well they explain its observed entries.

    Attributes:
        model_: the trained ``models.VAE``; for this and others see ``VAETransformer``.

    Raises:
        ValueError: invalid data or arguments.

    Source: Rezende et al. 2014; Nazabal et al. 2020; weights, Mattei and Frellsen 2019, "MIWAE".

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 6))
        >>> x[3, 1] = np.nan
        >>> full = Imputer(n_components=2, epochs=5, random_state=0).fit_transform(x)
        >>> bool(np.isnan(full).any()), bool((full[4] == x[4]).all())
        (False, True)
    """

    def __init__(
        self,
        n_components: int = 4,
        *,
        hidden: int | Sequence[int] = (128,),
        activation: str = "relu",
        kinds: str | Mapping[Any, Any] | None = None,
        prior: Callable[[int], Any] | None = None,
        epochs: int | None = None,
        beta: float = 1.0,
        warmup: int | None = None,
        lr: float = 1e-3,
        batch_size: int = 128,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        sample_posterior: bool = False,
        num_particles: int = 128,
        device: str = "cpu",
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            n_components,
            hidden=hidden,
            activation=activation,
            kinds=kinds,
            prior=prior,
            epochs=epochs,
            beta=beta,
            warmup=warmup,
            lr=lr,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            patience=patience,
            num_particles=num_particles,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.sample_posterior = sample_posterior

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """X (n_samples, n_features) with its missing entries filled in."""
        x, coded = self._input(X)
        missing = np.isnan(x)
        rows = missing.any(1)
        if not rows.any():
            return x.copy()
        gaps = coded[torch.from_numpy(rows)]
        guess = self._draws(gaps) if self.sample_posterior else self._means(gaps)
        filled = x.copy()
        filled[missing] = (guess.numpy() + self.origin_)[missing[rows]]
        return filled

    def _means(self, x: Tensor) -> Tensor:
        model, count = self._at_points()
        parts = [evaluation.impute(model, rows, num_samples=count, weighted=True).x for rows in self._pieces(x)]
        return torch.cat(parts)

    def _draws(self, x: Tensor) -> Tensor:
        """A draw of every entry: z of the K codes by its weight, then x from p(x | z)."""
        (shared, count), parts = self._at_points(), []
        with evaluating(shared, seed_from(self.random_state)):
            for rows in self._pieces(x):
                q = shared.posterior(rows)
                z = q.sample((count,))
                log_w = shared.likelihood(z).log_prob(rows) + shared.prior().log_prob(z) - q.log_prob(z)
                chosen = log_w.softmax(0).T.multinomial(1)[:, 0]
                parts.append(shared.likelihood(z[chosen, torch.arange(len(rows))]).sample())
        return torch.cat(parts)
