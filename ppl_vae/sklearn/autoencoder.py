"""Autoencoders as scikit-learn transformers, used like PCA."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .. import randomness
from ..checks import check_size
from ..models import Autoencoder
from ..networks import MLP
from ..objectives import Reconstruction
from .fitting import FLOATS, held_out, layer_sizes, plain, seed_from, train


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
        validation_fraction: share of the rows that is held out, if there is patience.
        patience: stop after this many epochs without a better error of the held-out rows, and keep the weights of the
            best; None trains all epochs on all rows.
        device: to train on: "cpu", "cuda", "mps" or "auto"; the fitted model is on the CPU, in float64.
        random_state: of weights, held-out rows and data order: a number, a ``RandomState``, or None.
        verbose: whether training shows a bar.
        seed: the former name of random_state.

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
        hidden: int | Sequence[int] = (128,),
        epochs: int = 100,
        lr: float = 1e-3,
        batch_size: int = 128,
        activation: str = "relu",
        validation_fraction: float = 0.1,
        patience: int | None = None,
        device: str = "cpu",
        random_state: Any = None,
        verbose: bool | int = False,
        seed: int | str = "deprecated",
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.activation = activation
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features); ``y`` is not used."""
        x: Any = validate_data(self, X, dtype=FLOATS)
        dim, seed = check_size("n_components", plain(self.n_components)), self._seed()
        self.mean_ = x.mean(0, dtype=np.float64)
        spread = x.std(0, dtype=np.float64)
        self.scale_ = np.where(spread > 10 * np.finfo(x.dtype).eps * np.abs(self.mean_), spread, 1.0)
        size, hidden = x.shape[1], layer_sizes(self.hidden)
        with randomness.isolated(seed):
            encoder, decoder = MLP(size, hidden, self.activation), MLP(dim, hidden[::-1], self.activation)
            model = Autoencoder(encoder, decoder, dim, size, output="identity")
        rows = held_out(len(x), 0.0 if self.patience is None else self.validation_fraction, seed)
        names = ("epochs", "lr", "batch_size", "patience", "device", "verbose")
        settings = {name: value for name, value in self.get_params().items() if name in names}
        self.history_ = train(Reconstruction(model), self._standardised(x).float(), rows, seed, settings)
        self.model_ = model.cpu().double().eval()
        self._n_features_out = dim
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

    def _seed(self) -> int:
        if self.seed == "deprecated":
            return seed_from(self.random_state)
        warnings.warn(f"seed is now called random_state; write random_state={self.seed!r}", FutureWarning, stacklevel=3)
        return seed_from(self.seed)

    def _standardised(self, x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((x.astype(np.float64) - self.mean_) / self.scale_)
