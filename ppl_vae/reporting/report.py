"""The report: one HTML file that shows what a run learned, opens offline and needs nothing beside it.

What is shown is what ``evaluation`` computes. A section that the model or the data cannot fill is left out: no samples
of an autoencoder without its training data, no legend without labels; of a program there are its curves and what can be
said of its guide.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import evaluation
from ..data import Data
from ..evaluation.doors import observed
from ..evaluation.generation import labels_for
from ..evaluation.verdict import collapsed, verdict
from ..files import write_atomically
from ..models import VAE, Clustering, Codec, Discrete, Latent, SemiSupervisedVAE
from ..models.protocols import is_pair
from ..networks import Label
from . import code_sections, discrete_sections, label_sections, plots, table_sections, trust
from .headline import command, counted, facts, numbers, title
from .page import Section, page

CODES, PAIRS, TRAVERSED, ENTRIES, DRAWN = 2000, 20, 8, 4, 400


def write(
    run_folder: str | os.PathLike[str],
    model: nn.Module,
    data: Data | None,
    history_rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` into the run folder; the file appears whole or not at all.

    Args:
        run_folder: an existing folder.
        model: a trained VAE, autoencoder or program.
        data: the `Data` it was trained on, or None: then only what needs no data is shown.
        history_rows: ``History.rows``, or the lines of metrics.jsonl; may be empty.
        config: the run's config.json.
        evaluation: what ``evaluation.evaluate`` gave, under the split's name or flat; "khat" and "ess" are plotted
            where they are vectors.
    """
    path, run = Path(run_folder) / "report.html", Path(run_folder).resolve().name
    given = dict(evaluation or {})
    split = next((name for name in ("test", "valid", "train") if name in given), None)
    results = {**given[split], **given} if split else given
    main = [row for row in history_rows if not row.get("stage")]
    patience = (config.get("training") or {}).get("patience")
    verdicts = verdict(results, main, model=model, patience=patience)
    html = page(
        "ppl_vae.reporting",
        title=title(model, data),
        run=run,
        facts=facts(model, data, main, config),
        verdicts=verdicts,
        numbers=[*numbers(model, main, results, split or "test")],
        sections=[*_sections(model, data, history_rows, results, collapsed(verdicts))],
        command=command(run, config),
        config=json.dumps(config, indent=2, default=str),
    )
    write_atomically(path, html)
    return path


def _sections(
    model: Any, data: Data | None, rows: Sequence[Mapping[str, Any]], results: dict, alike: bool = False
) -> Iterator[Section]:
    for stage in dict.fromkeys(row.get("stage", "") for row in rows):
        yield from _curves(stage, [row for row in rows if row.get("stage", "") == stage])
    x, y = _examples(model, data, ("test", "valid", "train"))
    known, labels = _examples(model, data, ("train",))
    own, classes = y, _named(data)[0]
    labels = labels if known is None else observed(model, known, labels)
    # Unknown to the model as in evaluation, where y is a site of it; to a Clustering y would be a component.
    if isinstance(model, Clustering) or (isinstance(model, Codec) and model.target is not None):
        y = labels = None
    table = table_sections.table_of(model, data, x, y, known)
    if isinstance(model, Codec):
        if x is not None:
            yield _reconstructions(model, x, y) if table is None else table_sections.reconstructions(table)
        drawable = isinstance(model, Latent) or (known is not None and len(known) > 1)
        if drawable and (model.condition is None or labels is not None):
            clean = data is not None and known is not None and data.train.resolve(model.support).noise is None
            made = _samples(model, known, labels, x if clean else None, y, alike, drawn=table is None)
            yield from [made] if table is None else table_sections.against_draws(table, made)
        if table is None:
            shape = functools.partial(_drawable, model)
            yield from label_sections.drawn_for(model, labels, classes, shape)
            yield from () if x is None else label_sections.completed(model, x, shape)
        if table is not None:
            yield table_sections.imputation(table)
        if isinstance(model, Discrete) and x is not None:
            yield from discrete_sections.sections(model, x, y, results)
            yield code_sections.codes(model, x, y, own, *_named(data), table)
        elif x is not None:
            yield from _walks(model, x, y, table)
            yield code_sections.codes(model, x, y, own, *_named(data), table)
            yield from _codes(model, x, y)
        if x is not None:
            yield from label_sections.predicted(model, x, own, classes, _named(data)[1] or "y")
            if table is None:
                yield from label_sections.clustered(model, x, own, classes, shape)
    if x is not None and is_pair(model):
        yield trust.calibrated(model, x, y)
        if "log_likelihood" in results or trust.is_vector(results.get("khat")):
            yield trust.weights(model, x, y, results)


def _examples(model: Any, data: Data | None, parts: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
    """The first examples and labels of the first of these splits that has any, as the model sees them."""
    splits = {} if data is None else {"train": data.train, "valid": data.valid, "test": data.test}
    split = next((splits[part] for part in parts if part in splits and len(splits[part])), None)
    if split is None:
        return None, None
    split = split.resolve(model.support if isinstance(model, Codec) else None)
    x, *y = split.take(slice(0, min(CODES, len(split))))
    return x, y[0] if y else None


def _curves(stage: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    held = plots.terms_of(rows)
    terms = [term for term in held if term != "loss"] or held
    if terms:
        unit = "in nats an example and at beta = 1, " if "elbo" in held else ""
        text = (
            f"Each term after each of {len(rows)} epochs, {unit}on the examples trained on and on validation examples "
            "kept aside. Where they diverge, the model overfits."
        )
        figures = [(plots.training_curves(rows, [t]), f"Curve of {plots.term_title(t)} over epochs") for t in terms]
        name, title = f"curves {stage}".strip().replace(" ", "-"), "Training curves" + (f", {stage}" if stage else "")
        yield Section(name, title, text, figures)


def _reconstructions(model: Codec, x: Tensor, y: Tensor | None) -> Section:
    count, size = _count(model, PAIRS, 9), counted(math.prod(model.code_shape), "number")
    size = discrete_sections.told(model) if isinstance(model, Discrete) else size
    x, y = x[:count], trust.first(y, count)
    means = evaluation.reconstruct(model, x, y)
    figure = plots.reconstructions(_drawable(model, x), _drawable(model, means))
    beside = ""
    if isinstance(model, SemiSupervisedVAE):
        beside = " and the predicted label"
    elif model.condition is not None:
        beside = " and the part that is given" if model.condition.observes else " and the label"
    text = f"Test examples the model never trained on, squeezed into a code of {size} and drawn again from the code"
    text += f"{beside}." if beside else " alone."
    alt = "Test examples, each beside its reconstruction from the code"
    return Section("reconstructions", "Reconstructions", text, [(figure, alt)])


def _samples(
    model: Any,
    known: Tensor | None,
    labels: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    alike: bool,
    drawn: bool = True,
) -> Section:
    """Pictures of random codes, with the labels of training examples, and how well they pass for data.

    Of a collapsed model, whose draws are all alike, nothing is said of how near they are to data.
    """
    asked = labels_for(model, DRAWN, None if labels is None else labels[torch.arange(DRAWN) % len(labels)])
    latent = isinstance(model, Latent)
    z = evaluation.random_codes(model, DRAWN, asked, x=None if latent else known)
    if latent:
        name = "Prior samples"
        told = discrete_sections.prior_told(model) if isinstance(model, Discrete) else "Codes drawn from the prior"
        text = f"{told}, and decoded: none of these exists in the data."
        text += " Shown is the likelihood's mean." * (drawn and isinstance(model, VAE | SemiSupervisedVAE | Discrete))
        if model.condition is not None:
            part = "observed part" if model.condition.observes else "label"
            text += f" Each has the {part} of a training example."
        text += " Each has a label drawn from p(y)." * isinstance(model, SemiSupervisedVAE)
    else:
        name = "Samples from random codes"
        text = (
            "An autoencoder has no prior: these codes are drawn from a Normal fitted to the codes of the training "
            "examples, and decoded. None of these exists in the data."
        )
    draws = evaluation.decode(model, z, asked)
    if alike:
        text += " The model is collapsed: its codes carry no information, so these draws are all alike."
    elif x is not None and known is not None and not (x.isnan().any() or known.isnan().any()):
        near, half = evaluation.near_data(draws, known, x), min(100, len(x) // 2)
        text += f" {near:.0%} of {DRAWN} such draws are as near to a training example as 95% of the test examples are."
        if half and not isinstance(model, Discrete):
            y, y1 = (None, None) if y is None else (y[:half], y[half : 2 * half])
            jump = evaluation.continuity(model, x[:half], x[half : 2 * half], y=y, y1=y1).median().item()
            text += " In 50 steps from one test example's code to another's the largest change is "
            text += f"{jump:.2g} times the mean."
    if not drawn:
        return Section("samples", name, text)
    means = _drawable(model, draws[: _count(model, 60, 12)])
    figure = plots.image_grid(means, None if means.ndim == 2 else 10)
    return Section("samples", name, text, [(figure, "Examples generated from random codes")])


def _walks(model: Any, x: Tensor, y: Tensor | None, table: table_sections.Table | None) -> Iterator[Section]:
    rows = min(5, len(x) // 2)
    if rows and table is None:
        y0, y1 = (None, None) if y is None else (y[:rows], y[rows : 2 * rows])
        lines = evaluation.interpolate(model, x[:rows], x[rows : 2 * rows], y=y0, y1=y1, steps=10)
        text = "A straight line between the codes of two test examples, decoded step by step"
        text += ", with the label of the first." if isinstance(model.drawn_by, Label) else "."
        alt = "Rows of decoded codes on the line between two test examples"
        yield Section("interpolation", "Interpolation", text, [(plots.interpolation(_drawable(model, lines)), alt)])
    if len(x) < 2 or len(model.code_shape) != 1:
        return
    if isinstance(model, VAE | SemiSupervisedVAE):
        carried = evaluation.kl_by_dimension(model, x, y)
    else:
        carried = evaluation.codes(model, x, y).var(0, correction=0)
    order = carried.argsort(descending=True)[:TRAVERSED].tolist()
    if table is not None:
        yield from table_sections.walks(table, order[:ENTRIES])
        return
    shown = _drawable(model, evaluation.traverse(model, x, y, dims=order))
    text = (
        "One entry of a test example's code is changed from low to high while the others stay. "
        "The entries that carry most come first."
    )
    figure = plots.traversals(shown, names=[f"z{d + 1}" for d in order])
    alt = "Rows of decoded codes, one latent dimension changed in each"
    yield Section("traversals", "Latent traversals", text, [(figure, alt)])
    if tuple(model.code_shape) == (2,):
        grid = _drawable(model, evaluation.manifold(model, x, y, n=_count(model, 15, 5, 15)))
        text = "The whole latent plane: what each point decodes to, z1 growing to the right and z2 upwards."
        yield Section("manifold", "Latent manifold", text, [(plots.manifold(grid), "The latent plane, decoded")])


def _named(data: Data | None) -> tuple[Sequence[str] | None, str | None]:
    """Names of the classes, and what the labels are called."""
    called = None if data is None else data.config.get("labels")
    called = called if isinstance(called, str | None) else ", ".join(called)
    return None if data is None else data.classes, None if str(called).endswith(".npy") else called


def _codes(model: Codec, x: Tensor, y: Tensor | None) -> Iterator[Section]:
    if isinstance(model, VAE | SemiSupervisedVAE):
        kl, active = evaluation.kl_by_dimension(model, x, y), evaluation.active_units(model, x, y)
        dim = math.prod(model.code_shape)
        given = ", given the label" * isinstance(model.drawn_by, Label)
        text = (
            f"KL of each latent dimension in nats{given}. {int(active.sum())} of {dim} are active: their "
            "posterior mean varies over the data with a variance above 0.01. The others equal the prior."
        )
        alt = "Bar chart of the KL of each latent dimension"
        yield Section("kl", "KL by dimension", text, [(plots.kl_by_dimension(kl, active), alt)])


def _count(model: Codec, images: int, vectors: int, points: int = 400) -> int:
    """How many examples fit a figure: vectors take more room, and points of the plane none at all."""
    event = _drawable(model, torch.empty(0, *model.shape)).shape[1:]
    return images if len(event) == 3 else points if tuple(event) == (2,) else vectors


def _drawable(model: Codec, values: Tensor) -> Tensor:
    """Examples (..., *shape) as images (..., C, H, W) where they can be, else as vectors (..., D)."""
    shape = tuple(model.shape)
    lead = values.shape[: values.ndim - len(shape)]
    image = (1, *shape) if len(shape) == 2 else shape
    return values.reshape(*lead, *(image if len(image) == 3 and image[0] in (1, 3, 4) else (math.prod(shape),)))
