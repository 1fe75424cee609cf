"""What every part promises, checked on tiny instances of everything a folder exports (``instances``)."""

import copy
import itertools
import json
import math

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from instances import BATCH, DIM, DISCRETE, SHAPE, vae
from pyro import poutine
from torch import nn

from ppl_vae import (
    likelihoods,
    models,
    networks,
    parts,
    posteriors,
    priors,
    supports,
)


def check_prior(prior):
    p = prior()
    dim = prior.dim
    assert p.event_shape == (dim,) and p.batch_shape in {(), (BATCH,)}
    assert prior(torch.zeros(BATCH, dtype=torch.long)).event_shape == (dim,)
    for lead in ((), (BATCH,), (4, BATCH)):
        z = p.sample(lead)
        assert z.shape == (*lead, *p.batch_shape, dim)
        assert prior.support.check(z).all()
        assert p.log_prob(z).isfinite().all() and p.log_prob(z).shape == (*lead, *p.batch_shape)
    _expands(p)
    normalised(copy.deepcopy(prior).double()(), prior.support)
    z = p.sample((7,)).detach()  # so many classes cannot be drawn equally often, where the gradient is 0
    _gradients(prior, lambda: prior().log_prob(z).sum())
    _module(prior, lambda part: part().log_prob(_cast(z, part)))


def check_posterior(posterior):
    x = torch.rand(BATCH, *SHAPE)
    q = posterior(x)
    assert q.batch_shape == (BATCH,) and q.event_shape == (posterior.dim,)
    assert posterior(torch.rand(4, BATCH, *SHAPE)).batch_shape == (4, BATCH)
    z = q.rsample((4,)) if q.has_rsample else q.sample((4,))
    assert z.shape == (4, BATCH, posterior.dim) and posterior.support.check(z.detach()).all()
    assert q.log_prob(z).shape == (4, BATCH) and q.log_prob(z).isfinite().all()
    _expands(q)
    z = z.detach()
    normalised(copy.deepcopy(posterior).double()(x[:1].double()), posterior.support)
    _gradients(posterior, lambda: posterior(x).log_prob(z).sum())
    if q.has_rsample:
        weights = torch.arange(1.0, posterior.dim + 1)  # a plain sum of the entries is constant on the simplex
        _gradients(posterior, lambda: (posterior(x).rsample((4,)) * weights).square().sum())
    _module(posterior, lambda part: part(x.to(_dtype(part))).log_prob(_cast(z[0], part)))
    _rows_independent(lambda part: posterior(part).log_prob(z[0, : len(part)]), x)


def check_likelihood(likelihood):
    z = torch.randn(BATCH, DIM)
    p = likelihood(z)
    assert p.batch_shape == (BATCH,) and tuple(p.event_shape) == likelihood.shape
    for lead in ((), (BATCH,), (4, BATCH), (2, 4, BATCH)):
        assert likelihood(torch.randn(*lead, DIM)).batch_shape == lead
    x = p.sample()
    assert likelihood.support.check(x).all() and p.log_prob(x).isfinite().all()
    assert p.mean.shape == x.shape
    assert likelihood.mass or not likelihood.support.is_discrete
    _expands(p)
    if p.event_shape == (1,) and likelihood.entrywise:
        normalised(copy.deepcopy(likelihood).double()(z[:1].double()), likelihood.support)
    _gradients(likelihood, lambda: likelihood(z).log_prob(x).sum())
    _module(likelihood, lambda part: part(z.to(_dtype(part))).log_prob(_cast(x, part)))
    _rows_independent(lambda part: likelihood(part).log_prob(x[: len(part)]), z)
    _leading_dimensions(lambda part: likelihood(part).mean, torch.randn(2, BATCH, DIM), 1)
    likelihood.eval()
    assert likelihood.start_at(x.mean(0), x.std(0)) is likelihood
    assert likelihood(z).log_prob(x).isfinite().all()
    if type(likelihood).start_at is likelihoods.Likelihood.start_at:
        likelihood.start_at(x.mean(0))
        target = likelihood.unconstrain(x.mean(0))
        target = target.mean((-2, -1), keepdim=True) if likelihood.head.spatial else target
        assert torch.allclose(likelihood.head.bias(), target)


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
    if type(estimator).__name__ in DISCRETE:
        model = vae(prior=priors.Bernoulli(DIM), posterior=posteriors.Bernoulli(networks.MLP(SHAPE, (5,)), DIM))
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
    elif isinstance(model, models.Discrete):
        check_discrete(model, x)
    else:
        assert isinstance(model, models.Codec) and model.code_shape == (model.dim,)
        assert model.encode(x, torch.zeros(BATCH)).shape == (BATCH, *model.code_shape)
        assert model.code_support.check(model.encode(x)).all()
        assert model.decode(model.encode(x), torch.zeros(BATCH), like=x).equal(model(x))
        assert model.decode(model.encode(x)).shape == x.shape == model(x).shape
        assert model.decode(torch.randn(4, BATCH, model.dim)).shape == (4, *x.shape)
        assert model.support.check(model(x)).all()
        _gradients(model, lambda: model(x).square().sum())
        if isinstance(model, models.Reconstructs):
            check_penalised(model, x)
    _module(model, lambda part: _output(part, x.to(_dtype(part))))
    pyro.clear_param_store()


def check_discrete(model, x):
    """Codes are whole numbers that likelihood and prior take; every parameter gets a gradient in its stage."""
    found, codes = model.quantize(x), model.encode(x)
    assert codes.shape == (BATCH, *model.code_shape) and codes.dtype == torch.long and torch.equal(found.codes, codes)
    assert model.code_support.check(codes).all() and model.prior().support.check(codes).all()
    assert torch.allclose(model.values_at(codes), found.values, atol=1e-5)
    assert torch.allclose(model.decode(codes), model(x), atol=1e-5) and model(x).shape == x.shape
    assert model.decode(codes.float(), torch.zeros(BATCH), like=x).shape == x.shape
    drawn = model.prior().sample((4, BATCH))
    assert model.decode(drawn).shape == (4, *x.shape) and model.decode(drawn).isfinite().all()
    assert torch.allclose(model.decode(drawn)[2], model.decode(drawn[2]), atol=1e-5)
    assert len(model.levels) == len(model.grids) and {level.num_codes for level in model.levels} == {model.num_codes}
    own = nn.ModuleDict({name: part for name, part in model.named_children() if name != "prior"})
    model.train()
    _gradients(own, lambda: _trained(model, x))
    _gradients(model.prior, lambda: model.prior().log_prob(codes).sum())
    model.eval()


def _trained(model, x):
    found = model.quantize(x)
    return model.cost(found) - model.likelihood(found.values).log_prob(x).mean()


def check_penalised(model, x):
    """In evaluation mode the penalised pass reconstructs as a call does; penalties are finite and have gradients."""
    out, costs = model.penalised(x)
    assert torch.allclose(out, model(x), atol=1e-6)
    model.train()
    out, costs = model.penalised(x)
    assert out.shape == x.shape and out.isfinite().all()
    for cost in costs.values():
        assert cost.shape in {(), (len(x),)} and cost.isfinite().all() and (cost >= 0).all()
        model.zero_grad()
        cost.sum().backward(retain_graph=True)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert grads and all(g.isfinite().all() for g in grads)
    model.eval()


def check_penalty(penalty):
    """On an autoencoder a penalty keeps activations' shapes, and its costs are finite and not negative."""
    encoder, decoder = networks.MLP(SHAPE, (5,), "sigmoid"), networks.MLP(DIM, (5,))
    ae = models.Autoencoder(encoder, decoder, DIM, SHAPE, code="sigmoid", penalty=penalty)
    a = torch.rand(BATCH, 5)
    assert penalty.restrict(a).shape == a.shape
    out, costs = ae.penalised(torch.rand(BATCH, *SHAPE))
    assert out.shape == (BATCH, *SHAPE) and set(costs) <= {penalty.term}
    for cost in costs.values():
        assert cost.shape in {(), (BATCH,)} and cost.isfinite().all() and (cost >= 0).all() and cost.requires_grad
    _module(penalty, lambda part: part.restrict(a.to(torch.float32)))


def check_corruption(corruption):
    x = torch.rand(BATCH, *SHAPE)
    before = x.clone()
    assert corruption(x).shape == x.shape and corruption(x).dtype == x.dtype
    assert not torch.equal(corruption(x), x) and torch.equal(x, before)

    def seeded(part):
        torch.manual_seed(1)
        return part(x)

    _module(corruption, seeded)


def check_quantizer(quantizer):
    """Any leading dimensions, codes in range, values that the codes stand for, gradients that pass, learning."""
    dim, shape = quantizer.dim, quantizer.code_shape
    z = torch.randn(4, BATCH, dim)
    expected = copy.deepcopy(quantizer).eval()(z)
    for lead in ((), (BATCH,), (4, BATCH)):
        part = z[tuple(0 for _ in range(2 - len(lead)))]
        out = quantizer.eval()(part)
        assert out.values.shape == part.shape and out.values.dtype == part.dtype
        assert out.codes.shape == (*lead, *shape) and out.codes.dtype == torch.long
        assert out.codes.min() >= 0 and out.codes.max() < quantizer.num_codes
        assert 1 - 1e-5 <= out.perplexity <= quantizer.num_codes + 1e-3 and out.perplexity.shape == ()
        assert torch.equal(out.codes, expected.codes[tuple(0 for _ in range(2 - len(lead)))])
        assert torch.allclose(out.values, quantizer.lookup(out.codes), atol=1e-5)
    every = torch.arange(quantizer.num_codes).reshape(-1, *(1 for _ in shape)).expand(-1, *shape)
    assert quantizer.lookup(every).shape == (quantizer.num_codes, dim) and quantizer.lookup(every).isfinite().all()
    for mode in (True, False):
        leaf = z.clone().requires_grad_()
        out = quantizer.train(mode)(leaf)
        (gradient,) = torch.autograd.grad(out.values.square().sum(), leaf, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0
        assert all(term.shape == () and term.isfinite() for term in out.loss_terms.values())
        cost = quantizer.cost(out.loss_terms)
        terms = {"codebook": 0.0, "commitment": 0.0, **out.loss_terms}
        assert torch.allclose(cost, torch.as_tensor(terms["codebook"] + quantizer.commitment * terms["commitment"]))
        _gradients(quantizer, lambda cost=cost: cost)
    figures = quantizer.figures()
    assert figures.keys() == {"usage", "dead_codes"} and all(value.shape == () for value in figures.values())
    assert 0 <= figures["usage"] <= 1
    quantizer.settle()
    _module(quantizer, lambda part: part(z.to(_dtype(part))).values)
    record = parts.build(parts.describe(quantizer))
    assert (record.dim, record.num_codes, record.code_shape) == (dim, quantizer.num_codes, shape)
    try:
        quantizer(torch.zeros(2, dim + 1))
    except ValueError as error:
        assert f"(..., {dim})" in str(error)
    else:
        raise AssertionError("a wrong size was taken")


def check_code_prior(prior, shape, num_codes):
    """A prior of codes sums to 1, sees only what comes before, steps as it computes at once, and draws what it says."""
    assert prior.attach(shape, num_codes) is prior and (prior.shape, prior.num_codes) == (shape, num_codes)
    codes = every_code(shape, num_codes)
    near = prior.eval()().log_prob(codes) / max(1, math.prod(shape)) + math.log(num_codes)
    assert near.abs().max() < 0.1, "a fresh prior is near uniform"
    _gradients(prior, lambda: prior().log_prob(codes[:5]).sum())
    with torch.no_grad():
        for tensor in (*prior.parameters(), *prior.buffers()):
            tensor.add_(0.5 * torch.rand_like(tensor))
    _module(prior, lambda part: part().log_prob(codes), lambda part: part.attach(shape, num_codes))
    wide = copy.deepcopy(prior).double()
    with torch.no_grad():
        log_p = wide().log_prob(codes)
        assert log_p.dtype == torch.float64 and abs(log_p.logsumexp(0).item()) < 1e-10
        assert log_p.std() > 1e-3, "the parameters were moved, yet every code is as probable"
        assert not (entries_seen(wide) & ~torch.ones(2 * [math.prod(shape)]).tril(-1).bool()).any()
        logits = wide.eval().logits(codes[::7])
        assert torch.allclose(stepped(wide.train(), codes[::7]), logits, atol=1e-10, rtol=0)
    p = prior()
    assert p.event_shape == shape and p.batch_shape == ()
    for lead in ((), (4,), (2, 4)):
        drawn = p.sample(lead)
        assert drawn.shape == (*lead, *shape) and drawn.dtype == torch.long and p.support.check(drawn).all()
        assert p.log_prob(drawn).shape == lead
    _expands(p)


def every_code(shape, num_codes):
    """All codes (N, *shape)."""
    values = itertools.product(range(num_codes), repeat=math.prod(shape))
    return torch.tensor([*values]).reshape(-1, *shape)


def entries_seen(prior, draws=3):
    """Whether the logits of entry t (rows) change with the value of entry s (columns); the prior is in float64."""
    length = math.prod(prior.shape)
    seen = torch.zeros(length, length, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(draws):
            base = torch.randint(prior.num_codes, (1, length))
            changed = (base + torch.eye(length, dtype=torch.long)) % prior.num_codes  # row s has another entry s
            logits = prior.eval().logits(torch.cat([base, changed]).reshape(-1, *prior.shape))
            logits = logits.reshape(length + 1, length, -1)
            seen |= (logits[1:] - logits[0]).abs().amax(-1).T > 1e-12
    return seen


def stepped(prior, codes, y=None):
    """Logits (B, *shape, num_codes) of codes by the stepper."""
    stepper, flat = prior.stepper(len(codes), y), codes.reshape(len(codes), -1)
    logits = [stepper.next(None if t == 0 else flat[:, t - 1]) for t in range(flat.shape[1])]
    return torch.stack(logits, 1).reshape(*codes.shape, -1)


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


def _cast(value, part):
    """A float32 sample in a part's dtype, still on the simplex or sphere to that precision."""
    value = value.to(_dtype(part))
    if value.dtype == torch.float64 and ((value.sum(-1) - 1).abs() < 1e-5).all():
        return value / value.sum(-1, keepdim=True)
    if value.dtype == torch.float64 and ((value.norm(dim=-1) - 1).abs() < 1e-5).all():
        return value / value.norm(dim=-1, keepdim=True)
    return value


def _expands(p):
    """``expand`` gives more independent draws of the same density, as a plate of particles asks for."""
    wide = p.expand((4, *p.batch_shape))
    z = wide.sample()
    assert wide.batch_shape == (4, *p.batch_shape) and z.shape == (4, *p.batch_shape, *p.event_shape)
    assert torch.allclose(wide.log_prob(z), p.log_prob(z), rtol=1e-4, atol=1e-4)


def normalised(p, support, tolerance=2e-3):
    """exp(log_prob) integrates (a density) or sums (a mass) to 1 over events of at most 3 entries; p in float64.

    The base measures: Lebesgue's on all entries; on the first entries but one of the simplex; the surface of the
    sphere; counting. Every integral is a trapezoid sum over the reals after a change of variables that decays.
    """
    with torch.no_grad():
        points, log_weights = _grid(supports.name(support), support, p.event_shape[-1])
        assert p.event_shape.numel() == points.shape[-1], "normalised takes vectors"
        z = points.reshape(len(points), *(1 for _ in p.batch_shape), -1)
        total = (p.log_prob(z).reshape(len(points)) + log_weights).logsumexp(0).exp()
    assert abs(total.item() - 1) < tolerance, total


def _grid(name, support, dim, size=2001):
    """Points (N, dim) of a support and the logarithms of their weights (N,)."""
    one, groups = supports.ungrouped(support)
    if groups > 1:  # every combination of the points of two groups
        assert groups == 2, "normalised takes two groups"
        points, log_weights = _grid(supports.name(one), one, dim // 2, size=401)
        pairs = torch.cartesian_prod(*[torch.arange(len(points))] * 2)
        return points[pairs].flatten(1), log_weights[pairs].sum(1)
    if name == "one-hot vectors":
        return torch.eye(dim).double(), torch.zeros(dim).double()
    if name == "the sphere":
        return _sphere(dim)
    if name == "the simplex":
        u, log_step = _line(40, size if dim == 2 else 401)
        v, log_v = torch.sigmoid(u), log_step + F.logsigmoid(u) + F.logsigmoid(-u)
        if dim == 2:
            return torch.stack([v, torch.sigmoid(-u)], -1), log_v
        a, b = torch.cartesian_prod(u, u).unbind(-1)
        rest = torch.sigmoid(-a)
        points = torch.stack([torch.sigmoid(a), rest * torch.sigmoid(b), rest * torch.sigmoid(-b)], -1)
        return points, torch.cartesian_prod(log_v, log_v).sum(-1) + F.logsigmoid(-a)
    values, log_weights = _axis(name, support, 4001 if dim == 1 else 301)
    if dim == 1:
        return values[:, None], log_weights
    return torch.cartesian_prod(*[values] * dim), torch.cartesian_prod(*[log_weights] * dim).sum(-1)


def _axis(name, support, size):
    """Values of one entry and the logarithms of their weights."""
    while hasattr(support, "base_constraint") and not isinstance(support, supports.scaled):
        support = support.base_constraint
    if isinstance(support, supports.scaled):
        values, log_weights = _axis(supports.name(support.base_constraint), support.base_constraint, size)
        return support.shift + support.unit * values, log_weights + support.unit.double().log()
    listed = {"{0, 1}": 2, "the counts": 2000}.get(name)
    if isinstance(support, supports.grid):
        values = torch.arange(support.levels).double() / (support.levels - 1)
        return values, torch.zeros_like(values)
    if name == "the whole numbers of an interval":
        listed = int(support.upper_bound) + 1
    if listed:
        return torch.arange(listed).double(), torch.zeros(listed).double()
    if name == "the reals":
        u, log_step = _line(14, size) if size > 1000 else _line(10, 251)
        return u.sinh(), log_step + u.cosh().log()
    if name == "the positive numbers":
        u, log_step = _line(40, size)
        return u.exp(), log_step + u
    if isinstance(support, torch.distributions.constraints.interval):
        u, log_step = _line(34, size)
        low, width = float(support.lower_bound), float(support.upper_bound - support.lower_bound)
        return low + width * torch.sigmoid(u), log_step + F.logsigmoid(u) + F.logsigmoid(-u) + math.log(width)
    raise NotImplementedError(f"no grid over {name}; add one here")


def _line(reach, size):
    u = torch.linspace(-reach, reach, size, dtype=torch.float64)
    return u, torch.full_like(u, math.log(2 * reach / (size - 1)))


def _sphere(dim):
    angle = torch.arange(1000, dtype=torch.float64) * (2 * math.pi / 1000)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    if dim == 2:
        return circle, torch.full_like(angle, math.log(2 * math.pi / 1000))
    height = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1  # equal heights cut equal areas
    radius = (1 - height.square()).sqrt()
    points = torch.cat([radius[:, None, None] * circle, height[:, None, None].expand(-1, 1000, 1)], -1).reshape(-1, 3)
    return points, torch.full((len(points),), math.log(4 * math.pi / len(points)), dtype=torch.float64)


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


def _module(part, output, attached=lambda part: part):
    """State, description, copies and moves of a module; ``output(part)`` is deterministic.

    ``attached`` makes of a part that is built from its description one that has layers.
    """
    part.eval()
    expected = output(part).detach()
    record = json.loads(json.dumps(parts.describe(part)))
    again = attached(parts.build(record)).eval()
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
