"""Closed-form KL from a correlated to a factorised Normal, missing in torch; importing the module registers it.

KL(N(m, S) || N(a, diag b^2)) = -H(N(m, S)) - sum_j [log N(m_j; a_j, b_j^2) - S_jj / (2 b_j^2)]
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal, register_kl


@register_kl(MultivariateNormal, Independent)
@register_kl(LowRankMultivariateNormal, Independent)
def _kl_correlated_factorised(p: MultivariateNormal | LowRankMultivariateNormal, q: Independent) -> Tensor:
    base = q.base_dist
    if not isinstance(base, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    return -p.entropy() - (base.log_prob(p.mean) - p.variance / (2 * base.scale.square())).sum(-1)
