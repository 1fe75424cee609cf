"""What every part promises, checked over everything a folder exports: a new part is tested by being listed.

``make(folder, name)`` builds a tiny instance. Classes that follow the fixed constructor convention (``priors.X(dim)``,
``posteriors.X(network, dim)``, ``likelihoods.X(network, shape)``, ``networks.X(shape, hidden)``, ``estimators.X()``)
need no entry; the others get one in ``SPECIAL``.
"""

import copy
import importlib
import inspect
import json
import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch.distributions import biject_to

from ppl_vae import VAE, likelihoods, models, networks, parts, posteriors, priors

DIM, SHAPE, BATCH = 2, (1, 4, 4), 3

SPECIAL = {
    "networks.MLP": lambda: [networks.MLP(SHAPE, [5]), networks.MLP(DIM, [5, 4], "tanh"), networks.MLP(SHAPE, [])],
    "networks.ConvTranspose": lambda: [networks.ConvTranspose(DIM, [3, 2], (1, 5, 4))],
    "networks.ResNetTranspose": lambda: [networks.ResNetTranspose(DIM, [3, 2], (1, 5, 4))],
    "priors.Normal": lambda: [priors.Normal(DIM), priors.Normal(DIM, learned=True)],
    "likelihoods.Normal": lambda: (
        [
            likelihoods.Normal(networks.MLP(DIM, [5]), SHAPE, scale=scale)
            for scale in (0.5, 2, "learned", "pixel", "network")
        ]
        + [likelihoods.Normal(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE, scale="network")]
    ),
    "priors.Of": lambda: [],  # of any class: tests/priors/test_of.py
    "posteriors.Of": lambda: [],
    "likelihoods.Of": lambda: [],
    "models.VAE": lambda: [vae()],
    "models.Autoencoder": lambda: [
        models.Autoencoder(networks.MLP(SHAPE, [5]), networks.MLP(DIM, [5]), DIM, SHAPE),
        models.Autoencoder(networks.Conv(SHAPE, [3]), networks.Conv.decoder(DIM, [3], SHAPE), DIM, SHAPE, "identity"),
    ],
    "models.Program": lambda: [],  # made of the user's own functions: tests/models/test_program.py
}


def vae(dim=DIM, shape=SHAPE, prior=None, posterior=None, likelihood=None, hidden=(5,)):
    return VAE(
        prior or priors.Normal(dim),
        posterior or posteriors.Normal(networks.MLP(shape, hidden, "tanh"), dim),
        likelihood or likelihoods.Bernoulli(networks.MLP(dim, hidden, "tanh"), shape),
    )


def exported(folder):
    """Names of the classes that a folder lists."""
    module = importlib.import_module(f"ppl_vae.{folder}")
    return [name for name in module.__all__ if inspect.isclass(getattr(module, name))]


def make(folder, name):
    """Tiny instances of an exported class, the special cases and the convention."""
    if f"{folder}.{name}" in SPECIAL:
        return SPECIAL[f"{folder}.{name}"]()
    cls = getattr(importlib.import_module(f"ppl_vae.{folder}"), name)
    return {
        "networks": lambda: [cls(SHAPE, [3, 2])],
        "priors": lambda: [cls(DIM)],
        "posteriors": lambda: [cls(networks.MLP(SHAPE, [5]), DIM), cls(networks.Conv(SHAPE, [3]), DIM)],
        "likelihoods": lambda: [
            cls(networks.MLP(DIM, [5]), SHAPE),
            cls(networks.Conv.decoder(DIM, [3], SHAPE), SHAPE),
            cls(networks.MLP(DIM, [5]), 3),
        ],
        "estimators": lambda: [cls(), cls(num_particles=2)],
    }[folder]()


def every(folder):
    """pytest parameters: every tiny instance of everything a folder exports, made anew for every test."""
    out = []
    for name in exported(folder):
        torch.manual_seed(0)
        out += [(name, i) for i in range(len(make(folder, name)))]
    return out


def instance(folder, case):
    torch.manual_seed(0)
    return make(folder, case[0])[case[1]]


def check_prior(prior):
    p = prior()
    assert p.event_shape == (prior.dim,) and p.batch_shape in {(), (BATCH,)}
    assert prior(torch.zeros(BATCH, dtype=torch.long)).event_shape == (prior.dim,)
    for lead in ((), (BATCH,), (4, BATCH)):
        z = p.sample(lead)
        assert z.shape == (*lead, *p.batch_shape, prior.dim)
        assert prior.support.check(z).all()
        assert p.log_prob(z).isfinite().all() and p.log_prob(z).shape == (*lead, *p.batch_shape)
    _normalised(type(prior)(1)(), prior.support)
    _gradients(prior, lambda: p.log_prob(p.sample((BATCH,)) + 0.1).sum())
    _module(prior, lambda part: part().log_prob(torch.full((DIM,), 0.3).to(_dtype(part))))


def check_posterior(posterior):
    x = torch.rand(BATCH, *SHAPE)
    q = posterior(x)
    assert q.batch_shape == (BATCH,) and q.event_shape == (posterior.dim,)
    assert posterior(torch.rand(4, BATCH, *SHAPE)).batch_shape == (4, BATCH)
    z = q.rsample((4,)) if q.has_rsample else q.sample((4,))
    assert z.shape == (4, BATCH, posterior.dim) and posterior.support.check(z.detach()).all()
    assert q.log_prob(z).shape == (4, BATCH) and q.log_prob(z).isfinite().all()
    _normalised(_first(type(posterior)(networks.MLP(2, [3]), 1)(torch.ones(1, 2))), posterior.support)
    _gradients(posterior, lambda: posterior(x).log_prob(z.detach()).sum())
    _module(posterior, lambda part: part(x.to(_dtype(part))).log_prob(z[0].detach().to(_dtype(part))))
    _rows_independent(lambda part: posterior(part).log_prob(z[0, : len(part)].detach()), x)


def check_likelihood(likelihood):
    z = torch.randn(BATCH, DIM)
    p = likelihood(z)
    assert p.batch_shape == (BATCH,) and tuple(p.event_shape) == likelihood.shape
    for lead in ((), (BATCH,), (4, BATCH), (2, 4, BATCH)):
        assert likelihood(torch.randn(*lead, DIM)).batch_shape == lead
    x = p.sample()
    assert likelihood.support.check(x).all() and p.log_prob(x).isfinite().all()
    assert p.mean.shape == x.shape
    _gradients(likelihood, lambda: likelihood(z).log_prob(x).sum())
    _module(likelihood, lambda part: part(z.to(_dtype(part))).log_prob(x.to(_dtype(part))))
    _rows_independent(lambda part: likelihood(part).log_prob(x[: len(part)]), z)
    _leading_dimensions(lambda part: likelihood(part).mean, torch.randn(2, BATCH, DIM), 1)
    likelihood.eval()
    mean = likelihood.support.check(torch.tensor(0.5)) and 0.5 or 0.25
    assert likelihood.start_at(torch.full(likelihood.shape, mean)) is likelihood
    bias = likelihood.head.bias()
    assert torch.allclose(bias, likelihood.unconstrain(torch.full_like(bias, mean)))


def check_network(network):
    x = torch.rand(2, BATCH, *network.in_shape)
    assert network(x).shape == (2, BATCH, *network.out_shape)
    assert network(x[0]).shape == (BATCH, *network.out_shape)
    _leading_dimensions(network, x, len(network.in_shape))
    network.eval()
    assert torch.allclose(network(x[0, 0]), network(x)[0, 0], atol=1e-5)
    if list(network.parameters()):
        _gradients(network, lambda: network.train()(x).square().sum())
    _module(network, lambda part: part(x.to(_dtype(part))))
    _raises_shape(network)


def check_estimator(estimator):
    model = vae()
    x = torch.rand(BATCH, *SHAPE).bernoulli()
    terms = estimator.terms(model.model, model.guide, x)
    for name in ("surrogate", "elbo", "reconstruction", "kl"):
        assert getattr(terms, name).shape == (BATCH,), name
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl, atol=1e-5)
    torch.manual_seed(1)
    loss = estimator.differentiable_loss(model.model, model.guide, x)
    torch.manual_seed(1)
    terms = estimator.terms(model.model, model.guide, x)
    assert torch.allclose(loss, -terms.surrogate.sum())
    model.zero_grad()
    estimator.loss_and_grads(model.model, model.guide, x)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    torch.manual_seed(1)
    assert math.isclose(estimator.loss(model.model, model.guide, x), loss.item(), rel_tol=1e-6)
    again = parts.build(json.loads(json.dumps(parts.describe(estimator))))
    assert type(again) is type(estimator) and again.arguments == estimator.arguments
    assert copy.deepcopy(estimator).num_particles == estimator.num_particles
    pyro.clear_param_store()


def check_model(model):
    model.eval()
    x = torch.rand(BATCH, *model.shape).bernoulli()
    if hasattr(model, "guide"):
        check_program(model, x)
    else:
        assert model.encode(x).shape == (BATCH, model.dim)
        assert model.decode(model.encode(x)).shape == x.shape == model(x).shape
        assert model.decode(torch.randn(4, BATCH, model.dim)).shape == (4, *x.shape)
        assert model.support.check(model(x)).all()
        _gradients(model, lambda: model(x).square().sum())
    _module(model, lambda part: _output(part, x.to(_dtype(part))))
    pyro.clear_param_store()


def check_program(model, x):
    guide = poutine.trace(model.guide).get_trace(x)
    trace = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x)
    assert {"z"} <= set(guide.stochastic_nodes) and trace.nodes["x"]["is_observed"]
    trace.compute_log_prob()
    assert trace.nodes["z"]["log_prob"].shape == trace.nodes["x"]["log_prob"].shape == (len(x),)
    assert [f.name for f in trace.nodes["x"]["cond_indep_stack"]] == ["data"]
    assert model.model(n=4).shape == (4, *model.shape)
    _gradients(model, lambda: trace.log_prob_sum() + guide.log_prob_sum())


def _output(model, x):
    if not hasattr(model, "guide"):
        return model(x)
    q = model.posterior(x)
    z = q.mean
    return model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)


def _dtype(part):
    return next((t.dtype for t in [*part.parameters(), *part.buffers()] if t.is_floating_point()), torch.float32)


def _normalised(p, support):
    """log_prob of a 1-d code integrates to 1 over the support."""
    u = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None]
    transform = biject_to(support)
    z = transform(u)
    log_jacobian = transform.log_abs_det_jacobian(u, z).reshape(len(u), -1).sum(-1)
    density = (p.log_prob(z.float()).double().reshape(-1) + log_jacobian).exp()
    assert abs(torch.trapezoid(density, u[:, 0]).item() - 1) < 1e-3


def _first(p):
    return p.expand((1,))


def _gradients(part, scalar):
    """Every parameter has a finite gradient, and at least one entry of it is not 0."""
    if not list(part.parameters()):
        return
    part.zero_grad()
    scalar().backward()
    for name, p in part.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        # The bias in front of a batch normalisation is the one parameter that cannot matter.
        assert p.grad.abs().sum() > 0 or name.endswith("bias"), name


def _module(part, output):
    """State, description, copies and moves of a module; ``output(part)`` is deterministic."""
    part.eval()
    expected = output(part).detach()
    record = json.loads(json.dumps(parts.describe(part)))
    again = parts.build(record).eval()
    assert type(again) is type(part) and parts.describe(again) == record
    again.load_state_dict(part.state_dict())
    assert torch.equal(output(again), expected)
    assert type(part).__name__ in repr(part)
    clone = copy.deepcopy(part)
    assert torch.equal(output(clone), expected)
    with torch.no_grad():
        for p in clone.parameters():
            p.add_(1.0)
    assert torch.equal(output(part), expected)
    assert not {id(p) for p in clone.parameters()} & {id(p) for p in part.parameters()}
    double = output(copy.deepcopy(part).to(torch.float64))
    if list(part.parameters()) or list(part.buffers()):
        assert double.dtype == torch.float64
    assert torch.allclose(double.float(), expected, rtol=1e-3, atol=1e-4)


def _rows_independent(output, x):
    """In evaluation mode an example's result does not depend on its neighbours."""
    assert torch.allclose(output(x)[:1], output(x[:1]), atol=1e-5)


def _leading_dimensions(output, x, event_dim):
    """(2, B, *event) gives what 2B events give in one batch, in training mode too."""
    folded = output(x.flatten(0, 1))
    assert torch.allclose(output(x), folded.reshape(*x.shape[:2], *folded.shape[1:]), atol=1e-5)


def _raises_shape(network):
    try:
        network(torch.rand(BATCH, *(size + 1 for size in network.in_shape)))
    except ValueError as error:
        assert str(network.in_shape) in str(error)
    else:
        raise AssertionError("a wrong shape was taken")


class LinearGaussian(torch.nn.Module):
    """z ~ N(0, I), x | z ~ N(W z + b, s^2 I), q(z | x) = N(A x + c, diag t^2), with everything in closed form."""

    def __init__(self, dim=2, size=3, noise=0.7):
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.w = torch.nn.Parameter(torch.randn(size, dim, generator=draw))
        self.b = torch.nn.Parameter(torch.randn(size, generator=draw))
        self.a = torch.nn.Parameter(0.4 * torch.randn(dim, size, generator=draw))
        self.c = torch.nn.Parameter(torch.randn(dim, generator=draw))
        self.t = torch.nn.Parameter(0.5 + torch.rand(dim, generator=draw))
        self.s = noise

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(z @ self.w.T + self.b, self.s).to_event(1), obs=x)

    def prior(self, x):
        return dist.Normal(x.new_zeros(self.w.shape[1]), 1.0).to_event(1)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.a.T + self.c, self.t).to_event(1))

    def terms(self, x):
        """Exact reconstruction and KL, (B,) each."""
        mean = x @ self.a.T + self.c
        squared = (x - mean @ self.w.T - self.b).square().sum(-1) + (self.t**2 * self.w.square().sum(0)).sum()
        reconstruction = -squared / (2 * self.s**2) - 0.5 * x.shape[1] * math.log(2 * math.pi * self.s**2)
        kl = 0.5 * (mean.square() + self.t**2 - 1 - 2 * self.t.log()).sum(-1)
        return reconstruction, kl

    def log_likelihood(self, x):
        """Exact log p(x), (B,)."""
        covariance = self.w @ self.w.T + self.s**2 * torch.eye(len(self.b)).to(self.w)
        return dist.MultivariateNormal(self.b, covariance).log_prob(x)

    def gradient(self, scalar):
        """One flat gradient of ``scalar``, zeros where it has none."""
        ps = list(self.parameters())
        gradients = torch.autograd.grad(scalar, ps, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(ps, gradients, strict=True)]
        )


def within(draws, expected, errors=4.0):
    """The mean of draws (R, ...) is within so many of its standard errors of ``expected``; not vacuously."""
    draws = torch.as_tensor(draws).double()
    mean, error = draws.mean(0), draws.std(0) / math.sqrt(len(draws))
    off = (mean - torch.as_tensor(expected).double()).abs()
    assert (off <= errors * error + 1e-5 * (1 + off.abs())).all(), (mean, expected, error)
