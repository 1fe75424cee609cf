import itertools
import math

import pytest
import torch

from ppl_vae import SVI, VAE, data, fit, networks, posteriors, priors
from ppl_vae.likelihoods import Columns

NAN = math.nan
KINDS = {
    "r": "real",
    "p": "positive",
    "c": "count",
    "b": "binary",
    "k": "categorical(3)",
    "o": "ordinal(4)",
    "r2": "real",
}
MEAN = torch.tensor([700.0, 30.0, 12.0, 0.3, 1.0, 1.5, 0.0])
STD = torch.tensor([300.0, 20.0, 6.0, 0.4, 0.8, 1.0, 1.0])


@pytest.fixture
def columns():
    torch.manual_seed(0)
    return Columns(networks.MLP(2, [5], "tanh"), 7, KINDS).start_at(MEAN, STD)


def only(columns, i, values):
    """Log-probabilities of column i at ``values``, the others missing."""
    x = torch.full((len(values), 7), NAN, dtype=torch.float64)
    x[:, i] = values.double()
    return columns.double()(torch.tensor([[0.4, -0.7]], dtype=torch.float64)).log_prob(x)


def test_every_kind_is_normalised(columns):
    grid = torch.linspace(-3000, 5000, 40001, dtype=torch.float64)
    assert torch.trapezoid(only(columns, 0, grid).exp(), grid).item() == pytest.approx(1, abs=1e-6)
    logs = torch.linspace(-8, 14, 20001, dtype=torch.float64)
    density = only(columns, 1, logs.exp()) + logs
    assert torch.trapezoid(density.exp(), logs).item() == pytest.approx(1, abs=1e-6)
    for i, most in ((2, 3000), (3, 2), (4, 3), (5, 4)):
        assert only(columns, i, torch.arange(most)).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_start_is_at_the_data(columns):
    with torch.no_grad():
        columns.head.layer.weight.zero_()
    p = columns(torch.zeros(1, 2)).base
    assert torch.allclose(p.mean[0, :4], MEAN[:4], rtol=1e-2)
    assert torch.allclose(p.variance[0, :3].sqrt(), STD[:3], rtol=2e-2)
    assert torch.allclose(p.level_probs(4)[0, 5], torch.full((4,), 0.25), atol=0.01)


def test_counts_start_at_their_over_dispersion_but_not_far_above_what_the_code_leaves():
    mean, excess = torch.tensor([4.0, 4.0, 4.0]), torch.tensor([0.3, 1.0, 15.0])
    counts = Columns(networks.MLP(2, []), 3, dict.fromkeys(range(3), "count"))
    counts.start_at(mean, (mean + excess * mean.square()).sqrt())
    torch.nn.init.zeros_(counts.head.layer.weight)
    p = counts(torch.zeros(1, 2)).base
    found = ((p.variance - p.mean) / p.mean.square())[0]
    assert torch.allclose(found, torch.tensor([0.3, 1.0, 1.0]), rtol=1e-3)


def test_a_step_of_adam_moves_any_dispersion_by_the_same_factor():
    """With softplus a dispersion of 15 moved by the factor 1 + lr / 15: it stayed where it started."""
    counts = Columns(networks.MLP(2, []), 3, dict.fromkeys(range(3), "count"))
    start = torch.tensor([0.05, 1.0, 15.0])
    with torch.no_grad():
        counts.log_count.copy_(start.log())
    optimizer = torch.optim.Adam([counts.log_count], lr=1e-3)
    (-counts(torch.zeros(200, 2)).log_prob(torch.ones(200, 3))).sum().backward()  # under-dispersed: all fall
    optimizer.step()
    assert torch.allclose(counts.log_count.detach().exp(), start * math.exp(-1e-3), rtol=1e-5)


def test_a_missing_entry_is_the_product_without_that_column(columns):
    z = torch.randn(3, 2)
    x = columns(z).sample()
    entries = columns(z).base.entry_log_prob(x)
    for gone in itertools.chain.from_iterable(itertools.combinations(range(7), n) for n in (1, 2, 7)):
        seen = [i for i in range(7) if i not in gone]
        part = x.clone()
        part[:, list(gone)] = NAN
        assert torch.allclose(columns(z).log_prob(part), entries[:, seen].sum(1), atol=1e-5)
    summed = torch.stack(
        [columns(z).log_prob(torch.cat([x[:, :4], torch.full((3, 1), k), x[:, 5:]], 1)) for k in range(3)]
    )
    marginal = x.clone()
    marginal[:, 4] = NAN
    assert torch.allclose(summed.logsumexp(0), columns(z).log_prob(marginal), atol=1e-5)


@pytest.mark.parametrize("i", range(7))
def test_gradients_never_reach_a_missing_entry(columns, i):
    z = torch.randn(3, 2)
    x = columns(z).sample()
    out = {}
    for case in ("whole", "missing"):
        raw = []
        hook = columns.head.register_forward_hook(lambda *a, raw=raw: raw.append(a[2][0]) or a[2][0].retain_grad())
        columns.zero_grad()
        columns(z).log_prob(x).sum().backward()
        hook.remove()
        out[case] = raw[0].grad
        x[:, i] = NAN
    widths = [2, 1, 1, 1, 3, 1]  # of the head, kind by kind
    group = "rpcbko".index([*KINDS][i][0])
    start = sum(widths[:group]) + (1 if i == 6 else 0)
    mine = range(start, start + (1 if i in (0, 6) else widths[group]))
    changed = (out["whole"] != out["missing"]).any(0).nonzero().flatten().tolist()
    assert set(changed) <= set(mine) and (out["missing"][:, list(mine)] == 0).all() and changed
    assert out["missing"].isfinite().all()


def test_extreme_values_and_codes_are_finite(columns):
    rows = [[1e6, 1e-30, 0, 0, 0, 0, -1e6], [-1e6, 1e8, 1e6, 1, 2, 3, 1e6]]
    z = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
    for row in rows:
        columns.zero_grad()
        value = columns(z).log_prob(torch.tensor([row, row], dtype=torch.float32))
        value.sum().backward()
        assert value.isfinite().all() and all(p.grad.isfinite().all() for p in columns.parameters())


def test_units_do_not_matter():
    """A column in other units gives the same fit, its density shifted by the logarithm of the units."""
    torch.manual_seed(0)
    x = torch.randn(64, 1) @ torch.randn(1, 3) + 0.3 * torch.randn(64, 3)
    ends = []
    for unit in (1.0, 1000.0):
        scaled = data.as_split(x * unit)
        torch.manual_seed(1)
        encoder = networks.TableEncoder(3, [8]).start_at(scaled.mean(), scaled.std())
        likelihood = Columns(networks.MLP(1, [8]), 3).start_at(scaled.mean(), scaled.std())
        vae = VAE(priors.Normal(1), posteriors.Normal(encoder, 1), likelihood)
        history = fit(SVI(vae), scaled, epochs=5, lr=1e-2, progress=False)
        ends.append(history.rows[-1]["train"]["elbo"] + 3 * math.log(unit))
    assert ends[0] == pytest.approx(ends[1], abs=1e-2)


def test_errors():
    network = networks.MLP(2, [4])
    with pytest.raises(ValueError, match="one dimension, not \\(1, 4, 4\\)"):
        Columns(network, (1, 4, 4))
    with pytest.raises(ValueError, match="'city' no number of levels: write categorical\\(L\\)"):
        Columns(network, 1, {"city": "categorical"})
    with pytest.raises(ValueError, match="kinds names 5, not a column"):
        Columns(network, 3, {5: "real"})
    assert Columns(network, 2, {0: "count", 1: "binary"}).mass and not Columns(network, 2, {0: "count"}).mass


def test_an_empty_column_does_no_harm():
    torch.manual_seed(0)
    x = torch.full((40, 6), NAN)
    x[:, 0] = torch.rand(40)
    kinds = ["real", "positive", "count", "binary", "categorical(2)", "ordinal(2)"]
    split = data.as_split(x)
    for order in (kinds, kinds[1:] + kinds[:1]):
        mapping = dict(enumerate(order))
        encoder = networks.TableEncoder(6, [4], kinds=mapping).start_at(split.mean(), split.std())
        likelihood = Columns(networks.MLP(1, [4]), 6, mapping).start_at(split.mean(), split.std())
        vae = VAE(priors.Normal(1), posteriors.Normal(encoder, 1), likelihood)
        here = split if order is kinds else data.as_split(x + 0.1)
        assert math.isfinite(fit(SVI(vae), here, epochs=1, progress=False).rows[-1]["train"]["elbo"])
        assert likelihood(torch.randn(5, 1)).base.mean.isfinite().all()
