"""What public results print is a line or two that says what was found, however many data there were."""

import re
from pathlib import Path

import pytest
import torch

from ppl_vae import SVI, VAE, data, estimators, evaluation, likelihoods, networks, posteriors, priors
from ppl_vae.comparison import Table
from ppl_vae.evaluation.calibration import VSBC, Coverage, sbc
from ppl_vae.evaluation.gradients import snr
from ppl_vae.objectives import Loss

X = (torch.rand(300, 6, generator=torch.Generator().manual_seed(3)) > 0.5).float()


def vae(missing=False):
    torch.manual_seed(0)
    likelihood = likelihoods.Bernoulli(networks.MLP(2, [4]), 6)
    encoder = networks.FillMissing(networks.MLP(6, [4]), 6) if missing else networks.MLP(6, [4])
    posterior = posteriors.Normal(encoder, 2)
    return VAE(priors.Normal(2), posterior, likelihoods.Missing(likelihood) if missing else likelihood)


def holes():
    x = X.clone()
    x[:, 0] = torch.nan
    return x


ROW = {"error": None, "log_likelihood": -20.0, "elbo": -21.0, "seed": 0}
RESULTS = {
    "elbo": (lambda: evaluation.elbo(vae(), X), "nats per example, n=300"),
    "log_likelihood": (lambda: evaluation.log_likelihood(vae(), X, num_particles=30), "n=300, K=30"),
    "gaps": (lambda: evaluation.gaps(vae(), X[:20], num_particles=30, steps=2), "n=20"),
    "compress": (lambda: evaluation.compress(vae(), X, train=X), "16 levels"),
    "impute": (lambda: evaluation.impute(vae(True), holes(), num_samples=2), "300 of 1800 entries filled in"),
    "gradients": (lambda: snr(vae(), estimators.TraceELBO(), X, repeats=8), "K=[1]: signal-to-noise ratio of encoder"),
    "sbc": (lambda: sbc(vae(), 30, num_draws=20), "dimensions calibrated"),
    "vsbc": (
        lambda: VSBC(torch.rand(500, 3).square(), tuple("abc")),
        "0 of 3 dimensions unbiased at 5%, n=500, a too ",
    ),
    "coverage": (lambda: Coverage(torch.tensor([0.9]), torch.ones(1, 500, 3) > 0, tuple("abc")), "90% cover 100.0%"),
    "loss": (lambda: SVI(vae())(X), "kl (300,)"),
    "no terms": (lambda: Loss(torch.tensor(1.0), {}, {"critic": torch.tensor(2.0)}), "terms: none, others: critic"),
    "data": (lambda: data.load("digits"), "1439 train"),
    "split": (lambda: data.load("digits").train, "1439 rows"),
    "table": (
        lambda: Table([{**ROW, "cell": f"{i}", "setting": f"s{i % 2}"} for i in range(60)], ("seed",), Path("runs/c")),
        "60 cells of 2 settings, in runs/c",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_a_line_or_two(name):
    made, words = RESULTS[name]
    said = repr(made())
    assert len(said) < 300 and said.count("\n") < 2
    assert words in said


def test_the_elbos_parts_add_up():
    result = evaluation.elbo(vae(), X)
    shown = [*map(float, re.findall(r"-?\d+\.\d+", repr(result)))]
    assert shown[0] == pytest.approx(shown[1] - shown[2], abs=2e-3)  # three rounded numbers
    assert shown[0] == pytest.approx(result.elbo.mean().item(), abs=1e-3)


def test_a_comparisons_table_is_drawn_in_a_notebook():
    table = RESULTS["table"][0]()
    rows = [{**row, "setting": "<b>"} for row in table.rows]
    page = Table(rows, ("seed",), Path("runs/c"))._repr_html_()
    assert "&lt;b&gt;" in page and "<b>" not in page and "-20.00" in page
