"""Closed-form KLs between Pyro's families that torch does not have; importing the module registers them.

Gamma(a, b) has E[log x] = psi(a) - log b and Var[log x] = psi'(a); LogNormal(m, s) has E[x] = exp(m + s^2 / 2).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Gamma, LogNormal
from torch.distributions.kl import register_kl


@register_kl(LogNormal, Gamma)
def _kl_log_normal_gamma(q: Any, p: Any) -> Tensor:
    a, b = p.concentration, p.rate
    log_p = a * b.log() - torch.lgamma(a) + (a - 1) * q.loc - b * (q.loc + q.scale.square() / 2).exp()
    return -q.entropy() - log_p


@register_kl(Gamma, LogNormal)
def _kl_gamma_log_normal(q: Any, p: Any) -> Tensor:
    log_x = torch.digamma(q.concentration) - q.rate.log()
    square = (torch.polygamma(1, q.concentration) + (log_x - p.loc).square()) / p.scale.square()
    return 0.5 * square + p.scale.log() + 0.5 * math.log(2 * math.pi) + log_x - q.entropy()
