import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import SVI, VAE, Reconstruction, data, estimators, likelihoods, models, networks, parts, posteriors, priors
from ppl_vae.reporting import report
from ppl_vae.reporting.headline import numbers

HISTORY = [
    {
        "epoch": i,
        "seconds": 0.5 * i,
        "examples_per_second": 900.0,
        "train": {"loss": 9.0, "elbo": -9.0, "reconstruction": -7.0, "kl": 2.0},
        "valid": {"loss": 9.5, "elbo": -9.5, "reconstruction": -7.3, "kl": 2.2},
    }
    for i in (1, 2)
]
RESULTS = {
    "log_likelihood": -19.1234,
    "log_likelihood_stderr": 0.0212,
    "elbo": -20.42,
    "reconstruction": -12.0,
    "kl": 8.42,
    "bits_per_dim": 0.431,
    "active_units": 2,
    "n": 180,
    "num_particles": 100,
    "khat": 0.31,
    "reconstruction_error": 3.0,
}
ALWAYS = ["curves", "reconstructions", "interpolation", "traversals", "codes"]


class Page(HTMLParser):
    """What a browser would find: sections, links, pictures without a text, ids, and letters."""

    def __init__(self, html):
        super().__init__()
        self.sections, self.links, self.silent, self.ids, self.tags, self.text = [], [], [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("src", "href", "xlink:href", "action", "data") if name in found]
        if tag == "section":
            self.sections.append(found["id"])
        if (tag == "img" and not found.get("alt")) or (tag == "svg" and not found.get("aria-label")):
            self.silent.append(found)
        if "id" in found:
            self.ids.append(found["id"])

    def handle_data(self, letters):
        self.text += letters


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def make_vae(shape, dim=4, likelihood=likelihoods.Bernoulli):
    torch.manual_seed(0)
    return VAE(
        priors.Normal(dim),
        posteriors.Normal(networks.MLP(shape, [16]), dim),
        likelihood(networks.MLP(dim, [16]), shape),
    )


def config_of(objective, **more):
    return {"ppl_vae": "0.1.0", "objective": parts.describe(objective), "training": {"epochs": 2}, **more}


def held_out(split):
    """Data of a test split alone."""
    nothing = data.Split(torch.empty(0, *split.shape), labels=split.labels)
    return data.Data("", nothing, nothing, split, None, {})


def write(folder, model, data, rows=HISTORY, results=None, objective=None, **more):
    path = report.write(folder, model, data, rows, config_of(objective or SVI(model), **more), results)
    assert path == folder / "report.html" and [p.name for p in folder.iterdir()] == ["report.html"]
    html = path.read_text("utf-8")
    return html, Page(html)


def test_a_vae_has_every_section_and_number(tmp_path, digits):
    model = make_vae(digits.shape, dim=2)
    results = {"test": RESULTS, "khat": [0.1, 0.5, 0.9], "ess": torch.tensor([9.0, 5.0, 1.0])}
    objective = SVI(model, estimators.TraceELBO())
    html, page = write(tmp_path, model, digits, results=results, objective=objective, shell={"data": "digits"})
    assert page.sections == [*ALWAYS[:2], "samples", *ALWAYS[2:4], "manifold", "codes", "kl", "calibration", "weights"]
    for shown in (
        "VAE on digits",
        "Normal prior",
        "Bernoulli likelihood",
        "TraceELBO estimator",
        "2 latent dimensions",
    ):
        assert shown in page.text
    for shown in ("−19.12 ± 0.021", "−20.42", "−12.00", "8.42", "0.431", "of 2", "1.0", "900"):
        assert shown in page.text
    assert f"ppl-vae train --config {tmp_path.name}/config.json" in page.text
    assert '"class": "likelihoods.Bernoulli"' in page.text


def test_a_collapsed_model_is_said_to_be_and_its_draws_are_not_praised(tmp_path, digits):
    grey = data.load("digits", binarize="none")
    for kl, gain in ((0.79, 1.1), (8.42, 7.0)):
        folder = tmp_path / str(kl)
        folder.mkdir()
        model = make_vae(digits.shape, likelihood=likelihoods.Normal)
        results = {"test": RESULTS | {"kl": kl, "gain": gain, "gain_stderr": 0.1}}
        _, page = write(folder, model, grey, results=results)
        assert ("draws are as near to a training example" in page.text) == (kl > 1)
        assert ("these draws are all alike" in page.text) == (kl < 1)
        said = page.text.partition("The model is collapsed: its codes carry 0.79 nats")
        assert bool(said[1]) == (kl < 1) and (kl > 1 or "−19.12" in said[2])  # above the numbers
        assert f"{gain:.2f} ± 0.1" in page.text


def test_it_needs_nothing_beside_it_and_says_what_its_pictures_show(tmp_path, digits):
    html, page = write(tmp_path, make_vae(digits.shape, dim=2), digits, results={"test": RESULTS})
    assert page.links and all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not page.silent and len(page.ids) == len(set(page.ids))
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert references <= set(page.ids)
    assert page.tags.count("h1") == 1 and "prefers-color-scheme: dark" in html


def test_the_weights_are_drawn_anew_where_only_their_median_is_given(tmp_path, digits):
    html, page = write(tmp_path, make_vae(digits.shape), digits, results={"test": RESULTS | {"num_particles": 30}})
    assert page.sections[-1] == "weights" and "Here 30 weights for each of 179 examples" in page.text
    assert "median k-hat 0.31" in page.text
    _, page = write(tmp_path, make_vae(digits.shape), digits)
    assert "weights" not in page.sections


@pytest.mark.parametrize(
    ("results", "value", "words"),
    [
        (
            {"log_likelihood_error": 0.03, "error_unknown": 0.0},
            "−19.12 ± 0.03",
            "By 100 importance weights each, median k-hat 0.31",
        ),
        (
            {"error_unknown": 0.25, "khat": 0.52},
            "−19.12",
            "median k-hat 0.52 (above 0.5: not to be trusted); its error is not known: k-hat is above 0.5 or undefined "
            "for 25% of the examples",
        ),
        (
            {"error_unknown": 1.0, "num_particles": 20, "khat": None},
            "−19.12",
            "error is not known: k-hat needs 25",
        ),
        ({"khat": 0.6}, "−19.12", "its error is not known: k-hat is above 0.5 or undefined"),  # of an older evaluation
        ({"log_likelihood": None, "error_unknown": 1.0, "khat": None}, "not defined", "its error is not known"),
        ({"log_likelihood": -math.inf, "error_unknown": 1.0}, "−inf", "its error is not known"),
    ],
)
def test_the_headline_has_an_error_where_it_is_known(results, value, words):
    (number,) = (n for n in numbers(make_vae((1, 8, 8)), [], RESULTS | results, "test") if "log-likelihood" in n.name)
    assert number.value == value and words in number.meaning


def test_headline_numbers_that_are_not_defined_say_so():
    undefined = {"elbo": None, "bits_per_dim": math.nan, "active_units": math.nan, "kl": math.nan}
    found = {n.name: n.value for n in numbers(make_vae((1, 8, 8)), [], RESULTS | undefined, "test")}
    said = ("Test ELBO", "Bits per dimension", "Active units", "Test KL")
    assert [found[name] for name in said] == ["not defined"] * 4


def test_the_section_on_weights_leaves_no_example_out(tmp_path, digits):
    khat = torch.tensor([0.1, 0.45, 0.6, math.nan, math.inf])
    results = {"test": RESULTS | {"num_particles": 1000}, "khat": khat, "ess": torch.full((5,), math.nan)}
    html, page = write(tmp_path, make_vae(digits.shape), digits, results=results)
    for words in (
        "Below the dashed line at 0.67",
        "so for 25% of the examples. Above 0.5 the weights may have no variance",
        "the error of the estimate is not known: so for 60%",
        "For 1 of them k-hat is not defined: their weights are NaN or all 0.",
        "For 1 of them it is infinite",
        "The worst, by their place in the split: 4.",
    ):
        assert words in page.text
    results = {"test": RESULTS, "khat": torch.full((5,), math.nan)}
    html, page = write(tmp_path, make_vae(digits.shape), digits, results=results)
    assert page.sections[-1] == "weights"
    assert "Not computed: k-hat is not defined for any of the 5 examples" in page.text


def test_more_than_two_dimensions_have_no_manifold(tmp_path, digits):
    _, page = write(tmp_path, make_vae(digits.shape, dim=3), digits)
    assert "manifold" not in page.sections and "samples" in page.sections
    assert "first two principal components" in page.text and "Validation ELBO" in page.text


def test_an_autoencoder_shows_random_codes_of_its_own(tmp_path, digits):
    ae = models.Autoencoder(networks.MLP(digits.shape, [16]), networks.MLP(3, [16]), 3, digits.shape)
    rows = [{"epoch": 1, "seconds": 1.0, "train": {"loss": 3.0, "squared_error": 3.0}}]
    results = {"test": {"reconstruction_error": 2.5, "n": 180}}
    _, page = write(tmp_path, ae, digits, rows, results, objective=Reconstruction(ae))
    assert page.sections == [*ALWAYS[:2], "samples", *ALWAYS[2:]]
    assert "has no prior: these codes are drawn from a Normal fitted to the codes" in page.text
    assert re.search(r"\d+% of 400 such draws are as near .* the largest change is [1-9]", page.text)
    assert "Test squared error" in page.text and "2.50" in page.text and "nats" not in page.text.split("Training")[0]
    _, page = write(tmp_path, ae, held_out(digits.test), rows, objective=Reconstruction(ae))
    assert page.sections == ALWAYS


def test_everything_a_user_named_is_escaped(tmp_path, digits):
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    hostile = "</code></pre><script>alert('2')</script>"
    config = {"objective": {"estimator": {"class": hostile}}, "shell": {"data": hostile}}
    path = report.write(folder, make_vae(digits.shape), digits, HISTORY, config)
    page = Page(path.read_text("utf-8"))
    assert "script" not in page.tags and "x" not in page.links
    assert "<img src=x onerror=alert(1)>" in page.text and json.dumps(hostile) in page.text


def test_vectors_without_labels(tmp_path):
    _, page = write(tmp_path, make_vae((6,), 2, likelihoods.Normal), held_out(data.as_split(torch.randn(50, 6))))
    assert {"reconstructions", "samples", "manifold", "codes", "kl"} <= set(page.sections)
    assert "Coloured by label" not in page.text


@pytest.mark.parametrize("shape", [(5, 3, 3), (8, 8), (2,), (40,)])
def test_data_of_any_shape_is_drawn(tmp_path, shape):
    split = data.as_split(torch.randn(30, *shape))
    _, page = write(tmp_path, make_vae(shape, 2, likelihoods.Normal), held_out(split))
    assert {"reconstructions", "samples", "traversals", "manifold"} <= set(page.sections)
    table = shape == (40,)  # its columns are drawn one by one
    assert ("interpolation" in page.sections) == (not table) and ("correlations" in page.sections) == table


def test_labels_carry_the_names_of_their_classes(tmp_path, digits):
    x, y = digits.test.resolve(likelihoods.Bernoulli.support).take(slice(None))
    named = data.Split(x, y, labels=replace(digits.test.labels, classes=tuple("abcdefghij")))
    html, _ = write(tmp_path, make_vae(digits.shape), held_out(named))
    assert re.search(r"<text[^>]*>j</text>", html)


def test_without_data_or_history_something_is_still_shown(tmp_path, digits):
    _, page = write(tmp_path, make_vae(digits.shape), None, rows=[])
    assert page.sections == ["samples"]
    program = models.Program(lambda x: None, lambda x: None)
    path = report.write(tmp_path, program, digits, HISTORY, {})
    page = Page(path.read_text("utf-8"))
    assert page.sections == ["curves", "calibration"] and "Not computed: the model has no observed site" in page.text


def regression(x, shared, guide):
    """A program of pPCA, maybe with its offset as a latent of all data, and its report's page."""
    weight = torch.linspace(-1, 1, 8).reshape(2, 4)

    def model(x):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0)) if shared else 0.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight + offset, 1.0).to_event(1), obs=x)

    def q(x):
        if shared:
            pyro.sample("offset", dist.Normal(0.0, 0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x, weight))

    return models.Program(model, q), held_out(data.as_split(x))


def exact(x, weight):
    covariance = torch.linalg.inv(torch.eye(2) + weight @ weight.T)
    return dist.MultivariateNormal(x @ weight.T @ covariance, covariance)


def test_a_program_shows_what_can_be_said_of_its_guide(tmp_path):
    x, results = torch.randn(60, 4), {"log_likelihood": -5.0, "num_particles": 50}
    program, owner = regression(x, False, exact)
    html, page = write(tmp_path, program, owner, results={"test": results}, objective=SVI(program))
    assert page.sections == ["curves", "calibration", "weights"] and "Not computed" not in page.text
    assert "yes: no sign of the contrary in 2 latent dimensions" in page.text and "z[0]" in html
    program, owner = regression(x, False, lambda x, weight: dist.Normal(x[:, :2] + 3, 1.0).to_event(1))
    html, page = write(tmp_path, program, owner, results={"test": results}, objective=SVI(program))
    assert "No: 2 of 2 latent dimensions fail at the 5% level (2 too high)" in page.text
    assert re.search(r"likely too low: so for \d+% of the examples. Here 50 weights", page.text)


def test_what_has_no_meaning_for_a_program_says_why_and_does_not_fail(tmp_path):
    program, owner = regression(torch.randn(60, 4), True, exact)
    _, page = write(tmp_path, program, owner, objective=SVI(program))
    assert page.sections == ["curves", "calibration"]
    assert "Not computed: site offset is outside the plate data" in page.text

    def broken(x, weight):
        raise RuntimeError("no such thing\nat all")

    program, owner = regression(torch.randn(60, 4), False, broken)
    _, page = write(tmp_path, program, owner, results={"test": {"log_likelihood": -5.0}}, objective=SVI(program))
    assert page.text.count("Not computed: RuntimeError: no such thing.") == 2


def test_the_guide_of_a_vae_is_calibrated_in_its_own_words(tmp_path, digits):
    _, page = write(tmp_path, make_vae(digits.shape, dim=6), digits)
    section = page.text[page.text.index("Is the guide right?") :]
    assert "Not computed" not in section and "The 4 dimensions farthest off are shown" in section
    assert re.search(r"z[1-6]\s", section)
    ae = models.Autoencoder(networks.MLP(digits.shape, [16]), networks.MLP(3, [16]), 3, digits.shape)
    _, page = write(tmp_path, ae, digits, objective=Reconstruction(ae))
    assert "calibration" not in page.sections


def test_results_of_another_split_are_called_so(tmp_path, digits):
    _, page = write(tmp_path, make_vae(digits.shape), digits, results={"valid": RESULTS, "settings": {}})
    assert "Validation log-likelihood" in page.text and "Test log" not in page.text


def test_a_report_leaves_global_state_and_the_model_alone(tmp_path, digits):
    model = make_vae(digits.shape, dim=2).train()
    settings, state = dict(matplotlib.rcParams), torch.get_rng_state()
    write(tmp_path, model, digits)
    assert dict(matplotlib.rcParams) == settings
    assert torch.equal(torch.get_rng_state(), state) and model.training


def test_a_report_that_fails_leaves_the_old_one(tmp_path, digits):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match="x has examples of shape"):
        report.write(tmp_path, make_vae((3, 3)), digits, HISTORY, {})
    assert (tmp_path / "report.html").read_text() == "old"
