"""``AnomalyDetector``: rows that a VAE of the data finds improbable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import OutlierMixin

from .base import TableVAE
from .fitting import plain


class AnomalyDetector(OutlierMixin, TableVAE):
    """Finds rows of low log p(x) under a VAE of the training data. Missing entries (NaN) are left out of log p(x).

    Signs are scikit-learn's: ``score_samples`` is higher for a more normal row, ``decision_function`` is that minus
    ``offset_``, and ``predict`` gives -1 below 0, for an anomaly, and 1 elsewhere. A row with many missing entries has
    a log p(x) of few terms: compare rows with the same entries observed.

    Args:
        n_components: as the other arguments, see ``VAETransformer``.
        contamination: the share of anomalies among the training rows, above 0 and at most 0.5: the threshold is that
            quantile of their scores. "auto" is the lower fence of their box plot, the first quartile less 1.5 times
            the distance of the quartiles.

    Attributes:
        offset_: the threshold, in nats.
        model_: the trained ``models.VAE``; for this and others see ``VAETransformer``.

    Raises:
        ValueError: invalid data or arguments.

    Source: An and Cho 2015, "Variational autoencoder based anomaly detection".

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> detector = AnomalyDetector(n_components=2, epochs=20, random_state=0).fit(x)
        >>> detector.predict(np.array([[0.0, 0.0, 0.0], [50.0, 50.0, -50.0]]))
        array([ 1, -1])
    """

    def __init__(
        self,
        n_components: int = 4,
        *,
        contamination: float | str = "auto",
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
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features), NaN where an entry is missing; ``y`` is not used."""
        share = plain(self.contamination)
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share != "auto" and not (number and 0 < share <= 0.5):
            raise ValueError(f"contamination must be 'auto' or a share above 0 and at most 0.5, not {share!r}")
        super().fit(X)
        scores = self.score_samples(X)
        if share == "auto":
            low, high = np.percentile(scores, [25, 75])
            self.offset_ = low - 1.5 * (high - low)
        else:
            self.offset_ = np.percentile(scores, 100.0 * share)
        return self

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: N803
        """Log p(x) minus ``offset_`` (n_samples,), in nats: negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """-1 for anomalies and 1 for the others, (n_samples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)
