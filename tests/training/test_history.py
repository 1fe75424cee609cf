"""A History is short where it is printed, a table in a notebook, a frame and a figure."""

import re
import sys

import numpy as np
import pytest
import torch

from ppl_vae import SVI, VAE, fit, likelihoods, networks, priors
from ppl_vae.training import History


def rows(n, stage="", valid=True, start=30.0):
    made = []
    for i in range(1, n + 1):
        terms = {"loss": start / i, "elbo": -start / i, "kl": 0.5 * i}
        row = {"stage": stage, "epoch": i, "step": 3 * i, "seconds": 0.5 * i, "lr": 0.001, "beta": 0.0, "train": terms}
        if valid:  # worse again after epoch 3
            row["valid"] = {"loss": start / i if i < 4 else start, "elbo": -start / i if i < 4 else -start}
        made.append(row)
    return made


HISTORY = History(rows(6), watch=("elbo", "max"))


def test_repr_is_a_line_that_says_how_it_went():
    assert (
        repr(HISTORY)
        == "History(6 epochs in 3.0 s; valid elbo -30.00 at the end, best -10.00 after epoch 3; eager steps)"
    )
    stopped = History(rows(2, valid=False), True, "eager, since no", "Mine: enough", ("loss", "min"))
    said = "History(2 epochs in 1.0 s; train loss 15.00 at the end; steps eager, since no; stopped: Mine: enough)"
    assert repr(stopped) == said
    staged = History(rows(2, "layer 1") + rows(3, "layer 2") + rows(4))
    assert repr(staged).startswith("History(4 epochs and 5 of 2 other stages in 2.0 s; valid loss 30.00")
    assert repr(History()) == "History(0 epochs; eager steps)"


def test_a_fits_history_is_short_however_long_it_was():
    vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [4]), 6))
    x = (torch.rand(20, 6, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    history = fit(SVI(vae), x, x, epochs=60, progress=False)
    assert len(repr(history)) < 200 and len(history._repr_html_()) < 3000
    assert history.watch == ("loss", "min") and "\n" not in repr(history)


def test_html_is_a_table_of_the_last_rows():
    page = HISTORY._repr_html_()
    assert page.count("<tr>") == 6 and "The last 5 of 6 rows" in page
    head = re.findall("<th>(.*?)</th>", page)
    assert head == [
        *("epoch", "step", "seconds", "lr", "beta"),
        *("train loss", "train elbo", "train kl", "valid loss", "valid elbo"),
    ]
    last = re.findall("<td>(.*?)</td>", page)[-10:]
    assert last == ["6", "18", "3", "0.001", "0", "5", "-5", "3", "30", "-30"]
    assert "<b>" not in History(rows(1, "<b>"))._repr_html_()
    assert "<table>" not in History()._repr_html_()


def test_frame_has_a_line_an_epoch_and_a_column_a_term():
    pytest.importorskip("pandas")
    frame = HISTORY.to_frame()
    assert frame.shape == (6, 11)
    assert frame.valid_elbo.tolist() == [row["valid"]["elbo"] for row in HISTORY.rows]
    staged = History(rows(2, "layer", valid=False) + rows(2)).to_frame()
    assert staged.stage.tolist() == ["layer", "layer", "", ""] and staged.valid_elbo.isna().tolist()[:2] == [True, True]


def test_frame_without_pandas_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="^to_frame needs pandas; pip install pandas, or read History.rows$"):
        HISTORY.to_frame()


def test_plot_draws_the_watched_term_of_every_stage():
    history = History(rows(3, "layer 1", valid=False) + rows(6), watch=("elbo", "max"))
    first, main = history.plot().axes
    assert (first.get_title(), main.get_title(), main.get_ylabel()) == ("layer 1", "", "elbo")
    assert [line.get_label() for line in first.lines] == ["training"]
    assert history.plot()._repr_png_().startswith(b"\x89PNG"), "a notebook draws it without pyplot"
    training, validation = main.lines
    assert np.allclose(validation.get_ydata(), [row["valid"]["elbo"] for row in rows(6)])
    assert np.allclose(training.get_ydata(), [row["train"]["elbo"] for row in rows(6)])
    assert [*validation.get_xdata()] == [1, 2, 3, 4, 5, 6]


def test_plot_takes_terms_and_refuses_those_there_are_not():
    assert [axes.get_ylabel() for axes in HISTORY.plot("kl", "loss").axes] == ["kl", "loss"]
    assert [line.get_label() for line in HISTORY.plot("kl").axes[0].lines] == ["training"]
    with pytest.raises(ValueError, match="no row holds the term 'kll'; they hold loss, elbo, kl"):
        HISTORY.plot("kll")
    with pytest.raises(ValueError, match="they hold none"):
        History().plot()
    other = [row | {"stage": "codes", "train": {"loss": 1.0}, "valid": {"loss": 2.0}} for row in rows(2)]
    assert [axes.get_ylabel() for axes in History(rows(2) + other, watch=("elbo", "max")).plot().axes] == [
        "elbo",
        "loss",
    ]
