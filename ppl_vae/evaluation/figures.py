"""The table of all figures: title, unit, which direction is better, and the threshold of trust.

The shell, the report and the comparison read names and words here; ``evaluate`` and the comparison compute the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..statistics.weights import FEWEST, FINITE, trusted_khat

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure that describes a trained model or its training.

    Attributes:
        name: its key in the results of ``evaluate``, in evaluation.json and in a comparison's table.
        title: what it is called, as in "log-likelihood".
        unit: as in "nats"; "" for a number without one. Nats and errors are per example, times in seconds.
        better: "higher", "lower", or None where neither is.
        words: what it is; "{threshold}" in it stands for the threshold.
        threshold: from all results, the value above which it is not to be trusted; None where there is none.
        of_codes: what it is of a model with integer codes, where that is something else; "" where it is the same.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    words: str
    threshold: Callable[[Results], float] | None = None
    of_codes: str = ""

    def limit(self, results: Results) -> float:
        """The threshold in force for these results; NaN where there is none."""
        return self.threshold(results) if self.threshold else math.nan

    def told(self, results: Results | None = None) -> str:
        """The words with the threshold of these results, and which way is better.

        Example:
            >>> FIGURES["elbo"].told()
            'lower bound on the log-likelihood: reconstruction minus KL; higher is better'
            >>> FIGURES["kl"].told({"num_codes": 128})
            'rate: -log p(codes), what the codes cost under their prior'
        """
        most = self.limit(results or {})
        words = self.of_codes if self.of_codes and "num_codes" in (results or {}) else self.words
        words = words.format(threshold="its threshold" if math.isnan(most) else f"{most:.2g}")
        return words + (f"; {self.better} is better" if self.better else "")


def _trusted(results: Results) -> float:
    count = results.get("num_particles")
    return trusted_khat(count) if count else math.nan


_LIKELIHOOD_KINDS = "mass: of exact values; density: per unit; posterior predictive: of either"
_GAIN = "of the ELBO over the same likelihood fitted without a code"
_SHARED = "the log-likelihood, shared among an example's entries"
_ELBO = "lower bound on the log-likelihood: log p(codes) + log p(x | codes)"
_RATE = "rate: -log p(codes), what the codes cost under their prior"
_BITS = "the ELBO, shared among an example's entries: at most so many bits, since only a bound is known"
_ELBO_BITS = "the ELBO, shared among an example's entries: a bound that models with integer codes have too"
_KHAT = "median; above {threshold} the log-likelihood is not to be trusted"
_ROWS: tuple[tuple[Any, ...], ...] = (
    ("log_likelihood", "log-likelihood", "nats", "higher", "log p(x) of an example, by importance sampling"),
    ("valid_log_likelihood", "validation log-likelihood", "nats", "higher", "the same of validation examples"),
    ("log_likelihood_kind", "kind of log-likelihood", "", None, _LIKELIHOOD_KINDS),
    ("log_likelihood_error", "error", "nats", "lower", "of the log-likelihood, from the sampling"),
    ("log_likelihood_stderr", "sampling error", "nats", "lower", "standard error of it from the sampling"),
    ("log_likelihood_mc_error", "sampling error", "nats", "lower", "of the log-likelihood, where error_unknown is 0"),
    ("error_unknown", "error not known", "", "lower", "share of the examples whose k-hat says so, above 0.5"),
    ("ess", "effective samples", "", "higher", "median effective sample size of the importance weights"),
    ("khat", "Pareto k-hat", "", "lower", _KHAT, _trusted),
    (
        "baseline_log_likelihood",
        "without a code",
        "nats",
        "higher",
        "log p(x) of the likelihood fitted without one",
    ),
    ("gain", "gain", "nats", "higher", "over the same likelihood fitted without a code", None, _GAIN),
    ("gain_stderr", "gain's error", "nats", "lower", "standard error of the gain, paired over the examples"),
    ("gain_error", "gain's error", "nats", "lower", "the same in one run, over its examples"),
    ("gain_unknown", "gain", "", None, "not known"),
    ("elbo", "ELBO", "nats", "higher", "lower bound on the log-likelihood: reconstruction minus KL", None, _ELBO),
    ("valid_elbo", "validation ELBO", "nats", "higher", "the same of validation examples"),
    ("gap", "gap", "nats", "lower", "log-likelihood minus ELBO"),
    ("reconstruction", "reconstruction", "nats", "higher", "how probable an example is, given its own code"),
    ("kl", "KL", "nats", None, "information in a code beyond the prior", None, _RATE),
    ("label_kl", "KL of the label", "nats", None, "the part of the KL that is in the predicted label, not in the code"),
    ("bits_per_dim", "bits per dimension", "bits", "lower", _SHARED, None, _BITS),
    ("elbo_bits_per_dim", "bits per dim., bound", "bits", "lower", _ELBO_BITS),
    ("code_perplexity", "code perplexity", "", "higher", "codes that, equally frequent, would say as much"),
    ("codes_used", "codes used", "", None, "of the codebook, by at least one example"),
    ("num_codes", "codebook", "", None, "codes in the codebook"),
    ("active_units", "active units", "", None, "latent dimensions in use"),
    ("accuracy", "accuracy", "", "higher", "share of the examples whose class is predicted"),
    ("prediction_error", "prediction error", "", "lower", "root mean square error of the predicted y, in its units"),
    ("explained", "explained", "", "higher", "share of the variance of y that the prediction explains"),
    (
        "leakage",
        "y left in codes",
        "",
        "lower",
        "share of y that a probe finds in the codes, 0 at chance and 1 for all",
    ),
    ("cluster_accuracy", "cluster accuracy", "", "higher", "share in the cluster that is matched to their class"),
    ("nmi", "cluster NMI", "", "higher", "mutual information of clusters and classes, over their mean entropy"),
    ("ari", "cluster ARI", "", "higher", "Rand index of clusters and classes, 0 by chance"),
    ("reconstruction_error", "squared error", "", "lower", "of a reconstruction, summed over the example's entries"),
    ("squared_error", "squared error", "", "lower", "of a reconstruction, summed over the example's entries"),
    ("spread_least", "smallest scale", "", None, "of p(x | z) for an entry, in standard deviations of the data"),
    ("spread_most", "scale", "", None, "of p(x | z) on the whole, in standard deviations of the data"),
    ("loss", "loss", "", "lower", "what training minimised"),
    ("snr_encoder", "encoder's SNR", "", "higher", "signal-to-noise ratio of the encoder's gradient"),
    ("snr_decoder", "decoder's SNR", "", "higher", "signal-to-noise ratio of the decoder's gradient"),
    ("seconds_per_step", "step", "s", "lower", "of training only"),
    ("seconds", "time", "s", "lower", "of training only"),
    ("memory_mib", "memory", "MiB", "lower", "peak of training above what the process held before"),
    ("steps", "steps", "", None, "optimizer steps"),
    ("epochs", "epochs", "", None, "passes over the training data"),
    ("parameters", "parameters", "", None, "numbers trained"),
    ("n", "examples", "", None, "that the figures are of"),
    ("num_particles", "particles", "", None, "importance samples of an example, for the log-likelihood"),
    ("train_particles", "K", "", None, "samples of the code an example in training"),
    ("seeds", "seeds", "", None, "runs that a mean is over"),
    ("threads", "threads", "", None, "of the process that trained it"),
)
FIGURES = {row[0]: Figure(*row) for row in _ROWS}
"""Every figure by its name, in the order in which they are shown."""


def error(results: Results) -> float | None:
    """The error of the log-likelihood in nats per example, or None where it is not known.

    Example:
        >>> error({"log_likelihood_error": 0.03, "error_unknown": 0.0}), error({"error_unknown": 0.2})
        (0.03, None)
    """
    found = results.get("log_likelihood_error")
    if found is None and "error_unknown" not in results:  # evaluated before there was one: by the median
        most = min(FINITE, trusted_khat(results.get("num_particles", 1)))
        found = results.get("log_likelihood_stderr") if median_khat(results) <= most else None
    return None if found is None or math.isnan(found) else found


def why_unknown(results: Results) -> str:
    """Why the error of the log-likelihood is not known.

    Example:
        >>> why_unknown({"num_particles": 1000, "error_unknown": 0.25})
        'k-hat is above 0.5 or undefined for 25% of the examples'
        >>> why_unknown({"num_particles": 20})
        'k-hat needs 25 particles'
    """
    count = results.get("num_particles", 1)
    if count < FEWEST:
        return f"k-hat needs {FEWEST} particles"
    share = results.get("error_unknown")
    of = "" if share is None else f" for {share:.0%} of the examples"
    return f"k-hat is above {min(FINITE, trusted_khat(count)):.2g} or undefined{of}"


def median_khat(results: Results) -> float:
    """The median of k-hat, which the results hold as a number or by example; NaN where it is not defined."""
    khat = results.get("khat")
    return math.nan if khat is None else torch.as_tensor(khat, dtype=torch.float64).median().item()
