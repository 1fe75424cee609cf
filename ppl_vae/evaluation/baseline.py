"""The same likelihood fitted without a code: what a model must beat to have learned anything from its codes.

The family of p(x | z) with parameters that are the same for every example (of a class, for a model of x given a
label), fitted to training rows by maximum likelihood, log p(x) in nats per example. The gain is paired:

    gain = mean_i [log p(x_i) - log p_0(x_i)],    standard error = std_i [...] / sqrt(N)
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ..data import as_split
from ..likelihoods import Likelihood
from ..models import VAE, Discrete, SemiSupervisedVAE, StackedSemiSupervisedVAE
from ..networks import Head, Label
from .doors import check_data, filled_labels

NUMBERS, FEWEST, MOST = 1_000_000, 500, 5000  # parameters times rows, and rows, that are fitted to
ROUNDS, ENOUGH = 80, 1e-5  # evaluations by L-BFGS, and nats per example that are too few to go on
CODES = 200  # rows whose head outputs the fit starts at


class _Constant(Head):
    """A head whose output does not depend on the features: free parameters, one set for every class."""

    def __init__(self, head: Head, start: Tensor) -> None:
        nn.Module.__init__(self)
        self.shape, self.parameters_per_event = head.shape, head.parameters_per_event
        self.spatial, self.feature_dim, self.layer = False, head.feature_dim, head.layer
        self.raw = nn.Parameter(start.clone())
        self.label = 0

    @property
    def fresh(self) -> bool:
        """True: the start at the training data applies."""
        return True

    def stacked(self, features: Tensor) -> Tensor:
        """The free parameters, for one code."""
        return self.raw[self.label][None]

    def bias(self, index: int = 0) -> Tensor:
        """View of parameter ``index`` of all classes, (classes, *shape)."""
        return self.raw[:, index]


class Baseline:
    """The likelihood of a VAE fitted without a code to training rows; the model is left alone.

    Args:
        model: a VAE. Of a ``SemiSupervisedVAE``, which models x alone, the label is left out with the code.
        train: its training rows: a split of ``ppl_vae.data``, or what ``fit`` takes for one. At most 5,000 of them are
            fitted to, evenly spaced; fewer of large examples.

    Raises:
        ValueError: a model for which this is not defined: a program, a likelihood that is not one of
            ``ppl_vae.likelihoods`` nor a subclass, or a model of x given numbers or pictures.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 1))
        >>> train = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
        >>> Baseline(vae, train).log_prob(torch.tensor([[1.0]])).exp()
        tensor([0.7500])
    """

    def __init__(self, model: VAE | Discrete | SemiSupervisedVAE, train: Any) -> None:
        if not isinstance(model, VAE | Discrete | SemiSupervisedVAE):
            raise ValueError(f"a {type(model).__name__} has no likelihood that could be fitted without a code")
        model = model.features if isinstance(model, StackedSemiSupervisedVAE) else model
        if not isinstance(model.likelihood, Likelihood):
            raise ValueError(f"the likelihood {type(model.likelihood).__name__} is not one of ppl_vae.likelihoods")
        if not isinstance(model.condition, Label | None):
            raise ValueError(f"the model is conditional on {model.condition!r}, and only labels make groups to fit to")
        split = as_split(train).resolve(model.support)
        heads = [module for module in model.likelihood.modules() if isinstance(module, Head)]
        size = sum(head.parameters_per_event * math.prod(head.shape) for head in heads)
        count = min(len(split), MOST, max(FEWEST, NUMBERS // max(1, size)))
        rows = split.take(np.linspace(0, len(split) - 1, count).astype(np.int64))
        x, y = check_data(model, *(rows if model.target is None else rows[:1]), third=None)
        y = None if model.condition is None or y is None else y.cpu()
        self.labels = [None] if y is None else y.unique().tolist()
        with pyro.validation_enabled(False):
            self.likelihood = self._copy(model, x, y)
            self.likelihood.start(split)
            self._fit(x.double().cpu(), y)

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x) of x (B, *shape), given labels y (B,) for a model of x given y, in nats, (B,).

        It is NaN for a label that no training row has.
        """
        with torch.no_grad(), pyro.validation_enabled(False):
            return self._log_prob(x.double().cpu(), None if y is None else y.cpu()).to(x.dtype)

    def _copy(self, model: VAE | Discrete | SemiSupervisedVAE, x: Tensor, y: Tensor | None) -> Likelihood:
        """The likelihood with constant heads, which start at the trained ones' mean output."""
        device = next((p.device for p in model.likelihood.parameters()), torch.device("cpu"))
        some, label = x[:CODES].to(device), None if y is None else y[:CODES].to(device)
        heads = {name: head for name, head in model.likelihood.named_modules() if isinstance(head, Head)}
        if not heads:
            raise ValueError(f"the likelihood {type(model.likelihood).__name__} has no networks.Head to fit")
        with torch.no_grad():
            label = filled_labels(model, some, label)
            label = label if label is None else label.to(device)
            z = model.encode(some, label)
            z = model.values_at(z) if isinstance(model, Discrete) else z
            features = model.likelihood.features(z, label)
            starts = {name: head.stacked(features).mean(0).cpu().double() for name, head in heads.items()}
        found = copy.deepcopy(model.likelihood).to("cpu", torch.float64).eval()
        self.code = torch.zeros_like(z[:1], dtype=torch.float64, device="cpu")
        self.any = None if y is not None or label is None else label[:1].cpu()  # a label that no constant looks at
        for parameter in found.parameters():
            parameter.requires_grad_(True)
        fixed = [module for module in found.modules() if isinstance(module, Head)]
        fixed += [module.network for module in found.modules() if isinstance(module, Likelihood)]
        for parameter in (parameter for module in fixed for parameter in module.parameters()):
            parameter.requires_grad_(False)
        for name, start in starts.items():
            owner, _, own = name.rpartition(".")
            head = found.get_submodule(name)
            constant = _Constant(head, start.expand(len(self.labels), *start.shape))  # type: ignore[arg-type]
            setattr(found.get_submodule(owner), own, constant.double())
        self.heads = [module for module in found.modules() if isinstance(module, _Constant)]
        return found

    def _log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        out = x.new_full((len(x),), math.nan)
        for index, label in enumerate(self.labels):
            given = self.any if label is None else torch.tensor([label])
            rows = torch.ones(len(x), dtype=torch.bool) if label is None or y is None else y == label
            if not rows.any():
                continue
            for head in self.heads:
                head.label = index
            out[rows] = self.likelihood(self.code, given).log_prob(x[rows])
        return out

    def _fit(self, x: Tensor, y: Tensor | None) -> None:
        """Maximum likelihood by L-BFGS on all rows; the best parameters met are kept."""
        parameters = [p for p in self.likelihood.parameters() if p.requires_grad]
        best, kept = math.inf, [p.detach().clone() for p in parameters]
        optimizer = torch.optim.LBFGS(
            parameters, max_iter=ROUNDS, max_eval=ROUNDS, tolerance_change=ENOUGH, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            nonlocal best, kept
            optimizer.zero_grad()
            loss = -self._log_prob(x, y).mean()
            if loss.isfinite():
                loss.backward()
                if loss.item() < best:
                    best, kept = loss.item(), [p.detach().clone() for p in parameters]
            return loss.item()

        with torch.enable_grad():
            optimizer.step(closure)
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data.copy_(value)


def gain(log_likelihood: Tensor, baseline: Tensor) -> tuple[float, float]:
    """Mean of log_likelihood - baseline, both (B,) of the same examples, and its standard error over them.

    Example:
        >>> gain(torch.tensor([-1.0, -3.0]), torch.tensor([-2.0, -4.0]))
        (1.0, 0.0)
    """
    difference = log_likelihood.double() - baseline.double()
    stderr = difference.std().item() / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
    return difference.mean().item(), stderr
