"""Stochastic variational inference as an ``nn.Module``: -ELBO in mean nats per example, with beta as a handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.poutine import block, replay, trace
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from .. import randomness
from ..estimators import Enum, Estimator, MeanFieldELBO
from ..estimators.compatibility import check_estimator, check_programs
from ..estimators.plates import codes_of_single_data
from ..estimators.tracing import sites
from ..failing import in_own_file
from ..handlers import Beta, LocalParameters, check_beta, scale_latents
from ..models.protocols import Pair, is_pair
from ..parts import Recorded
from ..trials import trial
from .loss import Loss
from .objective import Objective

if TYPE_CHECKING:
    from ..models.protocols import PairModule


class SVI(Recorded, Objective):
    """The objective of a Pyro model and guide under an estimator.

    Args:
        model: ``models.VAE``, ``models.Program`` or any module with Pyro programs ``model`` and ``guide``.
        estimator: one of ``ppl_vae.estimators``, or an instance of Pyro's own ELBO classes; MeanFieldELBO by
            default, Enum for a model with labels to sum over.
        beta: scale of the latent sites: a number, or a schedule from the optimizer step to a number.

    Attributes:
        whole_data: why every batch must hold all the data, found by ``prepare``; None where it need not.

    Raises:
        TypeError: a model without programs, an estimator that is not a ``pyro.infer.ELBO``, or one of Pyro's that is
            silently wrong.
        ValueError: a negative beta, or one at which the estimator is not defined; on the first batch, programs that
            the estimator cannot take.

    Source: Hoffman et al. 2013; beta: Higgins et al. 2017.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> loss = SVI(vae, beta=4.0)(torch.ones(5, 6))
        >>> loss.value.shape, loss.terms["elbo"].shape
        (torch.Size([]), torch.Size([5]))
    """

    model: PairModule
    _beta: Tensor

    def __init__(self, model: nn.Module, estimator: ELBO | None = None, beta: Beta = 1.0) -> None:
        super().__init__()
        if not is_pair(model):
            raise TypeError(
                f"model must have Pyro programs model and guide, as models.VAE and models.Program do, not {model!r}"
            )
        if estimator is None:
            estimator = Enum() if isinstance(model, Pair) and model.enumerated else MeanFieldELBO()
        check_beta(beta.item() if isinstance(beta, Tensor) and beta.numel() == 1 else beta)
        check_estimator(estimator, beta)
        self.model = model
        self.estimator: Any = estimator
        self.beta: Beta = beta
        self.register_buffer("_beta", torch.tensor(float("nan")), persistent=False)
        self._validated = False
        self._plate: str | None = None
        self._messenger = False
        self.whole_data: str | None = None
        self._find_scheduled()
        self.at_step(0)

    @property
    def support(self) -> Any:
        """Constraint on one entry of the data, or None where the model does not say."""
        return getattr(self.model, "support", None)

    @property
    def watch(self) -> tuple[str, str] | None:  # type: ignore[override]
        """The loss, or the ELBO at beta = 1 while a schedule keeps changing the loss's meaning.

        None for a schedule under an estimator of Pyro's, which gives no ELBO at beta = 1.
        """
        if not callable(self.beta):
            return ("loss", "min")
        return ("elbo", "max") if isinstance(self.estimator, Estimator) else None

    def at_step(self, step: int) -> dict[str, float]:
        """Set a scheduled beta, and what the model's parts schedule, for an optimizer step; gives the beta in force."""
        for part in self._scheduled:
            part.at_step(step)
        if not callable(self.beta):
            return {"beta": float(self.beta)}
        beta = self.beta(step)
        check_beta(beta)
        self._beta.fill_(beta)
        return {"beta": float(beta)}

    def prepare(self, *batch: Tensor) -> None:
        """Create lazily found parameters of model and estimator by one run, and refuse combinations that do not work.

        The next step is validated again.

        Raises:
            ValueError: programs that fail on the batch, or do not go with the estimator, in one sentence.
        """
        self._validated = False
        try:
            for part in (self.model, self.estimator):
                if isinstance(part, Pair | Estimator):
                    with LocalParameters(), torch.random.fork_rng(devices=[]):
                        part.prepare(*batch)
            self._find_scheduled()
            if len(batch[0]):
                self._try(batch)
                self._look(batch)
        except (RuntimeError, IndexError, ValueError) as error:
            # Pyro's own words of shapes go over many lines.
            if isinstance(error, NotImplementedError) or (isinstance(error, ValueError) and "\n" not in str(error)):
                raise
            if in_own_file(error):  # which says more than our guess
                raise
            said = str(error).strip().split("\n")[0]
            raise ValueError(
                f"model and guide fail on a batch of {len(batch[0])} data ({type(error).__name__}: {said}); a program "
                "that takes batches writes pyro.plate('data', N, subsample_size=len(x)), another needs batch_size=N"
            ) from error

    def _try(self, batch: tuple[Tensor, ...]) -> None:
        """One trial loss without side effects, so that errors occur before anything is trained or written."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with randomness.isolated(0, batch[0].device):
                self(*batch)
        finally:
            for module, mode in modes:
                module.training = mode
            self._validated = False

    def _look(self, batch: tuple[Tensor, ...]) -> None:
        """Find the data plate, and the reason (if any) why every batch must hold all the data."""
        with trial(*batch):
            model, guide = (LocalParameters()(program) for program in self.programs())
            traced = sites(model, guide, batch, 1, marginal=True)
            own = codes_of_single_data(traced, list(self.model.parameters()))
        self._plate, self._messenger = traced.plate.name, any("prior" in s["infer"] for s in traced.guide.values())
        name, size = f"plate {traced.plate.name}", traced.plate.size
        outside = [site["name"] for site in (*traced.latent, *traced.drawn.values()) if not traced.is_local(site)]
        write = f"write pyro.plate({traced.plate.name or 'data'!r}, N, subsample_size=len(x)) with N the number of data"
        self.whole_data = None
        if traced.plate.name is None:
            self.whole_data = f"the model has no plate for its data; {write}"
        elif own is not None:
            self.whole_data = f"the guide has parameters of its own for each datum of site {own}, in the data's order"
        elif size != len(batch[0]):
            self.whole_data = f"{name} holds {size} of a batch of {len(batch[0])}; {write}"
        elif outside and size == traced.plate.full_size:
            self.whole_data = f"site {outside[0]} is outside {name}, whose size is that of the batch; {write}"

    def _find_scheduled(self) -> None:
        """The model's parts that schedule something, in a tuple, which does not register them a second time."""
        parts: list[Any] = [part for part in self.model.modules() if part is not self.model]
        self._scheduled = tuple(part for part in parts if callable(getattr(part, "at_step", None)))

    def programs(self) -> tuple[Any, ...]:
        """Model and guide, with beta in force."""
        return self.scaled(self.model.model, self.model.guide)

    def scaled(self, *programs: Callable[..., Any]) -> tuple[Any, ...]:
        """Programs with beta in force."""
        if not callable(self.beta) and not isinstance(self.beta, Tensor) and self.beta == 1:
            return programs
        beta = self._beta if callable(self.beta) else self.beta
        return tuple(scale_latents(program, beta) for program in programs)

    def forward(self, *batch: Tensor) -> Loss:
        """Loss of a batch (x,) or (x, y): the negative bound, and its terms at beta = 1.

        The first call is checked by Pyro's validation, later ones run without.
        """
        # Around each program, not the step: Pyro finds the plates behind a handler that hides those outside it.
        model, guide = (LocalParameters()(program) for program in self.programs())
        if not self._validated:
            check_programs(self.estimator, model, guide, batch)
            if not isinstance(self.estimator, Estimator):
                self._look(batch)
        with pyro.validation_enabled(not self._validated):
            self._validated = True
            if isinstance(self.estimator, Estimator):
                terms = self.estimator.terms(model, guide, *batch)
                reported = {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
                value = -(terms.scale * terms.surrogate).mean()
                return Loss(value, {name: term.detach() for name, term in reported.items()})
            counted = _Counted(self._plate)
            if self._messenger:  # which runs the model's observations in the guide; Pyro finds it only bare
                guide = block(guide, hide_fn=lambda msg: msg.get("type") == "sample" and bool(msg.get("is_observed")))
            value = self.estimator.differentiable_loss(counted(model), guide, *batch)
            return Loss(value / counted.n, {})

    @torch.no_grad()
    def diagnose(self, *batch: Tensor) -> str | None:
        """Name of the first site with a value or log-probability that is not finite, or None."""
        with pyro.validation_enabled(False), LocalParameters():
            guide: Any = trace(self.model.guide).get_trace(*batch)
            model: Any = trace(replay(self.model.model, trace=guide)).get_trace(*batch)
        for where, nodes in (("guide", guide.nodes), ("model", model.nodes)):
            for name, site in nodes.items():
                if site["type"] != "sample" or name == "data":
                    continue
                log_prob = site["fn"].log_prob(site["value"])
                if not (site["value"].isfinite().all() and log_prob.isfinite().all()):
                    return f"{name} of the {where}"
        return None


class _Counted(Messenger):
    """Records N, the full size of a program's data plate, while the program runs."""

    def __init__(self, plate: str | None) -> None:
        super().__init__()
        self.plate, self.n = plate, 1

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        for frame in msg["cond_indep_stack"] if type(msg["fn"]).__name__ != "_Subsample" else ():
            if frame.name == self.plate and frame.vectorized:
                size = frame.full_size or frame.size
                shape = msg["fn"].batch_shape
                self.n = size if size > 0 else max(self.n, shape[frame.dim] if len(shape) >= -frame.dim else 1)
