"""Contrastive divergence: mean F(x) - mean F(x'), x' data that k steps of Gibbs sampling made, held fixed.

Its gradient is the log-likelihood's with x' in place of draws of the model. In CD the steps start at the batch; in
persistent CD they continue the chains of the previous step. Grey levels of binary data are probabilities: x is
drawn from them, or every step keeps to means of the data given the codes, which has less noise but is no longer Gibbs
sampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_size
from ..models import RBM
from ..models.hooks import Machine
from ..parts import Recorded
from .loss import Loss
from .objective import Objective, Stage

if TYPE_CHECKING:
    from ..data import Split


class ContrastiveDivergence(Recorded, Objective):
    """The objective of an RBM. Only the gradient of the loss is meaningful; its value does not measure the fit.

    The terms do: the squared error of the mean-field reconstruction and, of binary draws, the pseudo-log-likelihood in
    nats, estimated from one entry of every example. Early stopping watches the squared error.

    Args:
        model: a ``models.RBM``.
        k: steps of Gibbs sampling.
        persistent: whether the steps go on from those before; in evaluation mode the chains stay where they are.
        chains: of persistent contrastive divergence.
        means: whether data stay means, for grey levels and for codes of a machine below; not with ``persistent``.

    Raises:
        TypeError: a model that is no RBM.
        ValueError: a number below 1, or persistent chains of means.

    Source: Hinton 2002; with means, Hinton and Salakhutdinov 2006; persistent, Tieleman 2008, "Training restricted
    Boltzmann machines using approximations to the likelihood gradient".

    Example:
        >>> from ppl_vae import models
        >>> loss = ContrastiveDivergence(models.RBM(4, 6), k=2)(torch.ones(5, 6))
        >>> loss.value.shape, [*loss.terms]
        (torch.Size([]), ['squared_error', 'pseudo_log_likelihood'])
    """

    model: RBM
    watch = ("squared_error", "min")
    chains: Tensor

    def __init__(
        self, model: RBM, k: int = 1, persistent: bool = False, chains: int = 100, means: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(model, RBM):
            raise TypeError(f"model must be a models.RBM, not {model!r}")
        if persistent and means:
            raise ValueError(
                "means is for steps that start at the data: with persistent=True it must be False, not True"
            )
        self.model, self.means = model, means
        self.k, self.persistent = check_size("k", k), persistent
        codes = self.model.code_bias.new_zeros(check_size("chains", chains), self.model.dim)
        if persistent:
            self.register_buffer("chains", self.model.draw_data(codes))

    @property
    def support(self) -> constraints.Constraint:
        """Constraint on one entry of the data."""
        return self.model.support

    def forward(self, x: Tensor, *_: Tensor) -> Loss:
        """Loss of a batch (x, ...); labels are not used."""
        start = torch.bernoulli(x) if self.model.visible == "bernoulli" and not self.means else x
        with torch.no_grad():
            made = self._made(start)
            if self.persistent and self.training:
                self.chains.copy_(made)
        value = self.model.free_energy(start).mean() - self.model.free_energy(made).mean()
        return Loss(value, self._terms(x, start))

    def _made(self, x: Tensor) -> Tensor:
        if not self.means:
            return self.model.gibbs(self.chains if self.persistent else x, self.k)
        for _ in range(self.k):
            x = self.model.decode(self.model.draw_code(x))
        return x

    @torch.no_grad()
    def _terms(self, x: Tensor, start: Tensor) -> dict[str, Tensor]:
        terms = {"squared_error": (x - self.model(x)).square().flatten(1).sum(1)}
        if self.model.visible == "bernoulli" and not self.means:
            terms["pseudo_log_likelihood"] = self.model.pseudo_log_likelihood(start)
        return terms


class OnCodes(Objective):
    """Contrastive divergence of a machine that sees the codes of the layers below in place of the data.

    Args:
        machine: of a ``models.DeepBeliefNet``.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.model = ContrastiveDivergence(machine.rbm, machine.k, means=True)  # of codes, where fit gives data

    @torch.no_grad()
    def start(self, train: Split) -> None:
        """Let the biases start at the mean code of the training data."""
        device = self.machine.rbm.weight.device
        total = sum(self.machine.below(x).sum(0) for x, *_ in train.batches(device=device))
        self.machine.start(torch.as_tensor(total) / len(train))

    def stages(self) -> list[Stage]:
        """One, after which the decoder gets the machine's weights."""
        return [Stage("", self, begin=self.start, end=lambda train: self.machine.finish())]

    def forward(self, x: Tensor, *_: Tensor) -> Loss:
        """Loss of a batch (x, ...)."""
        with torch.no_grad():
            codes = self.machine.below(x)
        return self.model(codes)
