import re

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from ppl_vae.reporting import calibration_plots as plots
from ppl_vae.reporting.drawing import PALETTE
from ppl_vae.reporting.embed import embed


def test_bars_are_the_counts_coloured_by_what_passes_over_a_binomial_band():
    counts = torch.tensor([[30, 90], [28, 5], [32, 5], [30, 20]])
    figure = plots.rank_histogram(counts, ["z1", "z2"], [True, False])
    for axes, column, colour in zip(figure.axes, counts.T, PALETTE[:2], strict=True):
        bars = [patch for patch in axes.patches if patch.get_width() < 1]
        assert [bar.get_height() for bar in bars] == column.tolist()
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {colour}
        (band,) = [patch for patch in axes.patches if patch.get_width() >= 1]
        low, high = band.get_y(), band.get_y() + band.get_height()
        draws = np.random.default_rng(0).binomial(120, 0.25, 20000)
        assert 0.985 < ((draws >= low) & (draws <= high)).mean() < 0.996
        assert axes.lines[0].get_ydata()[0] == 30


def test_lines_of_failing_dimensions_are_on_top_and_counted():
    points = np.linspace(0.1, 0.9, 9)
    difference = np.stack([0.3 * np.sin(3 * points), 0.01 * points], 1)
    figure = plots.ecdf_difference(points, difference, (-0.1 * np.ones(9), 0.1 * np.ones(9)), [False, True])
    last = figure.axes[0].lines[-1]
    np.testing.assert_allclose(last.get_ydata()[1:-1], difference[:, 0])
    assert last.get_xdata()[[0, -1]].tolist() == [0, 1] and last.get_color() == PALETTE[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["95% band", "pass: 1", "fail: 1"]
    all_pass = plots.ecdf_difference(points, difference, (-np.ones(9), np.ones(9)))
    assert [text.get_text() for text in all_pass.legends[0].get_texts()] == ["95% band", "pass: 2"]


def test_coverage_is_drawn_against_the_diagonal_in_order_of_levels():
    figure = plots.coverage([0.9, 0.5], [[0.7, 0.9], [0.3, 0.5]], [False, True], [0.03, 0.05])
    diagonal, right, wrong = figure.axes[0].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert right.get_ydata().tolist() == [0.5, 0.9] and wrong.get_ydata().tolist() == [0.3, 0.7]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.4) and band[:, 1].max() == pytest.approx(0.96)


def test_khat_names_the_worst_and_leaves_out_what_is_not_finite():
    khat = np.r_[np.linspace(0, 0.6, 20), np.nan, 3.0, 1.5]
    axes = plots.khat_by_datum(khat).axes[0]
    fine, bad = axes.collections
    assert len(fine.get_offsets()) == 20 and bad.get_offsets()[:, 1].tolist() == [1.5, 3.0]
    assert [text.get_text() for text in axes.texts] == ["21", "22"]
    assert axes.get_xlabel() == "examples, in order of k-hat (1 that is not finite left out)"
    assert not plots.khat_by_datum([0.1, 0.2]).axes[0].texts
    assert [text.get_text() for text in plots.khat_by_datum([0.1, 0.6], threshold=0.5).axes[0].texts] == ["1"]


def test_wrong_shapes_are_refused():
    for call, words in (
        (lambda: plots.rank_histogram([1, 2], ["a"]), r"counts must have shape \(rows, D\)"),
        (lambda: plots.rank_histogram([[1, 2]], ["a"]), "one entry for each of the 2 columns of counts"),
        (lambda: plots.rank_histogram([[0, 2]], ["a", "b"]), "at least one rank"),
        (lambda: plots.coverage([0.5], [[0.1], [0.2]]), r"levels must have shape \(2,\)"),
        (lambda: plots.coverage([0.5], [[0.1]], [True, False]), "each of the 1 columns"),
        (lambda: plots.ecdf_difference([0.5], [[0.1]], ([0, 0], [1, 1])), "bounds of band must have shape"),
        (lambda: plots.khat_by_datum([[0.5]]), "must be a vector"),
        (lambda: plots.khat_by_datum([np.nan]), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_every_colour_follows_the_page_and_no_global_state_is_touched():
    settings = dict(matplotlib.rcParams)
    d = np.array([[0.01, -0.3], [0.02, 0.2]])
    figures = [
        plots.rank_histogram([[5, 9], [5, 1]], ["a", "b"], [True, False]),
        plots.ecdf_difference([0.3, 0.6], d, (d[:, 1], d[:, 0]), [True, False]),
        plots.coverage([0.3, 0.6], np.abs(d), [True, False], [0.1, 0.1]),
        plots.khat_by_datum([0.1, 1.4]),
    ]
    for i, figure in enumerate(figures):
        svg = embed(figure, f"figure {i}")
        assert "<svg" in svg and not [c for c in PALETTE if c in svg]
        left = {c for c in re.findall(r"#[0-9a-f]{6}\b", svg)}
        assert left <= {"#000000", "#ffffff"}, left
    assert dict(matplotlib.rcParams) == settings
