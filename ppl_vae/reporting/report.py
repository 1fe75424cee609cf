"""The report: one HTML file that shows what a run learned, opens offline and needs nothing beside it.

Figures with letters are inline SVG whose colours follow the page (light or dark); pictures without are PNG in base64.
A section that the model or the data cannot fill is left out: no samples of an autoencoder without its training data, no
legend without labels, no pictures of a program whose parts are not known; of a program there are its curves and what
can be said of its guide.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import evaluation
from ..training.checkpoint import write_atomically
from . import pictures, plots, trust
from .embed import embed
from .headline import command, facts, numbers, title
from .page import page
from .section import Section

CODES, PAIRS, TRAVERSED, DRAWN = 2000, 20, 8, 400


def write(
    run_folder: str | os.PathLike[str],
    model: nn.Module,
    data: Any,
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

    Returns:
        Path of the report.
    """
    path, run = Path(run_folder) / "report.html", Path(run_folder).resolve().name
    given = dict(evaluation or {})
    split = next((name for name in ("test", "valid", "train") if name in given), None)
    results = {**given[split], **given} if split else given
    html = page(
        "ppl_vae.reporting",
        title=title(model, data),
        run=run,
        facts=facts(model, data, history_rows, config),
        numbers=list(numbers(model, history_rows, results, split or "test")),
        sections=list(_sections(model, data, history_rows, results)),
        command=command(run, config),
        config=json.dumps(config, indent=2, default=str),
    )
    write_atomically(path, html)
    return path


def _sections(model: nn.Module, data: Any, rows: Sequence[Mapping[str, Any]], results: dict) -> Iterator[Section]:
    yield from _curves(rows)
    x, y = _test_examples(model, data)
    sees = hasattr(model, "posterior") or hasattr(model, "encode")
    shows = hasattr(model, "likelihood") or hasattr(model, "decode")
    if x is not None and sees and shows:
        yield _reconstructions(model, x)
    if shows and (hasattr(model, "prior") or (sees and len(getattr(data, "train", ())) > 1)):
        yield _samples(model, data, x)
    if x is not None and sees and shows:
        yield from _walks(model, x)
    if x is not None and sees:
        yield from _latents(model, x, y, getattr(data, "classes", None))
    if x is not None and hasattr(model, "guide"):
        yield trust.calibrated(model, x, y)
        if "log_likelihood" in results or trust.is_vector(results.get("khat")):
            yield trust.weights(model, x, y, results)


def _curves(rows: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    held = dict.fromkeys(t for row in rows for part in ("train", "valid") for t in row.get(part) or {})
    terms = [t for t in held if t != "loss"] or list(held)
    if terms:
        unit = "in nats an example and at beta = 1, " if "elbo" in held else ""
        text = (
            f"Each term after each of {len(rows)} epochs, {unit}on the examples trained on and on validation examples "
            "kept aside. Where the two part, the model has begun to learn by heart."
        )
        figures = [
            embed(plots.training_curves(rows, [t]), f"Curve of {t.replace('_', ' ')} over epochs") for t in terms
        ]
        yield Section("curves", "Training curves", text, tuple(figures))


def _reconstructions(model: nn.Module, x: Tensor) -> Section:
    x = x[: _count(model, PAIRS, 9)]
    means = pictures.reconstruct(model, x)
    figure = plots.reconstructions(_drawable(model, x), _drawable(model, means))
    text = (
        "Test examples the model never trained on, squeezed into a code of "
        f"{model.dim} number{'s' * (model.dim != 1)} and drawn again from the code alone."
    )
    alt = "Test examples, each beside its reconstruction from the code"
    return Section("reconstructions", "Reconstructions", text, (embed(figure, alt),))


def _samples(model: nn.Module, data: Any, x: Tensor | None) -> Section:
    """Pictures of random codes, and how well they pass for data."""
    train = getattr(data, "train", None)
    train = None if train is None else train.resolve(getattr(model, "support", None))
    known = None if train is None else train.take(slice(0, min(CODES, len(train))))[0]
    if hasattr(model, "prior"):
        name, z = "Prior samples", pictures.prior_draws(model, DRAWN)
        text = "Codes drawn from the prior and decoded: none of these exists in the data."
        text += " Shown is the likelihood's mean." if hasattr(model, "likelihood") else ""
    else:
        assert known is not None  # else this section is left out
        name, z = "Samples from random codes", evaluation.random_codes(model, DRAWN, known)
        text = (
            "An autoencoder has no prior: these codes are drawn from a Normal fitted to the codes of the training "
            "examples, and decoded. None of these exists in the data."
        )
    draws = pictures.decode(model, z)
    if x is not None and train is not None and known is not None and train.noise is None:
        text += "" if x.isnan().any() or known.isnan().any() else _passing(model, draws, known, x)
    means = _drawable(model, draws[: _count(model, 60, 12)])
    figure = plots.image_grid(means, None if means.ndim == 2 else 10)
    return Section("samples", name, text, (embed(figure, "Examples generated from random codes"),))


def _passing(model: nn.Module, draws: Tensor, known: Tensor, x: Tensor) -> str:
    """Completeness and continuity in a sentence."""
    near, half = evaluation.near_data(draws, known, x), min(100, len(x) // 2)
    text = f" {near:.0%} of {len(draws)} such draws are as near to a training example as 95% of the test examples are."
    if half and (hasattr(model, "posterior") or hasattr(model, "encode")):
        jump = evaluation.continuity(model, x[:half], x[half : 2 * half]).median().item()
        text += (
            f" In 50 steps from one test example's code to another's the largest change is {jump:.2g} times the mean."
        )
    return text


def _walks(model: Any, x: Tensor) -> Iterator[Section]:
    rows = min(5, len(x) // 2)
    if rows:
        figure = plots.interpolation(_drawable(model, pictures.interpolate(model, x[:rows], x[rows : 2 * rows], 10)))
        text = "A straight line between the codes of two test examples, decoded step by step."
        alt = "Rows of decoded codes on the line between two test examples"
        yield Section("interpolation", "Interpolation", text, (embed(figure, alt),))
    order = _importance(model, x).argsort(descending=True)[:TRAVERSED].tolist()
    if len(x) > 1:
        figure = plots.traversals(
            _drawable(model, pictures.traverse(model, x, order)), names=[f"z{d + 1}" for d in order]
        )
        text = (
            "One entry of a test example's code is changed from low to high while the others stay. "
            "The entries that carry most come first."
        )
        alt = "Rows of decoded codes, one latent dimension changed in each"
        yield Section("traversals", "Latent traversals", text, (embed(figure, alt),))
    if model.dim == 2 and len(x) > 1:
        grid = _drawable(model, pictures.manifold(model, _count(model, 15, 5, 15), x))
        text = "The whole latent plane: what each point decodes to, z1 growing to the right and z2 upwards."
        yield Section("manifold", "Latent manifold", text, (embed(plots.manifold(grid), "The latent plane, decoded"),))


def _latents(model: Any, x: Tensor, y: Tensor | None, names: Sequence[str] | None) -> Iterator[Section]:
    points = pictures.project(pictures.codes(model, x))
    labels = y if y is not None and y.shape == (len(x),) else None
    told = not all(name.startswith(str(i)) for i, name in enumerate(names or ()))  # "7 - seven" tells no more
    if labels is not None and names and told and not labels.is_floating_point() and labels.max() < len(names):
        labels = np.array(names)[labels.cpu().numpy()]
    how = "" if model.dim <= 2 else f", seen along the first two principal components of {model.dim} dimensions"
    text = f"The codes of {len(x):,} test examples{how}."
    text += " Coloured by label." if labels is not None else ""
    figure = plots.latent_scatter(points, labels)
    yield Section("codes", "Codes", text, (embed(figure, "Scatter of the codes of test examples"),))
    if hasattr(model, "posterior"):
        kl, active = evaluation.kl_by_dimension(model, x), evaluation.active_units(model, x)
        text = (
            f"How many nats each latent dimension carries. {int(active.sum())} of {model.dim} are active: their "
            "posterior mean varies over the data with a variance above 0.01. The rest repeat the prior."
        )
        alt = "Bar chart of the KL of each latent dimension"
        yield Section("kl", "KL by dimension", text, (embed(plots.kl_by_dimension(kl, active), alt),))


def _importance(model: nn.Module, x: Tensor) -> Tensor:
    """KL of each latent dimension where there is a posterior, else the variance of its codes."""
    if hasattr(model, "posterior"):
        return evaluation.kl_by_dimension(model, x)
    return pictures.codes(model, x).var(0, correction=0)


def _test_examples(model: nn.Module, data: Any) -> tuple[Tensor | None, Tensor | None]:
    """The first test examples (or, without any, validation or training examples) as the model sees them."""
    parts = [getattr(data, name, None) for name in ("test", "valid", "train")]
    split = next((part for part in parts if part is not None and len(part)), None)
    if split is None:
        return None, None
    batch = split.resolve(getattr(model, "support", None)).take(slice(0, min(CODES, len(split))))
    return batch[0], batch[1] if len(batch) > 1 else None


def _count(model: Any, images: int, vectors: int, points: int = 400) -> int:
    """How many examples fit a figure: vectors take more room, and points of the plane none at all."""
    event = _drawable(model, torch.empty(0, *model.shape)).shape[1:]
    return images if len(event) == 3 else points if tuple(event) == (2,) else vectors


def _drawable(model: Any, values: Tensor) -> Tensor:
    """Examples (..., *shape) as images (..., C, H, W) where they can be, else as vectors (..., D)."""
    shape = tuple(model.shape)
    lead = values.shape[: values.ndim - len(shape)]
    image = (1, *shape) if len(shape) == 2 else shape
    drawn = image if len(image) == 3 and image[0] in (1, 3, 4) else (math.prod(shape),)
    return values.reshape(*lead, *drawn)
