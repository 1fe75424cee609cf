"""Mutation tests: each defect measured in Pyro and in peers is put back, and a check must fail.

Every check passes as the package stands; with the defect in place it raises. Two rows of the list have no check here:
the slowness of Pyro's own flows, which is a benchmark's business, and what importing zuko does to torch, which needs a
fresh process (tests/distributions/test_flow.py, where leaving the flag unrestored fails).
"""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pyro
import pyro.contrib.gp
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian
from instances import DISCRETE, SHAPE, exported, instance, vae
from pyro import poutine
from pyro.infer import ELBO
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ppl_vae import SVI, VAE, estimators, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.estimators import mmd, pathwise, tracing
from ppl_vae.estimators.base import Estimator
from ppl_vae.estimators.sites import Sites, Weights
from ppl_vae.models import vae as vae_module
from ppl_vae.objectives import svi as svi_module

PATHWISE = ("CIWAE", "DReG", "FreeBits", "IWAE", "MIWAE", "MMD", "Renyi", "STL", "TailAdaptive")
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


class Coin(LinearGaussian):
    """z ~ Bernoulli(0.3), x | z ~ N(2z, 1), q(z | x) Bernoulli: what has no reparameterised sample."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.4))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.logit))


class Subsampled(LinearGaussian):
    """The linear-Gaussian program on 3 of 6 data at a time."""

    def model(self, x):
        with pyro.plate("data", len(x), subsample_size=3) as i:
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(z @ self.w.T + self.b, self.s).to_event(1), obs=x[i])

    def guide(self, x):
        with pyro.plate("data", len(x), subsample_size=3) as i:
            pyro.sample("z", dist.Normal(x[i] @ self.a.T + self.c, self.t).to_event(1))


def twin(prior):
    """A VAE whose prior is N(0, I), written either way."""
    torch.manual_seed(0)
    posterior = posteriors.Normal(networks.MLP(3, [4]), 2)
    return VAE(prior, posterior, likelihoods.Normal(networks.MLP(2, [4]), 3))


class TwoEqual(priors.Normal):
    """A mixture of two standard Normals, of which no closed-form KL is known."""

    def forward(self, y=None):
        return dist.MixtureOfDiagNormals(torch.zeros(2, 2), torch.ones(2, 2), torch.zeros(2))


def beta_means_the_same_for_a_mixture():
    """At beta = 4, STL on one and the same noise, for N(0, I) and a mixture of two of it."""
    values = []
    for prior in (priors.Normal(2), TwoEqual(2)):
        torch.manual_seed(5)
        values.append(SVI(twin(prior), estimators.MeanFieldELBO(300), beta=4.0)(X).value)
        assert abs(values[-1] - SVI(twin(prior), estimators.MeanFieldELBO(300))(X).value) > 0.1
    assert abs(values[0] - values[1]) < 0.1 * abs(values[0])


def beta_is_exact_at_0():
    objective = SVI(twin(priors.Normal(2)), beta=0.0)
    loss = objective(X)
    assert torch.allclose(loss.value, -loss.terms["reconstruction"].mean())


def subsampling_stays_outside_the_logarithm():
    pair = Subsampled()
    torch.manual_seed(2)
    traced = tracing.sites(pair.model, pair.guide, (X,), 5)
    log_w = traced.weights().log_w
    torch.manual_seed(2)
    loss = estimators.Renyi(alpha=0.25, num_particles=5).differentiable_loss(pair.model, pair.guide, X)
    bound = ((0.75 * log_w).logsumexp(0) - math.log(5)) / 0.75
    assert torch.allclose(loss, -2 * bound.sum(), rtol=1e-5)


def weights_are_per_datum():
    pair = LinearGaussian()
    log_w = estimators.log_weights(pair.model, pair.guide, X, num_particles=7)
    expected = torch.autograd.grad((log_w.detach().softmax(0) * log_w).sum(), pair.w, retain_graph=True)[0]
    torch.manual_seed(4)
    loss = estimators.RWS(7).differentiable_loss(pair.model, pair.guide, X)
    gradient = torch.autograd.grad(-loss, pair.w)[0]
    torch.manual_seed(4)
    log_w = estimators.log_weights(pair.model, lambda x: detached(pair, x), X, num_particles=7)
    expected = torch.autograd.grad((log_w.detach().softmax(0) * log_w).sum(), pair.w)[0]
    assert expected.abs().min() > 1e-3 and torch.allclose(gradient, expected, rtol=1e-4)


def detached(pair, x):
    with torch.no_grad():
        return pair.guide(x)


def tail_weights_are_ranks():
    log_w = torch.tensor([2.0, -1.0, 0.5, 3.0, 0.5])[:, None]
    larger = [sum(1 for other in log_w if other >= own) for own in log_w]
    expected = torch.tensor([1 / count for count in larger])
    assert torch.allclose(pathwise.tail_weights(log_w)[:, 0], expected / expected.sum())


def a_discrete_guide_is_refused_or_learns():
    pair = Coin()
    for name in exported("estimators"):
        estimator = instance("estimators", (name, 0))
        if name in PATHWISE:
            with pytest.raises(ValueError, match=f"site z of the guide is a Bernoulli.*{name} needs"):
                estimator.differentiable_loss(pair.model, pair.guide, X[:, 0])
        else:
            loss = estimator.differentiable_loss(pair.model, pair.guide, X[:, 0])
            assert torch.autograd.grad(loss, pair.logit)[0].abs() > 0, name


def the_score_term_is_kept_without_validation():
    pair, x = Coin(), X[:, 0]
    with pyro.validation_enabled(False):
        losses = [estimators.MeanFieldELBO(50).differentiable_loss(pair.model, pair.guide, x) for _ in range(40)]
    gradients = torch.stack([torch.autograd.grad(loss, pair.logit)[0] for loss in losses])
    exact = torch.autograd.grad(estimators.Enum().differentiable_loss(pair.model, pair.guide, x), pair.logit)[0]
    assert exact.abs() > 0.1 and abs(gradients.mean() - exact) < 4 * gradients.std() / math.sqrt(40)


def pyros_mean_field_is_refused_for_a_discrete_guide():
    pair = Coin()
    with pyro.validation_enabled(False), pytest.raises(ValueError, match="TraceMeanField_ELBO drops its gradient"):
        SVI(programs(pair), pyro.infer.TraceMeanField_ELBO())(X[:, 0])


def programs(pair):
    return models.Program(pair.model, pair.guide)


def mmd_compares_the_data():
    """Each q is a point, all of them together are the prior: a small MMD for any number of particles."""
    x = torch.randn(400, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1e-3).to_event(1))

    for k in (1, 2):
        terms = estimators.MMD(k, weight=1.0).terms(model, guide, x)
        assert (terms.surrogate - terms.reconstruction).abs().max() < 0.1


def the_latent_scale_reaches_the_mmd():
    values = []
    for beta in (1.0, 3.0):
        torch.manual_seed(0)
        loss = SVI(twin(priors.Normal(2)), estimators.MMD(weight=5.0), beta=beta)(X)
        values.append(-loss.value - loss.terms["reconstruction"].mean())
    assert values[0].abs() > 1e-3 and torch.allclose(values[1], 3 * values[0], rtol=1e-3)


def the_module_form_owns_the_parameters():
    model = vae()
    for name in exported("estimators"):
        module = instance("estimators", (name, 0))(model.model, model.guide)
        assert len({id(p) for p in module.parameters()} & {id(p) for p in model.parameters()}) == 8, name
        assert callable(module.elbo.differentiable_loss)


def a_second_model_trains():
    pyro.clear_param_store()
    for _ in range(2):
        model = twin(priors.Normal(2))
        before = [p.detach().clone() for p in model.parameters()]
        svi = pyro.infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), estimators.TraceELBO())
        svi.step(X)
        assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    pyro.clear_param_store()


def clipping_is_over_all_parameters():
    objective = SVI(twin(priors.Normal(2)))
    seen = []

    def optimizer(parameters):
        made = torch.optim.SGD(parameters, lr=0.0)
        made.register_step_pre_hook(lambda *_: seen.append([p.grad.clone() for p in parameters]))
        return made

    fit(objective, X, epochs=1, clip=1e-3, optimizer=optimizer, progress=False)
    assert len(seen) == 1 and len(seen[0]) == len(list(objective.parameters()))
    assert torch.cat([g.flatten() for g in seen[0]]).norm() < 1.01e-3


def supports_are_checked_when_built():
    with pytest.raises(ValueError, match="posterior Normal lives on the reals, but prior Beta lives on"):
        vae(prior=priors.Beta(2))


def particles_go_through_convolutions():
    torch.manual_seed(0)
    network = networks.ConvTranspose(2, [3, 2], (1, 8, 8))
    encoder = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 5))
    model = VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihoods.Bernoulli(network, (1, 8, 8)))
    loss = estimators.IWAE(4).differentiable_loss(model.model, model.guide, torch.ones(3, 1, 8, 8))
    assert loss.isfinite()


def a_step_reads_no_tensor():
    """On fake tensors, which have no values, reading one raises."""
    gaussian = vae()
    coins = vae(prior=priors.Bernoulli(2), posterior=posteriors.Bernoulli(networks.MLP(SHAPE, [5]), 2))
    for name in exported("estimators"):
        objective = SVI(coins if name in DISCRETE else gaussian, instance("estimators", (name, 0)))
        objective.prepare(torch.ones(3, *SHAPE))
        objective._validated = True
        with FakeTensorMode(allow_non_fake_inputs=True):
            objective(torch.ones(3, *SHAPE)).value.backward()


def stl_sticks_the_landing():
    """At the exact posterior its gradient has no variance."""
    x = torch.randn(50)
    scale = nn.Parameter(torch.tensor(math.sqrt(0.5)))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, scale))

    loss = estimators.STL().differentiable_loss(model, guide, x)
    assert torch.autograd.grad(loss, scale)[0].abs() < 1e-3


# The defects


def scale_the_model_alone(patch):
    patch.setattr(SVI, "programs", lambda self: (svi_module.scale_latents(self.model.model, 4.0), self.model.guide))
    patch.setattr(tracing, "_check_scales", lambda *_: None)


def poutine_scale(patch):
    patch.setattr(svi_module, "scale_latents", lambda fn, beta: poutine.scale(fn, beta))


def scale_inside_the_logarithm(patch):
    kept = Sites.weights

    def weights(self, pathwise=False):
        found = kept(self, pathwise)
        return Weights(found.log_likelihood, found.log_prior, found.log_q, self.subsampling * found.log_w)

    patch.setattr(Sites, "weights", weights)
    patch.setattr(Sites, "subsampling", 1.0)


def joint_weights(patch):
    kept = Sites.weights

    def weights(self, pathwise=False):
        found = kept(self, pathwise)
        joint = found.log_w.sum(1, keepdim=True).expand_as(found.log_w)
        return Weights(found.log_likelihood, found.log_prior, found.log_q, joint)

    patch.setattr(Sites, "weights", weights)


def argsort_for_ranks(patch):
    def weights(log_w):
        tail = (log_w.argsort(0) + 1.0) / len(log_w)
        return (1 / tail) / (1 / tail).sum(0)

    patch.setattr(pathwise, "tail_weights", weights)


def iwae_without_a_score(patch):
    patch.setattr(estimators.Renyi, "pathwise_only", False)


def no_score(patch):
    patch.setattr(Sites, "score", lambda self: None)
    from ppl_vae.estimators import elbo

    patch.setattr(elbo, "Tensor", ())  # the score is never added


def no_check_of_programs(patch):
    patch.setattr(svi_module, "check_programs", lambda *_: None)


def mmd_over_particles(patch):
    rows = mmd._rows
    patch.setattr(mmd, "_rows", lambda *arguments: rows(*arguments).transpose(0, 1))


def mmd_without_the_scale(patch):
    kept = estimators.MMD._discrepancy

    def unscaled(self, traced):
        for site in traced.drawn.values():
            site["infer"] = {}
        return kept(self, traced)

    patch.setattr(estimators.MMD, "_discrepancy", unscaled)


def pyros_module_form(patch):
    patch.setattr(Estimator, "__call__", ELBO.__call__)


def one_name_for_all(patch):
    patch.setattr(vae_module.VAE, "name", "vae")


def clip_each_parameter(patch):
    kept = nn.utils.clip_grad_norm_
    patch.setattr(nn.utils, "clip_grad_norm_", lambda ps, norm: [kept([p], norm) for p in ps])


def no_check_of_supports(patch):
    patch.setattr(vae_module.supports, "same", lambda *_: True)


def no_folding(patch):
    for module in (networks, vae_module, *(m for m in modules_with("fold"))):
        if hasattr(module, "fold"):
            patch.setattr(module, "fold", lambda network, x, event_dim: network(x))


def modules_with(name):
    return [m for key, m in sys.modules.items() if key.startswith("ppl_vae.") and hasattr(m, name)]


def item_in_the_step(patch):
    kept = Sites.log_prob

    def log_prob(self, site, shared=True):
        found = kept(self, site, shared)
        found.sum().item()
        return found

    patch.setattr(Sites, "log_prob", log_prob)


def reparameterised_is_not_stl(patch):
    kept = Sites.weights
    patch.setattr(Sites, "weights", lambda self, pathwise=False: kept(self))


DEFECTS = [
    (scale_the_model_alone, beta_means_the_same_for_a_mixture),
    (poutine_scale, beta_is_exact_at_0),
    (scale_inside_the_logarithm, subsampling_stays_outside_the_logarithm),
    (joint_weights, weights_are_per_datum),
    (argsort_for_ranks, tail_weights_are_ranks),
    (iwae_without_a_score, a_discrete_guide_is_refused_or_learns),
    (no_score, the_score_term_is_kept_without_validation),
    (no_check_of_programs, pyros_mean_field_is_refused_for_a_discrete_guide),
    (mmd_over_particles, mmd_compares_the_data),
    (mmd_without_the_scale, the_latent_scale_reaches_the_mmd),
    (pyros_module_form, the_module_form_owns_the_parameters),
    (one_name_for_all, a_second_model_trains),
    (clip_each_parameter, clipping_is_over_all_parameters),
    (no_check_of_supports, supports_are_checked_when_built),
    (no_folding, particles_go_through_convolutions),
    (item_in_the_step, a_step_reads_no_tensor),
    (reparameterised_is_not_stl, stl_sticks_the_landing),
]


@pytest.mark.parametrize(("defect", "check"), DEFECTS, ids=lambda f: f.__name__)
def test_putting_the_defect_back_fails_the_check(defect, check, monkeypatch):
    torch.manual_seed(0)
    check()
    with monkeypatch.context() as patch:
        defect(patch)
        torch.manual_seed(0)
        with pytest.raises((AssertionError, ValueError, RuntimeError, pytest.fail.Exception)):
            check()
    pyro.clear_param_store()


def test_pyros_wrong_estimators_are_refused():
    kernel = pyro.contrib.gp.kernels.RBF(2)
    for wrong, serves in (
        (pyro.infer.RenyiELBO(), "Renyi"),
        (pyro.infer.ReweightedWakeSleep(), "RWS"),
        (pyro.infer.TraceTailAdaptive_ELBO(), "TailAdaptive"),
        (pyro.infer.Trace_MMD(kernel), "MMD"),
        (pyro.infer.TraceGraph_ELBO(), "NVIL"),
    ):
        with pytest.raises(TypeError, match=f"{type(wrong).__name__} .*use estimators.{serves}"):
            SVI(twin(priors.Normal(2)), wrong)


def test_a_beta_without_meaning_is_refused_when_built():
    for name in exported("estimators"):
        estimator = instance("estimators", (name, 0))
        if estimator.unit_beta:
            for beta in (2.0, lambda step: 1.0, torch.tensor(1.0)):
                with pytest.raises(ValueError, match=f"{name} is defined only at beta = 1"):
                    SVI(twin(priors.Normal(2)), estimator, beta)


def test_pyros_estimators_are_taken_where_they_are_right():
    for estimator in (pyro.infer.Trace_ELBO(), pyro.infer.TraceMeanField_ELBO()):
        objective = SVI(twin(priors.Normal(2)), estimator, beta=2.0)
        assert objective(X).value.isfinite()


def test_a_site_summed_out_of_the_model_alone_has_no_beta():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(pyro.param("b", torch.tensor(0.5)) + z, 1.0), obs=x)

    pair = SimpleNamespace(model=model, guide=lambda x: None)
    for estimator in (pyro.infer.TraceEnum_ELBO(max_plate_nesting=1), estimators.Enum()):
        assert SVI(programs(pair), estimator)(X[:, 0]).value.isfinite()
        with pytest.raises(ValueError, match="beta is not defined for site z"):
            SVI(programs(pair), estimator, beta=2.0)(X[:, 0])


UNDER_O = """
import pyro, pyro.distributions as dist, torch
from ppl_vae import SVI, estimators, models
assert False, "never run: -O drops it"
logit = torch.zeros(3, requires_grad=True)
def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Categorical(torch.ones(3) / 3))
        pyro.sample("x", dist.Normal(z.float(), 1.0), obs=x)
def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Categorical(logits=logit.expand(len(x), 3)))
x = torch.arange(4.0)
estimators.MeanFieldELBO().differentiable_loss(model, guide, x).backward()
if not logit.grad.abs().max() > 0:
    raise SystemExit("the score term was dropped")
for refused in (estimators.IWAE(), pyro.infer.TraceMeanField_ELBO()):
    try:
        SVI(models.Program(model, guide), refused)(x)
    except ValueError as error:
        print(error)
    else:
        raise SystemExit(f"{refused} was taken")
"""


def test_refusals_do_not_hang_on_debug_mode():
    done = subprocess.run([sys.executable, "-O", "-c", UNDER_O], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("site z of the guide is a Categorical") == 2
