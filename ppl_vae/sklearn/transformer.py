"""``VAETransformer``: a VAE used like PCA, with a density."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from .. import evaluation
from ..checks import check_size
from .base import TableVAE
from .fitting import FLOATS, plain, seed_from


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TableVAE):
    """Reduces the dimension of a table of numbers to the codes of a variational autoencoder, and gives its density.

    Columns need no scaling, and may have missing entries (NaN). Codes and densities of a row do not depend on the rows
    beside it.

    Args:
        n_components: size of the code.
        hidden: sizes of the encoder's layers, mirrored in the decoder; ``()`` for a linear model, factor analysis.
        activation: between the layers, one of ``networks.ACTIVATIONS``.
        kinds: what the columns hold: None for real numbers; "auto" makes columns of 0 and 1 binary; or a mapping from
            column number or name to "real", "positive", "count", "binary", "categorical" or "ordinal", the last three
            with codes 0, 1, ..., as ``OrdinalEncoder`` gives them. Columns not named are real.
        prior: function from n_components to a prior on real codes, such as ``priors.MixtureOfGaussians``; None for
            N(0, I).
        epochs: passes over the training rows; None for 20, or as many as 3000 steps take.
        beta: weight of the Kullback-Leibler term.
        warmup: steps over which beta rises from 0; None for 1000, but at most a third of all steps.
        lr: learning rate of Adam.
        batch_size: rows a batch.
        validation_fraction: share of the rows that is held out; the weights of the epoch that is best on them are kept.
            0 trains on all rows and keeps the last weights.
        patience: stop after this many epochs without a better one; None trains all epochs.
        num_particles: K, the importance samples of a row in ``score_samples``.
        device: to train on: "cpu", "cuda", "mps" or "auto"; the fitted model is on the CPU, in float64.
        random_state: of weights, held-out rows, data order and noise: a number, a ``RandomState``, or None.
        verbose: whether training shows a bar.

    Attributes:
        model_: the trained ``models.VAE``, of rows without ``origin_``.
        kinds_: the columns' kinds, with levels.
        origin_: what is subtracted from the columns first (n_features,): real columns' medians, else 0.
        history_: what ``fit`` returned, with the losses of every epoch.

    Raises:
        ValueError: invalid data or arguments.

    Source: Kingma and Welling 2014; score_samples, Burda et al. 2016.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 6))
        >>> x[3, 1] = np.nan
        >>> vae = VAETransformer(n_components=2, epochs=5, random_state=0).fit(x)
        >>> vae.transform(x).shape, vae.score_samples(x).shape, vae.sample(3, random_state=0).shape
        ((50, 2), (50,), (3, 6))
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.model_.dim

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Codes (n_samples, n_components) of X (n_samples, n_features): the means of q(z | x)."""
        x, coded = self._input(X)
        return evaluation.codes(self.model_, coded).numpy().astype(x.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Rows (n_samples, n_features), in the data's units, of codes X (n_samples, n_components).

        They are the means of p(x | z); of a binary column the probability of 1, of a categorical one the most probable
        level.
        """
        check_is_fitted(self)
        z: Any = check_array(X, dtype=FLOATS)
        if z.shape[1] != self.model_.dim:
            raise ValueError(f"X must have n_components = {self.model_.dim} columns, not {z.shape[1]}")
        rows = evaluation.decode(self.model_, torch.from_numpy(z).double())
        return (rows.numpy() + self.origin_).astype(z.dtype)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Mean of ``score_samples``; ``y`` is not used."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Rows (n_samples, n_features) drawn from the model: z from the prior, x from p(x | z)."""
        check_is_fitted(self)
        count = check_size("n_samples", plain(n_samples))
        return evaluation.sample_draws(self.model_, count, seed=seed_from(random_state)).numpy() + self.origin_
