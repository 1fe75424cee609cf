"""ppl_vae on a workload: the loop of ``fit``; a round is one epoch."""

import torch

from ppl_vae import SVI, VAE, estimators, likelihoods, networks, posteriors, priors
from ppl_vae.data import as_split
from ppl_vae.training.fit import default_settings
from ppl_vae.training.processes import Processes
from ppl_vae.training.progress import Log
from ppl_vae.training.run import Run


def vae(work):
    """The workload's model."""
    softplus = {"activation": "softplus"}
    encoder = (networks.Conv if work.image else networks.MLP)(work.shape, work.hidden, **softplus)
    decoder = type(encoder).decoder(work.dim, work.hidden[::-1], work.shape, **softplus)
    dirichlet = work.prior == "dirichlet"
    prior = {
        "normal": priors.Normal,
        "mixture": lambda dim: priors.MixtureOfGaussians(dim, components=10),
        "dirichlet": priors.Dirichlet,
    }[work.prior](work.dim)
    posterior = (posteriors.Dirichlet if dirichlet else posteriors.Normal)(encoder, work.dim)
    return VAE(prior, posterior, likelihoods.Bernoulli(decoder, work.shape))


def estimator(work):
    """IWAE if this version has it; otherwise the K-sample ELBO, whose matrix products are the same."""
    if work.particles == 1:
        return estimators.MeanFieldELBO()
    return getattr(estimators, "IWAE", estimators.TraceELBO)(num_particles=work.particles)


def epochs(objective, x, batch, precision="fp32", compiled=True):
    """A round of ``fit`` on any objective: shuffling, steps, totals and the end of an epoch."""
    settings = default_settings(batch_size=batch, epochs=10**6, compile=compiled, precision=precision)
    run = Run(objective, as_split(x), None, settings, Processes("cpu"), False)
    run.start(None, False, None)
    log = Log(False, 0, 0)

    def round_():
        run.loop.train_epoch(log, lambda: False)

    round_()
    if compiled and not run.loop.steps.captured:
        raise RuntimeError(f"steps were not captured: {run.loop.steps.why_eager}")
    round_.model = objective.model
    return round_


def loop(work, x, precision="fp32", compiled=True):
    """A round of ``fit`` on a workload."""
    torch.manual_seed(0)
    return epochs(SVI(vae(work), estimator(work)), x, work.batch, precision, compiled)
