"""The report's sections on labels: one code at every label, completions, predictions and clusters."""

import functools
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import constraints

import ppl_vae
from ppl_vae import data, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.cli import main
from ppl_vae.models import Clustering, Codec, Latent, Predictor
from ppl_vae.reporting import label_plots, label_sections, report

SHAPE, CLASSES = (1, 4, 4), 3


class Painter(nn.Module, Codec, Latent, Predictor):
    """A picture whose left half is its label / 2 and whose right half is its code."""

    shape, code_shape, support = SHAPE, (1,), constraints.real
    code_support = constraints.independent(constraints.real, 1)

    def __init__(self, kind=None):
        super().__init__()
        self.kind = (networks.Label(CLASSES) if kind is None else kind,)  # in a tuple: the class has the names

    @property
    def condition(self):
        return self.kind[0]

    @property
    def target(self):
        return self.kind[0]

    def prior(self, y=None):
        return ppl_vae.priors.Normal(1)(y)

    def encode(self, x, y=None):
        return x[..., 0, 0, 3:]

    def decode(self, z, y=None, *, like=None):
        left = (y.to(z) / 2)[..., None, None, None].expand(*z.shape[:-1], 1, 4, 2)
        return torch.cat([left, z[..., None, None].expand(*z.shape[:-1], 1, 4, 2)], -1)

    def predict(self, x):
        return torch.nn.functional.one_hot((2 * x[:, 0, 0, 0]).round().long(), CLASSES).float()


class Guesser(Painter):
    """Tells y of x alone."""

    condition = None


class Clusterer(Painter, Clustering):
    """Its decoder paints the code alone; clusters are labels, two swapped."""

    condition = target = None
    components = 4

    def assign(self, x):
        sure = 0.7 + 0.3 * x[:, :1, 0, 3]
        own = self.predict(x)[:, [0, 2, 1]]
        return torch.cat([own * sure + (1 - own) * (1 - sure) / 2, torch.zeros(len(x), 1)], 1)

    def decode(self, z, y=None, *, like=None):
        return z[..., None, None].expand(*z.shape[:-1], 1, 4, 4)


class Half(networks.Picture):
    """The left half of x is given."""

    observes = True

    def of(self, x):
        return torch.cat([x[..., :2], torch.full_like(x[..., 2:], -1.0)], -1)


class Completer(Painter):
    """Keeps the half that is given and paints the code beside it."""

    def __init__(self):
        super().__init__(Half(SHAPE))

    def decode(self, z, y=None, *, like=None):
        return torch.cat([y[..., :2], z[..., None, None].expand(*z.shape[:-1], 1, 4, 2)], -1)


def painted(n=30, seed=5):
    y = torch.arange(n) % CLASSES
    z = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed))
    return Painter().decode(z, y), y


def tiles(figure):
    """The pictures of a figure, in order."""
    return np.stack([np.asarray(image.get_array()) for image in figure.axes[0].images])


def drawn(sections):
    return {section.id: section for section in sections}


same = functools.partial(torch.Tensor.float)


def test_along_a_row_only_the_label_changes():
    section = drawn(label_sections.drawn_for(Painter(), None, ["a", "b", "c"], same))["labels"]
    figure = section.figures[0][0]
    grid = tiles(figure).reshape(label_sections.STYLES, CLASSES, 4, 4)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["a", "b", "c"]
    assert np.allclose(grid[:, :, 0, 0], [[0, 0.5, 1]] * label_sections.STYLES)
    codes = grid[:, :, 0, 3]
    assert np.allclose(codes, codes[:, :1]) and len(np.unique(codes[:, 0])) == label_sections.STYLES


def test_of_numbers_the_columns_are_their_quantiles():
    y = torch.linspace(0, 100, 101)
    section = drawn(label_sections.drawn_for(Painter(networks.Vector()), y, None, same))["labels"]
    names = [tick.get_text() for tick in section.figures[0][0].axes[0].get_xticklabels()]
    assert names[0] == "5" and names[-1] == "95" and len(names) == label_sections.NUMBERS


def test_completions_show_the_given_part_draws_of_the_rest_and_the_truth():
    x, _ = painted()
    section = drawn(label_sections.completed(Completer(), x, same))["completions"]
    shown = tiles(section.figures[0][0]).reshape(5, 10, 4, 4)
    truth = x[:10, 0].numpy()
    assert np.allclose(shown[0][..., :2], truth[..., :2])
    assert np.ptp(shown[0][..., 2:]) == 0  # nothing of the rest is shown
    assert np.allclose(shown[4], truth)
    for draw in shown[1:4]:
        assert np.allclose(draw[..., :2], truth[..., :2]) and not np.allclose(draw[..., 2:], truth[..., 2:])
    assert not np.allclose(shown[1], shown[2])
    assert [*label_sections.completed(Painter(), x, same)] == []


def test_clusters_show_their_mean_code_and_the_examples_surest_to_be_in_them():
    x, y = painted()
    model = Clusterer()
    section = drawn(label_sections.clustered(model, x, None, None, same))["clusters"]
    assert "1 of 4 components has no example" in section.text
    grid = tiles(section.figures[0][0]).reshape(CLASSES, 9, 4, 4)
    q, z = model.assign(x), x[:, 0, 0, 3]
    for row, (cluster, label) in enumerate([(0, 0), (1, 2), (2, 1)]):
        mean = (q[:, cluster] * z).sum() / q[:, cluster].sum()
        assert np.allclose(grid[row, 0], mean, atol=1e-6)
        surest = z[y == label].sort(descending=True).values[:8]
        assert np.allclose(grid[row, 1:, 0, 3], surest)
        assert np.allclose(grid[row, 1:, 0, 0], label / 2)


def test_clusters_stand_below_the_class_that_they_are_matched_to():
    x, y = painted()
    y = torch.where(torch.arange(30) == 0, -1, y)  # an unknown label does not count
    model = Clusterer()
    section = drawn(label_sections.clustered(model, x, y, ["a", "b", "c"], same))["cluster-classes"]
    axes = section.figures[0][0].axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "2", "1", "3"]
    counts = np.array([int(text.get_text()) for text in axes.texts]).reshape(3, 4)
    assert counts.tolist() == [[9, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0]]
    assert "100.0% of 29 do" in section.text


def test_predicted_classes_are_counted_against_the_known_labels():
    x, y = painted()
    wrong = torch.where(torch.arange(30) < 6, torch.tensor([1, 1, 1, 1, 1, -1] * 5), y)
    section = drawn(label_sections.predicted(Guesser(), x, wrong, ["a", "b", "c"], "kind"))["confusion"]
    counts = np.array([int(text.get_text()) for text in section.figures[0][0].axes[0].texts]).reshape(3, 3)
    assert counts.tolist() == [[8, 0, 0], [2, 10, 1], [0, 0, 8]]
    assert "89.7% of 29 are right" in section.text and "to take b for a, 2 times" in section.text
    assert [*label_sections.predicted(Guesser(), x, None, None, "kind")] == []


def test_predicted_numbers_are_drawn_over_the_true_ones():
    x, y = painted()
    model = Guesser(networks.Vector())
    model.predict = lambda x: 2 * x[:, 0, 0, 0] + 0.5
    section = drawn(label_sections.predicted(model, x, y.float(), None, "age"))["predictions"]
    points = section.figures[0][0].axes[0].collections[0].get_offsets()
    assert np.allclose(points[:, 0], y) and np.allclose(points[:, 1], y + 0.5)
    assert "error is 0.5" in section.text and "62% of the variance" in section.text  # 1 - 0.25 / (2 / 3)


def test_plots_refuse_what_does_not_fit():
    x = np.zeros((2, 3, 1, 4, 4))
    with pytest.raises(ValueError, match="one name for each of the 3 labels, not 2"):
        label_plots.by_label(x, ["a", "b"])
    with pytest.raises(ValueError, match="must have one shape"):
        label_plots.completions(x[0], x[:, :2], x[0])
    with pytest.raises(ValueError, match="of one number"):
        label_plots.exemplars(x[0], x[:, 0][None], ["a"])
    with pytest.raises(ValueError, match="a row for each of 2 and a column for each of 1"):
        label_plots.confusion(np.zeros((2, 2)), ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="vectors of one length"):
        label_plots.predictions([1.0], [1.0, 2.0])


def semi_supervised():
    torch.manual_seed(1)
    label, dim = networks.Label(CLASSES), 2
    encoder = networks.Conditioned(networks.MLP(16 + CLASSES, [8]), label, SHAPE)
    decoder = networks.Conditioned(networks.MLP(dim + CLASSES, [8]), label)
    return models.SemiSupervisedVAE(
        priors.Normal(dim),
        posteriors.Normal(encoder, dim),
        likelihoods.Bernoulli(decoder, SHAPE),
        networks.MLP(SHAPE, [8]),
    )


def test_a_report_does_not_give_a_model_the_labels_that_it_predicts(tmp_path):
    x, y = painted(60)
    x, model = x.round(), semi_supervised()
    pages = []
    for labels in (y, torch.full_like(y, -1)):
        parts = [data.Split(x[at], labels[at]) for at in (slice(0, 30), slice(0, 0), slice(30, 60))]
        rows = data.Data("", *parts, ["a", "b", "c"], {})
        html = report.write(tmp_path, model, rows, [], {}, {}).read_text("utf-8")
        pages.append(dict(re.findall(r'<section id="([^"]*)"(.*?)</section>', html, re.S)))
    known, unknown = pages
    assert known.keys() - unknown.keys() == {"confusion"}
    told = {"codes", "confusion"}  # coloured by the labels
    # Identifiers inside of SVG differ from figure to figure; pictures and words do not.
    seen = [
        [re.findall(r"base64,[^\"]*|<p>.*?</p>", page[name]) for name in known if name not in told] for page in pages
    ]
    assert seen[0] == seen[1] and sum(map(len, seen[0])) > 12
    assert "the predicted label" in known["reconstructions"] and "a label drawn from p(y)" in known["samples"]


def test_labels_of_the_data_are_no_components(tmp_path):
    """More classes than components, and unknown labels."""
    x, y = painted(60)
    decoder = likelihoods.Bernoulli(networks.MLP(2, [8]), SHAPE)
    model = models.MixtureVAE(priors.MixtureOfGaussians(2, components=2), likelihood=decoder)
    parts = [data.Split(x.round()[at], (y - 1)[at]) for at in (slice(0, 30), slice(0, 0), slice(30, 60))]
    assert parts[0].y.min() == -1
    html = report.write(tmp_path, model, data.Data("", *parts, None, {}), [], {}, {}).read_text("utf-8")
    assert 'id="samples"' in html and 'id="clusters"' in html
    parts = [data.Split(part.x, part.y + 2) for part in parts]
    html = report.write(tmp_path, model, data.Data("", *parts, None, {}), [], {}, {}).read_text("utf-8")
    assert 'id="samples"' in html


def test_the_job_predict_writes_what_evaluation_says(tmp_path, capsys):
    line = ["--data", "digits", "--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report"]
    runs = {name: str(tmp_path / name) for name in ("semi-supervised", "cvae")}
    for model, run in runs.items():
        assert main(["train", "--model", model, *line, "--quiet", "--out", run]) == 0
    run = runs["semi-supervised"]
    assert main(["predict", run, "--out", str(tmp_path / "y.csv")]) == 0
    head, *rows = [row.split(",") for row in (tmp_path / "y.csv").read_text().splitlines()]
    assert head[:3] == ["row", "predicted", "p 0"] and len(head) == 12
    trained = ppl_vae.open_run(run)
    x, y = trained.data().test.take(slice(None))
    found = evaluation.predict(trained.model, x)
    assert np.allclose(np.array([row[2:] for row in rows], dtype=float), found, atol=1e-6)
    assert [int(row[1]) for row in rows] == found.argmax(1).tolist()
    assert main(["sample", run, "--y", "3", "--n", "4", "--out", str(tmp_path / "s.npy")]) == 0
    made = evaluation.sample_means(trained.model, 4, torch.full((4,), 3))
    assert np.array_equal(np.load(tmp_path / "s.npy"), made)
    capsys.readouterr()
    assert main(["predict", runs["cvae"], "--out", str(tmp_path / "no.csv")]) == 2
    said = capsys.readouterr().err
    assert "predicts no label and has no clusters" in said and said.count("\n") == 1
    assert not (tmp_path / "no.csv").exists()
