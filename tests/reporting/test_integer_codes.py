"""The report of models with integer codes: its sections, its numbers, and its plots."""

import re

import numpy as np
import pytest
import torch
from integer_codes import grid_model, pictures, table_model

from ppl_vae import code_priors, data, evaluation
from ppl_vae.reporting import discrete_plots, discrete_sections, report
from ppl_vae.reporting.headline import facts, numbers

X = pictures(60)
HISTORY = [{"stage": "", "epoch": 1, "seconds": 0.5, "train": {"loss": 9.0, "reconstruction": -9.0}}]


def written(folder, model, x=X):
    rows = data.Data("", data.Split(x[:40]), data.Split(x[:0]), data.Split(x[40:]), None, {})
    results = evaluation.evaluate(model, rows.test, train=rows.train)
    html = report.write(folder, model, rows, HISTORY, {}, {"test": results}).read_text("utf-8")
    return html, re.findall(r'<section id="([^"]*)"', html), results


def test_the_report_has_the_sections_of_integer_codes_and_no_walks(tmp_path):
    html, ids, results = written(tmp_path, grid_model(prior=code_priors.Transformer(8, 1, 2)))
    assert ids == ["curves", "reconstructions", "samples", "usage", "maps", "patches", "bits", "file", "codes"]
    assert "squeezed into a code of 4 whole numbers below 6" in html
    assert "the learned prior p(codes), a Transformer" in html
    assert "The quantised vectors of 20 test examples" in html
    assert f"of {results['num_codes']} codes are used by 20 test examples" in html


def test_a_prior_that_only_counts_is_not_called_learned(tmp_path):
    html, _, _ = written(tmp_path, grid_model())
    assert "which is not trained: Frequencies of the codes" in html and "learned prior" not in html


def test_a_table_of_integer_codes_has_a_report(tmp_path):
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    html, ids, _ = written(tmp_path, table_model(), x)
    assert {"reconstructions", "usage", "bits", "file", "codes"} <= {*ids} and "traversals" not in ids
    assert "maps" not in ids and "patches" not in ids


def test_the_headline_has_the_figures_of_the_codebook():
    model = grid_model()
    results = evaluation.evaluate(model, data.Split(X))
    found = {number.name: number for number in numbers(model, [], results, "test")}
    assert found["Code perplexity"].value == f"{results['code_perplexity']:.1f}"
    assert found["Codes used"].value == f"{results['codes_used']}" and found["Codes used"].unit == "of 6"
    assert "-log p(codes)" in found["Test KL"].meaning and "only a bound" in found["Bits per dimension"].meaning
    assert "4 codes of 6 values an example" in facts(model, None, [], {})


def test_patches_are_the_means_of_the_pixels_at_which_a_code_stands(monkeypatch):
    model, drawn = grid_model(), []
    codes = evaluation.codes(model, X)
    monkeypatch.setattr(discrete_plots, "code_patches", lambda patches: drawn.append(patches))
    discrete_sections.patches(model, X, codes)
    counts = torch.bincount(codes.flatten(), minlength=6)
    code = int(counts.argmax())
    cut = [X[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for n, i, j in (codes == code).nonzero().tolist()]
    torch.testing.assert_close(drawn[0][0], torch.stack(cut).mean(0))
    assert len(drawn[0]) == int((counts > 0).sum())


def test_bits_are_of_the_rate_and_of_what_it_leaves():
    model = grid_model()
    results = evaluation.evaluate(model, data.Split(X), train=data.Split(X))
    section = discrete_sections.bits(model, results)
    said = [float(number) for number in re.findall(r"\d\.\d+", section.text.replace(f"{results['kl']:.1f} nats", ""))]
    rate, left, total, least = said
    terms = evaluation.elbo(model, X)
    per = 16 * np.log(2)
    assert rate == pytest.approx(terms.kl.mean().item() / per, abs=6e-4)  # three decimals
    assert left == pytest.approx(-terms.reconstruction.mean().item() / per, abs=6e-4)
    assert total == pytest.approx(rate + left, abs=1.1e-3)
    assert least == pytest.approx(-results["baseline_log_likelihood"] / per, abs=6e-4)


def test_like_vectors_have_like_colours_and_codes_are_written_where_they_stand():
    values = np.zeros((2, 2, 2, 3))
    values[0, 0, 1] = values[1, 1, 0] = [1.0, 0.0, 0.0]
    codes = np.array([[[0, 5], [0, 0]], [[0, 0], [5, 0]]])
    axes = discrete_plots.code_maps(np.random.default_rng(0).random((2, 1, 8, 8)), codes, values).axes[0]
    first, second = (image.get_array() for image in axes.images[2:])
    np.testing.assert_array_equal(first[0, 1], second[1, 0])
    assert not np.array_equal(first[0, 1], first[0, 0])
    boxes = [image.get_extent() for image in axes.images[2:]]  # left, right, bottom, top
    for text in (text for text in axes.texts if text.get_text() == "5"):
        x, y = text.get_position()
        left, right, bottom, top = next(box for box in boxes if box[0] <= x <= box[1])
        across, down = (x - left) / (right - left), (y - top) / (bottom - top)
        assert (round(across, 2), round(down, 2)) == ((0.75, 0.25) if left == 0 else (0.25, 0.75))


def test_without_an_entropy_coder_the_page_says_so(monkeypatch):
    def refuse(*_):
        raise ValueError("constriction is not installed; pip install 'ppl_vae[compression]'")

    monkeypatch.setattr(evaluation, "file_sizes", refuse)
    section = discrete_sections.file_size(grid_model(), X, None)
    assert section.text.startswith("Not computed: constriction is not installed") and not section.figures
