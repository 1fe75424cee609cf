"""Rubin's eight schools: guides of a hierarchical model, centred and non-centred, checked by k-hat and calibration.

The posterior of mu and tau is computed on a grid, and theta given both is Normal, so exact posterior draws are known.
Two checks of a guide: k-hat of log p(y, theta, tau, mu) - log q(theta, tau, mu), with one weight for each joint draw of
all latents; above 0.7, q misses mass. And the ranks of exact draws among the guide's draws, which are uniform if its
marginals are right. evaluation.calibration.sbc, which simulates data, refuses this model: its latents are global, and
an autoguide is fitted to one data set. The classes that evaluate the ranks are the same.

python examples/eight_schools.py
"""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal
from pyro.infer.importance import vectorized_importance_weights

from ppl_vae import SVI, estimators, evaluation, fit, models

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
PRIOR_MU, PRIOR_TAU = dist.Normal(0.0, 5.0), dist.HalfCauchy(5.0)


def centred(y, sigma):
    mu, tau = pyro.sample("mu", PRIOR_MU), pyro.sample("tau", PRIOR_TAU)
    with pyro.plate("data", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def non_centred(y, sigma):
    mu, tau = pyro.sample("mu", PRIOR_MU), pyro.sample("tau", PRIOR_TAU)
    with pyro.plate("data", len(y)):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * eta)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def exact(num_draws):
    """Draws (num_draws, 10) of mu, tau and the thetas from the posterior, and log p(y), by a grid over mu and tau."""
    mu, tau = torch.arange(-25, 25, 0.1)[:, None], torch.arange(0.025, 100, 0.05)
    marginal = dist.Normal(mu[..., None], (SIGMA**2 + tau[:, None] ** 2).sqrt())
    log_joint = PRIOR_MU.log_prob(mu) + PRIOR_TAU.log_prob(tau) + marginal.log_prob(Y).sum(-1)
    picked = dist.Categorical(logits=log_joint.flatten()).sample((num_draws,))
    mu, tau = mu[picked // len(tau)], tau[picked % len(tau)][:, None]
    precision = 1 / SIGMA**2 + 1 / tau**2
    theta = dist.Normal((Y / SIGMA**2 + mu / tau**2) / precision, precision**-0.5).sample()
    return torch.cat([mu, tau, theta], -1), log_joint.logsumexp((0, 1)).item() + math.log(0.1 * 0.05)


def main(num_ranks=400, draws_each=99):
    torch.manual_seed(0)
    truth, evidence = exact(num_ranks)
    print(f"log p(y) = {evidence:.2f} nats")
    print("model        guide                   ELBO   k-hat  mu          tau         theta of school A")
    for model in (centred, non_centred):
        for family in (AutoNormal, AutoMultivariateNormal, AutoIAFNormal):
            torch.manual_seed(0)
            program = models.Program(model, family(model))
            # The autoguide has a latent for each school, so the schools stay in order.
            objective = SVI(program, estimators.TraceELBO(num_particles=10))
            fit(objective, (Y, SIGMA), epochs=300, lr=0.05, schedule="cosine", shuffle=False, progress=False)
            with torch.no_grad():
                log_w, trace, _ = vectorized_importance_weights(
                    program.model, program.guide, Y, SIGMA, num_samples=num_ranks * draws_each, max_plate_nesting=1
                )
            drawn = [trace.nodes[name]["value"].reshape(num_ranks, draws_each, -1) for name in ("mu", "tau", "theta")]
            ranks = (torch.cat(drawn, -1) < truth[:, None]).sum(1)
            names = ("mu", "tau", *(f"theta {school}" for school in "ABCDEFGH"))
            calibration = evaluation.calibration.SBC(ranks, draws_each, names, torch.rand(ranks.shape))
            khat = evaluation.pareto_khat(log_w[:, None]).item()
            words = "".join(f"{word:12}" for word in calibration.verdicts()[:3])
            print(f"{model.__name__:12} {family.__name__:22} {log_w.mean():6.2f} {khat:7.2f}  {words}")


if __name__ == "__main__":
    main()
