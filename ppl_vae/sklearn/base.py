"""The VAE of a table, behind ``VAETransformer``, ``Imputer`` and ``AnomalyDetector``.

    z ~ N(0, I),   x_d | z ~ the distribution of column d's kind,   q(z | x) = N(m(x), diag s(x)^2)

trained on the ELBO of the observed entries. Columns have units inside the model, so densities are in the data's own
units. A real column's median is subtracted in float64 before the networks see it, which changes no density.

A row's figures must not depend on the rows beside it, so all rows share their draws of z (``points``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from .. import evaluation, randomness
from ..checks import check_size, check_weight
from ..data import find_kinds
from ..data.checks import check_values
from ..handlers import Linear
from ..likelihoods import Columns
from ..models import VAE
from ..networks import MLP, TableEncoder
from ..objectives import SVI
from ..posteriors import Normal
from ..priors import Normal as StandardNormal
from ..training.defaults import default_epochs
from .fitting import FLOATS, WARMUP, held_out, layer_sizes, plain, seed_from, train
from .points import at_points

NUMBERS = 2**23  # numbers in the intermediate tensors of one piece of rows


class TableVAE(BaseEstimator):
    """Base of the estimators: their arguments, the training, and log p(x)."""

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
        num_particles: int = 128,
        device: str = "cpu",
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.activation = activation
        self.kinds = kinds
        self.prior = prior
        self.epochs = epochs
        self.beta = beta
        self.warmup = warmup
        self.lr = lr
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.num_particles = num_particles
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Train on X (n_samples, n_features), NaN where an entry is missing; ``y`` is not used."""
        x: Any = validate_data(self, X, dtype=FLOATS, ensure_all_finite="allow-nan")
        dim = check_size("n_components", plain(self.n_components))
        batch_size = check_size("batch_size", plain(self.batch_size))
        self._find_columns(x)
        coded = self._coded(x)
        self.seed_ = seed_from(self.random_state)
        rows = held_out(len(x), self.validation_fraction, self.seed_)
        batch_size = min(batch_size, len(rows[0]))
        epochs = default_epochs(len(rows[0]), batch_size) if self.epochs is None else plain(self.epochs)
        with randomness.isolated(self.seed_):
            model = self._build(dim, coded)
        steps = check_size("epochs", epochs) * -(-len(rows[0]) // batch_size)
        settings = {"epochs": epochs, "batch_size": batch_size, "verbose": self.verbose}
        settings |= {"lr": self.lr, "patience": self.patience, "device": self.device}
        self.history_ = train(SVI(model, beta=self._schedule(steps)), coded.float(), rows, self.seed_, settings)
        self.model_ = model.cpu().double().eval()
        return self

    def score_samples(self, X: Any) -> np.ndarray:  # noqa: N803
        """Log p(x) of the observed entries of each row, (n_samples,), in nats, in the data's own units.

        Importance-sampled with ``num_particles`` points: a lower bound in expectation, tight as their number grows.
        """
        x, (model, count) = self._input(X)[1], self._at_points()
        whole = {"num_particles": count, "memory": 2**62}  # rows are cut here: a piece would start at the points anew
        parts = [evaluation.log_likelihood(model, rows, **whole).value for rows in self._pieces(x)]
        return torch.cat(parts).numpy()

    def _find_columns(self, x: np.ndarray) -> None:
        """Each column's kind and origin; ValueError for a column without a number, or of a spread float32 lacks."""
        names = vars(self).get("feature_names_in_")
        labels = [*range(x.shape[1])] if names is None else [*map(str, names)]
        empty = np.isnan(x).all(0)
        if empty.any():
            raise ValueError(f"column {labels[empty.argmax()]!r} of X holds no number, only NaN; drop it")
        wide = x.astype(np.float64)
        self.kinds_ = find_kinds(torch.from_numpy(wide), self.kinds, None if names is None else labels)
        self.real_ = np.array([kind == "real" for kind in self.kinds_.values()])
        self.origin_ = np.where(self.real_, np.nanmedian(wide, 0), 0.0)
        self.rounding_ = 10 * float(np.finfo(x.dtype).eps) * np.abs(self.origin_)
        spread = np.nanstd(self._shifted(wide), 0)
        bad = self.real_ & (spread > 0) & ~((spread > 1e-15) & (spread < 1e15))
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(
                f"column {labels[at]!r} of X has a standard deviation of {spread[at]:.3g}, outside float32's reach; "
                "give it in other units, or put a StandardScaler in front"
            )

    def _shifted(self, x: np.ndarray) -> np.ndarray:
        """X in float64 with the real columns' origins subtracted; what is equal up to rounding becomes 0."""
        x = x.astype(np.float64) - self.origin_
        return np.where(np.abs(x) <= self.rounding_, 0.0, x)

    def _coded(self, x: np.ndarray) -> Tensor:
        """The model's view of rows x, float64; ValueError for entries that do not fit their column's kind."""
        coded = torch.from_numpy(self._shifted(x))
        support = Columns(nn.Identity(), x.shape[1], self.kinds_).support
        check_values(coded, np.arange(len(x)), "X", support, missing=True)
        return coded

    def _input(self, X: Any) -> tuple[np.ndarray, Tensor]:  # noqa: N803
        """Checked rows of a fitted estimator, as given and as the model sees them."""
        check_is_fitted(self)
        x: Any = validate_data(self, X, dtype=FLOATS, ensure_all_finite="allow-nan", reset=False)
        return x, self._coded(x)

    def _build(self, dim: int, coded: Tensor) -> VAE:
        hidden = layer_sizes(self.hidden)
        encoder = TableEncoder(coded.shape[1], hidden, self.activation, self.kinds_, mask=bool(coded.isnan().any()))
        decoder = MLP(dim, hidden[::-1], self.activation)
        if self.prior is not None and (isinstance(self.prior, nn.Module) or not callable(self.prior)):
            raise TypeError(
                "prior must be a function from n_components to a prior, such as priors.MixtureOfGaussians, or None, "
                f"not {self.prior!r}"
            )
        prior = (StandardNormal if self.prior is None else self.prior)(dim)
        return VAE(prior, Normal(encoder, dim), Columns(decoder, coded.shape[1], self.kinds_))

    def _schedule(self, steps: int) -> Any:
        """Beta, or its way from 0 to there."""
        warmup = min(WARMUP, steps // 3) if self.warmup is None else check_size("warmup", plain(self.warmup), 0)
        beta = check_weight("beta", plain(self.beta))
        return Linear(warmup, end=beta) if warmup else beta

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        widest = max(x.shape[1], *(len(p) for p in self.model_.parameters() if p.dim()))
        return x.split(max(1, NUMBERS // (plain(self.num_particles) * widest)))

    def _at_points(self) -> tuple[VAE, int]:
        """The model, whose posterior is drawn at the same points for every row, and their number."""
        count = check_size("num_particles", plain(self.num_particles))
        return at_points(self.model_, count, self.seed_), count
