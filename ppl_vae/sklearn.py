"""Autoencoders as scikit-learn transformers, used like PCA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from . import randomness
from .checks import check_size
from .models import Autoencoder
from .networks import MLP
from .objectives import Reconstruction
from .training import fit

__all__ = ["AutoencoderTransformer"]

FLOATS: Any = [np.float64, np.float32]


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Reduces the dimension of a table of numbers to the codes of an autoencoder.

    Columns are standardised for the networks and brought back by ``inverse_transform``. Training is in float32, codes
    are computed in float64.

    Args:
        n_components: size of the code.
        hidden: sizes of the encoder's layers, mirrored in the decoder; ``()`` for a linear autoencoder.
        epochs: passes over the data.
        lr: learning rate.
        batch_size: examples a batch.
        activation: between the layers, one of ``networks.ACTIVATIONS``.
        seed: of the weights and the data order.

    Attributes:
        model_: the trained ``models.Autoencoder``, of standardised columns.
        mean_: means of the columns (n_features,).
        scale_: standard deviations of the columns (n_features,), 1 for a constant one.
        history_: what ``fit`` returned.

    Raises:
        ValueError: invalid data or arguments.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 6))
        >>> reduced = AutoencoderTransformer(n_components=2, epochs=5).fit_transform(x)
        >>> reduced.shape
        (50, 2)
    """

    def __init__(
        self,
        n_components: int = 2,
        hidden: Sequence[int] = (128,),
        epochs: int = 100,
        lr: float = 1e-3,
        batch_size: int = 128,
        activation: str = "relu",
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.activation = activation
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features); ``y`` is not used."""
        x: Any = validate_data(self, X, dtype=FLOATS)
        check_size("n_components", self.n_components)
        self.mean_ = x.mean(0, dtype=np.float64)
        spread = x.std(0, dtype=np.float64)
        self.scale_ = np.where(spread > 10 * np.finfo(x.dtype).eps * np.abs(self.mean_), spread, 1.0)
        size, hidden = x.shape[1], [*self.hidden]
        with randomness.isolated(self.seed):
            encoder, decoder = (
                MLP(size, hidden, self.activation),
                MLP(self.n_components, hidden[::-1], self.activation),
            )
            model = Autoencoder(encoder, decoder, self.n_components, size, output="identity")
        self.history_ = fit(
            Reconstruction(model),
            self._standardised(x).float(),
            epochs=self.epochs,
            lr=self.lr,
            batch_size=min(self.batch_size, len(x)),
            seed=self.seed,
            device="cpu",
            progress=False,
        )
        self.model_ = model.double().eval()
        self._n_features_out = self.n_components
        return self

    @torch.no_grad()
    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Codes (n_samples, n_components) of X (n_samples, n_features)."""
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=FLOATS, reset=False)
        return self.model_.encode(self._standardised(x)).numpy().astype(x.dtype)

    @torch.no_grad()
    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Rows (n_samples, n_features), in the data's units, of codes X (n_samples, n_components)."""
        check_is_fitted(self)
        z: Any = check_array(X, dtype=FLOATS)
        if z.shape[1] != self._n_features_out:
            raise ValueError(f"X must have n_components = {self._n_features_out} columns, not {z.shape[1]}")
        out = self.model_.decode(torch.from_numpy(z).double()).numpy()
        return (out * self.scale_ + self.mean_).astype(z.dtype)

    def _standardised(self, x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((x.astype(np.float64) - self.mean_) / self.scale_)
