"""VQ-VAEs beside VAEs in one comparison: ranked by the ELBO, which both have."""

import pytest
import torch
from integer_codes import SHAPE, grid_model, pictures

from ppl_vae import SVI, VAE, Reconstruction, compare, likelihoods, networks, priors
from ppl_vae.comparison import report
from ppl_vae.comparison.table import Table, shown


def row(setting, **figures):
    return {"cell": setting, "setting": setting, "seed": 0, "error": None, **figures}


def table(path, *rows):
    return Table([*rows], ("seed",), path)


SAMPLED = {"log_likelihood": -20.0, "valid_log_likelihood": -21.0, "num_particles": 100}


def test_settings_are_ranked_by_the_elbo_where_some_have_no_log_likelihood(tmp_path):
    vae = row("vae", elbo=-25.0, valid_elbo=-26.0, **SAMPLED)
    vq = row("vqvae", elbo=-26.0, valid_elbo=-24.0, code_perplexity=9.0, elbo_bits_per_dim=0.5)
    found = table(tmp_path, vae, vq)
    assert [mean["setting"] for mean in found.means] == ["vqvae", "vae"] and found.best == "vqvae"
    assert "ranked by the ELBO of validation examples" in found.choice
    assert {"elbo_bits_per_dim", "code_perplexity", "valid_elbo"} <= {*shown(found.means)}
    assert "what all have" in report._lead(found, found.means)
    without = table(tmp_path, row("vae", elbo=-25.0, **SAMPLED), row("vqvae", elbo=-26.0))
    assert without.best == "vae" and "the ELBO of the same test examples" in without.choice


def test_vaes_alone_are_ranked_and_shown_as_before(tmp_path):
    worse = row("a", elbo=-24.0, valid_elbo=-24.0, elbo_bits_per_dim=0.5, **SAMPLED)
    better = row("b", elbo=-25.0, valid_elbo=-25.0, elbo_bits_per_dim=0.5, **SAMPLED | {"valid_log_likelihood": -20.0})
    found = table(tmp_path, worse, better)
    assert found.best == "b" and "ELBO" not in found.choice
    assert not {"elbo_bits_per_dim", "valid_elbo"} & {*shown(found.means)}


def test_a_setting_whose_sampling_failed_is_not_taken_for_one_with_a_bound_only(tmp_path):
    failed = row("a", elbo=-24.0, log_likelihood=None, num_particles=100)
    found = table(tmp_path, failed, row("b", elbo=-25.0, **SAMPLED))
    assert [mean["setting"] for mean in found.means] == ["b", "a"] and "ELBO" not in found.choice


def test_both_models_are_trained_and_measured_side_by_side(tmp_path):
    x = pictures(48)

    def vae(seed):
        return SVI(VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [4]), SHAPE)))

    cells = {"vae": vae, "vqvae": lambda seed: Reconstruction(grid_model())}
    data = (x[:32], x[32:40], x[40:])
    found = compare(cells, data, seeds=[0], epochs=1, out=tmp_path, num_particles=25, progress=False)
    assert not found.failed
    rows = {each["setting"]: each for each in found.rows}
    assert rows["vqvae"]["valid_elbo"] == pytest.approx(rows["vqvae"]["valid"]["elbo"])
    assert "log_likelihood" in rows["vae"] and rows["vqvae"].get("log_likelihood") is None
    assert all(torch.tensor(each["elbo_bits_per_dim"]).isfinite() for each in found.rows)
    better = max(found.rows, key=lambda each: (not found._mean([each])["doubtful"], each["valid_elbo"]))
    assert found.means[0]["setting"] == better["setting"]
    assert "code perplexity" in str(found)
