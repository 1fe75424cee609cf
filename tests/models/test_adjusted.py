"""AdjustedVAE: HSIC by brute force, the penalty's objective, and what probes find in codes."""

import itertools
import json
import math

import pytest
import torch
from torch import nn

from ppl_vae import SVI, VAE, data, evaluation, likelihoods, models, networks, objectives, parts, posteriors, priors
from ppl_vae.models.adjusted import gaussian_kernel, hsic
from ppl_vae.networks import MLP, Conditioned, Label, Vector
from ppl_vae.training.capture import Captured

X = torch.rand(8, 6, generator=torch.Generator().manual_seed(11)).round()
Y = torch.tensor([0, 1, 2, 1, 0, 2, 2, 1])


def adjusted(condition=None, posterior=None, cls=models.AdjustedVAE):
    torch.manual_seed(0)
    condition = condition or Label(3)
    decoder = Conditioned(MLP(2 + condition.size, [5], "tanh"), condition)
    posterior = posterior or posteriors.Normal(MLP(6, [5], "tanh"), 2)
    return cls(priors.Normal(posterior.dim), posterior, likelihoods.Bernoulli(decoder, 6))


def test_hsic_by_brute_force():
    """The mean over all quadruples of different rows of k12 (l12 + l34 - 2 l13), its definition as a U-statistic."""
    torch.manual_seed(1)
    k, other = (gaussian_kernel(torch.randn(7, 2).double()) for _ in range(2))
    terms = [
        k[a, b] * (other[a, b] + other[c, d] - 2 * other[a, c]) for a, b, c, d in itertools.permutations(range(7), 4)
    ]
    assert torch.allclose(hsic(k, other), torch.stack(terms).mean(), atol=1e-12)


def test_unbiased_for_independent_rows_and_the_mmd_of_two_classes():
    """Mean 0 in standard errors over 400 batches; of two far classes it is MMD^2 p^2 q^2 / p q in the limit."""
    torch.manual_seed(1)
    y = torch.arange(40) % 2
    same = (y[:, None] == y).double()
    draws = torch.stack([hsic(gaussian_kernel(torch.randn(40, 2).double()), same) for _ in range(400)])
    assert abs(draws.mean()) < 4 * draws.std() / math.sqrt(400)
    z = torch.randn(2000, 1).double() * 0.1 + 3 * (torch.arange(2000) % 2)[:, None]
    y = torch.arange(2000) % 2
    k, same = gaussian_kernel(z), (y[:, None] == y).double()
    within, between = (k[::2, ::2].mean() + k[1::2, 1::2].mean()) / 2, k[::2, 1::2].mean()
    assert hsic(k, same).item() == pytest.approx((2 * (within - between) / 8).item(), rel=0.01)


@pytest.mark.parametrize("condition", [Label(3), Vector(), Vector(2)], ids=repr)
def test_dependence(condition):
    """About 0 of independent codes, about 1 of codes that are a copy of y, whatever their scale; differentiable."""
    torch.manual_seed(2)
    model = adjusted(condition)
    y = torch.randint(3, (300,)) if isinstance(condition, Label) else torch.randn(300, *condition.event)
    free, copied = torch.randn(300, 2, requires_grad=True), condition(y).float()
    assert abs(model.dependence(free, y)) < 0.03
    assert model.dependence(100 * copied, y) > 0.9 and model.dependence(copied, y) <= 1.001
    model.dependence(free, y).backward()
    assert free.grad.isfinite().all() and free.grad.abs().sum() > 0
    assert model.dependence(torch.zeros(300, 2), y) == 0 == model.dependence(free[:3], y[:3])
    assert model.dependence(free, y[:1].expand_as(y)).abs() < 1e-3  # one class only


def test_the_objective_by_hand_and_captured():
    model = adjusted()
    objective, plain = objectives.Adjusted(model, weight=7.0), SVI(model)
    objective(X, Y)  # validated
    plain(X, Y)
    torch.manual_seed(3)
    base = plain(X, Y)
    dependence = model.dependence(objective.codes(X, Y), Y)
    torch.manual_seed(3)
    loss = objective(X, Y)
    assert torch.allclose(loss.value, base.value + 7 * dependence) and torch.equal(loss.terms["dependence"], dependence)
    eager, captured = (objectives.Adjusted(adjusted(), weight=7.0) for _ in range(2))
    eager(X, Y)
    captured(X, Y)
    step = Captured(captured, (X, Y), compiled=False)
    torch.manual_seed(3)
    loss = eager(X, Y)
    loss.value.backward()
    torch.manual_seed(3)
    assert torch.equal(step((X, Y)).value, loss.value)
    for (name, a), b in zip(eager.named_parameters(), captured.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


def test_the_penalty_takes_y_out_of_codes():
    """Bright and dark pictures, where y is the brightness and the rest are stripes: y leaves z, the stripes stay."""
    torch.manual_seed(4)
    y, stripes = torch.randint(2, (240,)), torch.randint(2, (240,))
    x = 0.3 * torch.randn(240, 6) + 2.0 * y[:, None] + 2.0 * stripes[:, None] * torch.tensor([1.0, 0, 1, 0, 1, 0])
    left, kept = {}, {}
    for weight in (0.0, 20.0):
        torch.manual_seed(0)
        label = Label(2)
        model = models.AdjustedVAE(
            priors.Normal(2),
            posteriors.Normal(MLP(6, [16]), 2),
            likelihoods.Normal(Conditioned(MLP(2 + 2, [16]), label), 6, scale=0.3),
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        objective = objectives.Adjusted(model, weight=weight)
        for _ in range(120):
            optimizer.zero_grad()
            objective(x, y).value.backward()
            optimizer.step()
        left[weight] = evaluation.leakage(model, (x[:120], y[:120]), (x[120:], y[120:])).left
        z = evaluation.codes(model, x, y)
        kept[weight] = evaluation.linear_probe(z[:120], stripes[:120], z[120:], stripes[120:])
    assert left[0.0] > 0.8 and left[20.0] < 0.55 and kept[20.0] > 0.9, (left, kept)


def test_leakage_finds_what_is_there():
    """Codes that are y, codes that are noise, numbers, and a relation that only the nonlinear probe sees."""
    torch.manual_seed(5)
    plain = models.Autoencoder(nn.Identity(), nn.Identity(), 3, 3, "identity", code="identity")
    plain.encode = lambda x, y=None: x
    x, y = torch.randn(400, 3), torch.randint(3, (400,))

    def found(x, y):
        return evaluation.leakage(plain, (x[:300], y[:300]), (x[300:], y[300:]))

    copied = found(torch.eye(3)[y], y)
    assert copied.linear == copied.nonlinear == 1 and copied.left == 1
    noise = found(x, y)
    assert abs(noise.nonlinear - 1 / 3) < 4 * math.sqrt(2 / 9 / 100) and noise.left < 0.3
    assert noise.chance == (y[300:] == y[:300].bincount().argmax()).double().mean().item()
    squared = found(x, x[:, 0] ** 2)
    assert squared.linear < 0.1 and squared.nonlinear > 0.5 and squared.chance == 0
    assert found(x, x[:, :2] * 1000).linear > 0.999


def test_leakage_refuses():
    model, x = adjusted(), X
    with pytest.raises(ValueError, match="leakage needs y, but the train rows have none"):
        evaluation.leakage(VAE(model.prior, model.posterior, likelihoods.Bernoulli(MLP(2, [5]), 6)), x, (x, Y))
    with pytest.raises(ValueError, match="must hold at least two classes"):
        evaluation.leakage(model, (x, torch.zeros(8).long()), (x, Y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: adjusted(posterior=posteriors.OneHotCategorical(MLP(6, [5]), 2)), "posterior"),
        (
            lambda: adjusted(networks.Picture(3)),
            r"an AdjustedVAE needs y to be a networks.Label or Vector, not Picture",
        ),
        (
            lambda: models.AdjustedVAE(
                priors.Normal(2),
                posteriors.Normal(Conditioned(MLP(9, [5]), Label(3)), 2),
                likelihoods.Bernoulli(MLP(2, [5]), 6),
            ),
            "the likelihood of an AdjustedVAE must see y",
        ),
        (
            lambda: models.AdjustedVAE(
                priors.Given(priors.Normal(2), Label(3)),
                posteriors.Normal(MLP(6, [5]), 2),
                likelihoods.Bernoulli(Conditioned(MLP(5, [5]), Label(3)), 6),
            ),
            "the prior must be the same for every y, not Given",
        ),
        (lambda: objectives.Adjusted(adjusted(cls=models.CVAE)), "model must be a models.AdjustedVAE"),
        (lambda: objectives.Adjusted(adjusted(), weight=-1), "weight must be a finite number of at least 0"),
    ],
)
def test_refused(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()


def test_described_and_rebuilt():
    objective = objectives.Adjusted(adjusted(), weight=3.0)
    again = parts.build(json.loads(json.dumps(parts.describe(objective))))
    again.model.load_state_dict(objective.model.state_dict())
    assert again.weight == 3 and torch.equal(again.model.encode(X, Y), objective.model.encode(X, Y))
    assert data.as_split((X, Y)).labelled
