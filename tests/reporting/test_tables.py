import math
import re
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from ppl_vae import SVI, VAE, data, likelihoods, models, networks, parts, posteriors, priors
from ppl_vae.kinds import Column
from ppl_vae.reporting import code_plots, code_sections, entry_plots, report, table_plots, table_sections
from ppl_vae.reporting.embed import embed
from ppl_vae.reporting.page import Section

NAN = math.nan
COLUMNS = (
    Column("age (years)"),
    Column("income ($1000)", "positive"),
    Column("visits", "count"),
    Column("smoker", "binary", 2, ("no", "yes")),
    Column("city", "categorical", 3, ("Oslo", "Rome", "Wien")),
    Column("severity", "ordinal", 3, ("low", "medium", "high")),
)
KINDS = {column.name: column.spelled for column in COLUMNS}


def rows(n=60, seed=3, missing=0.1):
    """A table of the six columns."""
    draw = np.random.default_rng(seed)
    t = draw.normal(size=n)
    level = np.clip(np.round(1 + t), 0, 2)
    x = np.stack([50 + 10 * t, np.exp(3 + t), draw.poisson(np.exp(1 + t)), t > 0, level, 2 - level], 1)
    x[draw.random(x.shape) < missing] = NAN
    return x


def words(figure):
    """Everything that is written on a figure."""
    texts = []
    for axes in figure.axes:
        texts += [axes.get_title(), axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        texts += [text.get_text() for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts)]
    return {*texts, *(text.get_text() for legend in figure.legends for text in legend.get_texts())}


def test_marginals_have_names_units_and_words():
    figure = table_plots.marginals(rows(), rows(200, 4, 0), COLUMNS)
    said = words(figure)
    assert {"age (years)", r"income (\$1000)", "visits", "no", "yes", "Oslo", "low", "high"} <= said
    assert {"observed", "drawn from the model"} <= said
    bars = figure.axes[3].patches
    x = rows()[:, 3]
    assert bars[0].get_height() == pytest.approx((x == 0).sum() / (~np.isnan(x)).sum())
    assert [axes.get_xlim()[0] < 60 for axes in figure.axes[:1]] == [True]


def test_histograms_are_of_shares_over_the_observed_range_and_say_what_lies_outside():
    column = Column("x")
    figure = table_plots.marginals(
        np.linspace(0, 1, 50)[:, None], np.r_[np.full(90, 0.5), np.full(10, 99.0)][:, None], [column]
    )
    assert "10% of draws outside" in words(figure) and figure.axes[0].get_xlim()[1] < 2
    drawn = figure.axes[0].patches
    assert max(patch.get_height() for patch in drawn[:-1]) == 0.08  # 4 of 50 values in a bin


def test_long_tails_have_logarithmic_axes():
    draw = np.random.default_rng(0)
    x = np.stack(
        [np.exp(draw.normal(0, 2, 300)), draw.poisson(np.exp(draw.normal(1, 1.5, 300))), draw.normal(size=300)], 1
    )
    columns = [Column("p", "positive"), Column("n", "count"), Column("r")]
    figure = table_plots.marginals(x, x, columns)
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "symlog", "linear"]
    assert {"0", "1", "10"} <= {text.get_text() for text in figure.axes[1].get_xticklabels()}


def test_many_levels_are_the_most_frequent_and_the_rest():
    x = np.minimum(np.random.default_rng(0).geometric(0.2, (500, 1)) - 1, 177)
    column = Column("id", "categorical", 178, tuple(f"word{i}" for i in range(178)))
    for figure in (
        table_plots.marginals(x, x, [column]),
        entry_plots.column_reconstructions(x, x, [column]),
        code_plots.codes_by_column(np.random.randn(500, 2), x[:, 0], column),
        code_plots.plane(np.full((3, 3, 1), 177.0), [column]),
        code_plots.effects(np.full((1, 3, 1), 177.0), ["z1"], [column]),
    ):
        said = words(figure)
        assert len(said) < 40 and len(embed(figure, "levels")) < 200_000
    assert {"word0", "word6", "171 others"} <= words(table_plots.marginals(x, x, [column]))


def test_correlations_are_named_and_the_largest_difference_is_framed():
    names = [column.name for column in COLUMNS]
    figure = table_plots.correlation_maps(np.eye(6), np.zeros((6, 6)), names, (0, 4))
    assert {"age (years)", r"income (\$1000)", "rank correlation", "observed", "drawn from the model"} <= words(figure)
    assert len(figure.axes[0].lines) == 2 and figure.axes[0].lines[0].get_xdata()[0] == 3.5
    with pytest.raises(ValueError, match=r"must be \(6, 6\)"):
        table_plots.correlation_maps(np.eye(5), np.eye(5), names)


def test_reconstructions_say_how_good_they_are():
    x = rows(missing=0)
    means = x.copy()
    means[:, 0] = x[:, 0].mean()
    means[:30, 4] = (x[:30, 4] + 1) % 3
    figure = entry_plots.column_reconstructions(x, means, COLUMNS)
    confusion, of_rome = figure.axes[4].images[0].get_array(), x[:, 4] == 1
    assert confusion[2, 1] == pytest.approx((means[of_rome, 4] == 2).mean()) and confusion[0, 1] == 0
    said = words(figure)
    assert {"age (years)\nR² 0.00", "visits\nR² 1.00", "city\n50% right", "severity\n100% right"} <= said
    assert {"Oslo", "Rome", "Wien", "medium", "100%"} <= said
    with pytest.raises(ValueError, match="means must have the 60 rows"):
        entry_plots.column_reconstructions(x, means[:5], COLUMNS)


def test_imputations_say_how_many_are_inside():
    truth = [np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 1.0]), np.array([])]
    columns = [COLUMNS[0], COLUMNS[3], COLUMNS[1]]
    inside = [[True, True, True, False], [True] * 3, []]
    figure = entry_plots.imputations(
        truth, [t - 1 for t in truth], truth, [t + 1 for t in truth], inside, [[0.5] * 4, [0.6, 0.2, 0.4], []], columns
    )
    assert {"age (years)\n75% inside", "smoker\ntruth 40% probable", "income (\\$1000)\nnone known", "yes"} <= words(
        figure
    )
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == pytest.approx([0.6, 0.3, 1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="one array for each of the 3 columns"):
        entry_plots.imputations(truth[:1], truth, truth, truth, inside, truth, columns)


def test_coverage_marks_what_is_off():
    figure = entry_plots.coverage_by_column([0.9, 0.6, NAN], [0.03, 0.05, NAN], ["age", "income ($)", "none"])
    blue, orange = (line.get_xdata().tolist() for line in figure.axes[0].lines[:2])
    assert orange == [0.6] and blue[0] == 0.9 and r"income (\$)" in words(figure)


def test_codes_carry_the_words_of_a_column_and_grey_where_it_is_missing():
    points = np.random.default_rng(0).normal(size=(6, 2))
    figure = code_plots.codes_by_column(points, [0, 1, 2, NAN, NAN, 0], COLUMNS[4])
    assert {"Oslo", "Rome", "Wien", "z1", "z2"} <= words(figure)
    assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) == 6
    figure = code_plots.codes_by_column(np.random.randn(40, 2), np.arange(40.0), COLUMNS[1])
    assert r"income (\$1000)" in words(figure)
    with pytest.raises(ValueError, match="not all be missing"):
        code_plots.codes_by_column(points, [NAN] * 6, COLUMNS[0])


def test_what_the_code_changes_has_names_and_words():
    values = np.stack([np.linspace(0, 1, 5)] * 6, 1)[None]
    said = words(code_plots.effects(values, ["z7"], COLUMNS))
    assert {"z7", "age (years)", "low", "high", "no", "yes", "Rome", "medium"} <= said
    said = words(code_plots.plane(np.random.rand(3, 3, 6), COLUMNS))
    assert {"age (years)", "no", "yes", "Rome", "medium"} <= said
    with pytest.raises(ValueError, match="one name for each of the 1 entries"):
        code_plots.effects(values, [], COLUMNS)


def hostile(kind):
    """Observed and drawn tables that are hard to draw, with their columns."""
    draw = np.random.default_rng(0)
    if kind == "one column":
        return rows()[:, :1], rows()[:, :1], COLUMNS[:1]
    if kind == "constant":
        return np.full((9, 6), 1.0), np.full((5, 6), 1.0), COLUMNS
    if kind == "all missing":
        return np.full((9, 6), NAN), rows(missing=0), COLUMNS
    if kind == "infinite draws":
        x = rows(missing=0)
        return x, np.where(np.arange(6) < 3, np.inf, x), COLUMNS
    return draw.poisson(2.0, (50, 300)), draw.poisson(2.0, (50, 300)), [Column(f"G{i}", "count") for i in range(300)]


@pytest.mark.parametrize("kind", ["one column", "constant", "all missing", "infinite draws", "300 columns"])
def test_hostile_tables_are_drawn(kind):
    x, drawn, columns = hostile(kind)
    few = list(columns[:6])
    figures = [
        table_plots.marginals(x[:, :6], drawn[:, :6], few),
        table_plots.moments(x, drawn, columns),
        entry_plots.column_reconstructions(x[:5, :6], drawn[:5, :6], few),
    ]
    for figure in figures:
        assert "<svg" in embed(figure, "hostile")
    assert ("all missing" in words(figures[0])) == (kind == "all missing")
    with pytest.raises(ValueError, match="observed must have shape"):
        table_plots.marginals(x[:, :0], drawn, columns)


def make(kinds, size, dim=2, missing=True):
    torch.manual_seed(0)
    if missing:
        guide = posteriors.Normal(networks.TableEncoder(size, [8], kinds=kinds), dim)
        return VAE(priors.Normal(dim), guide, likelihoods.Columns(networks.MLP(dim, [8]), size, kinds))
    likelihood = likelihoods.Normal(networks.MLP(dim, [8]), size)
    return VAE(priors.Normal(dim), posteriors.Normal(networks.MLP(size, [8]), dim), likelihood)


def table_data(x, columns=None, kinds=None, y=None):
    """x in three splits."""
    x = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    cuts, splits = [0, len(x) // 2, 3 * len(x) // 4, len(x)], []
    for part, start, stop in zip(("train", "valid", "test"), cuts, cuts[1:], strict=False):
        splits.append(data.Split(x[start:stop], None if y is None else y[start:stop], part=part))
    return data.Data("table", *splits, None, {"kinds": kinds, "labels": None if y is None else "target"}, columns)


def sections(model, owner):
    """The sections of a table by their ids."""
    test, train = owner.test, owner.train
    table = table_sections.table_of(model, owner, test.x, test.y, train.x)
    made = [
        table_sections.reconstructions(table),
        *table_sections.against_draws(table, Section("samples", "Prior samples", "Near.")),
        table_sections.imputation(table),
        *table_sections.walks(table, [0, 1]),
        code_sections.codes(model, test.x, test.y, test.y, owner.classes, owner.config["labels"], table),
    ]
    return {section.id: section for section in made}


def test_a_table_is_reported_by_column(tmp_path):
    model, owner = make(KINDS, 6), table_data(rows(200), tuple(KINDS), KINDS)
    html = report.write(tmp_path, model, owner, [], {"objective": parts.describe(SVI(model))}).read_text("utf-8")
    assert re.findall(r'<section id="([\w-]+)"', html) == [
        *("reconstructions", "samples", "correlations", "imputation", "traversals", "manifold", "codes", "kl"),
        "calibration",
    ]
    for shown in ("age (years)", "income ($1000)", ">Rome<", ">yes<", ">medium<", "all 200 rows (50 of them test)"):
        assert shown in html, shown
    assert "The largest difference (framed): " in html and "hidden entries lie in the central 90% of the draws" in html
    assert re.search(r"Coloured by [\w ()$]+, the column that the model reconstructs best", html)
    assert "Interpolation" not in html and len(html) < 1_200_000


def test_wide_tables_say_which_columns_are_shown():
    names = tuple(f"GENE{i}" for i in range(300))
    x = np.random.default_rng(0).poisson(3.0, (300, 300))
    kinds = {name: "count" for name in names}
    found = sections(make(kinds, 300, 3), table_data(x, names, kinds, torch.arange(300) % 3))
    told = [key for key, section in found.items() if "Shown are the 12 of 300 columns that are" in section.text]
    assert told == ["reconstructions", "samples", "correlations", "imputation", "traversals"]
    assert "columns' standard deviations" in words(found["samples"].figures[1][0])
    said = found["codes"].text
    assert "Coloured by target." in said and re.search(r"which hold \d+% of their variance", said)
    assert "UMAP, which keeps neighbours together, is drawn where umap-learn is installed." in said
    assert re.search(r"Best: GENE\d+ \(R² .*Worst: GENE\d+", found["reconstructions"].text)


def test_models_that_take_no_missing_entries_say_why_none_are_imputed():
    owner = table_data(np.random.default_rng(0).normal(size=(40, 4)))
    found = sections(make(None, 4, missing=False), owner)
    assert "Not computed: the Normal likelihood takes no missing entries" in found["imputation"].text
    ae = models.Autoencoder(networks.MLP(4, [8]), networks.MLP(2, [8]), 2, 4)
    found = sections(ae, owner)
    assert "Not computed: the Autoencoder takes no missing entries" in found["imputation"].text
    assert len(found["samples"].figures) == 1 and "2" in words(found["samples"].figures[0][0])


@pytest.mark.parametrize("hard", ["one column", "constant and missing"])
def test_hostile_tables_are_reported(hard):
    x, kinds = rows(80, missing=0), KINDS
    if hard == "one column":
        x, kinds = x[:, :1], {"age (years)": "real"}
    else:
        x = x[:12]
        x[:, 0], x[:, 3], x[:, 2] = 7.0, 1.0, NAN
    found = sections(make(kinds, len(kinds)), table_data(x, tuple(kinds), kinds))
    assert ("correlations" in found) == (hard != "one column")
    for section in found.values():
        assert "nan" not in section.text.lower()
        assert section.figures and all("<svg" in embed(figure, alt) for figure, alt in section.figures)
    assert "age (years)" in words(found["samples"].figures[0][0])


def test_umap_is_drawn_where_it_is_installed(monkeypatch):
    asked = []

    class UMAP:
        def __init__(self, n_neighbors, random_state):
            asked.append((n_neighbors, random_state))

        def fit_transform(self, codes):
            warnings.warn("n_jobs value overridden by random_state", UserWarning, stacklevel=1)
            return codes[:, :2].astype(np.float32)

    fake = types.ModuleType("umap")
    fake.UMAP, fake.__spec__ = UMAP, types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "umap", fake)
    x = torch.as_tensor(rows(80), dtype=torch.float32)
    section = code_sections.codes(make(KINDS, 6, 3), x, None, None, None, None, None)
    assert asked == [(15, 0)] and [alt for _, alt in section.figures][1] == "UMAP of the codes of test examples"
    assert "UMAP keeps neighbours together; distances" in section.text and "umap-learn" not in section.text
