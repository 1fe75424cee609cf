import pyro.distributions as dist
import torch
from torch.distributions import constraints

from ppl_vae.distributions.product import Codes, Product, ordered_logits


def test_entries_go_to_their_own_group():
    mean, probs = torch.randn(5, 2), torch.rand(5, 1)
    p = Product([dist.Normal(mean, 2.0), dist.Bernoulli(probs)], torch.tensor([0, 2, 1]), constraints.real)
    x = torch.tensor([0.3, 1.0, -2.0]).expand(5, 3)
    parts = [dist.Normal(mean[:, 0], 2.0).log_prob(x[:, 0]), dist.Bernoulli(probs[:, 0]).log_prob(x[:, 1])]
    parts.append(dist.Normal(mean[:, 1], 2.0).log_prob(x[:, 2]))
    assert torch.equal(p.entry_log_prob(x), torch.stack(parts, 1))
    assert torch.equal(p.mean, torch.stack([mean[:, 0], probs[:, 0], mean[:, 1]], 1))
    assert torch.equal(p.expand((4, 5)).log_prob(x), p.log_prob(x).expand(4, 5))
    assert p.level_probs(3)[0].tolist() == [
        [0] * 3,
        [*torch.stack([1 - probs[0, 0], probs[0, 0]]).tolist(), 0],
        [0] * 3,
    ]


def test_ordered_logits_are_differences_of_sigmoids_and_stay_finite():
    cuts = torch.tensor([[-1.0, 0.5, 2.0], [0.0, 1.0, 9.0]], dtype=torch.float64)
    centre = torch.randn(6, 2, dtype=torch.float64)
    got = ordered_logits(centre, cuts, torch.tensor([4, 3])).exp()
    below = (cuts - centre[..., None]).sigmoid()
    below[:, 1, 2] = 1.0
    edges = torch.cat([torch.zeros(6, 2, 1), below, torch.ones(6, 2, 1)], -1)
    assert torch.allclose(got, edges.diff(dim=-1), atol=1e-12)
    far = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    logits = ordered_logits(far, torch.tensor([[0.0, 1e-3]]), torch.tensor([3]))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert far.grad.isfinite().all()


def test_codes_without_order_have_no_mean_but_a_mode():
    logits = torch.tensor([0.5, 0.2, 0.3]).log()
    plain, ordered = Codes(logits, False), Codes(logits, True)
    assert plain.mean == plain.mode == 0 and torch.isclose(plain.variance, torch.tensor(0.5))
    assert torch.isclose(ordered.mean, torch.tensor(0.8))
    assert torch.isclose(ordered.variance, torch.tensor(0.2 + 1.2 - 0.64))
    assert Codes(torch.tensor([0.0, -torch.inf]), False).sample((100,)).sum() == 0
