"""The report's sections on integer codes: how often each is used, where they lie, what they mean, what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import evaluation
from ..evaluation.discrete import lookup
from ..models import VQVAE, Discrete
from . import discrete_plots
from .page import Section

MAPS, PATCHES, FILED = 20, 64, 500  # pictures beside their maps, codes as patches, examples in a file


def sections(model: Discrete, x: Tensor, y: Tensor | None, results: Mapping[str, Any]) -> Iterator[Section]:
    """The sections that the model and the data can fill.

    Args:
        model: the model.
        x: test examples (N, *shape).
        y: their labels, or None.
        results: figures of ``evaluation.evaluate``.
    """
    codes = evaluation.codes(model, x, y)
    yield used(model, codes)
    if isinstance(model, VQVAE) and len(model.grid) == 2 and len(model.shape) == 3:
        if model.shape[0] in (1, 3):
            yield maps(model, x, codes)
        if all(size % side == 0 for size, side in zip(model.shape[1:], model.grid, strict=True)):
            yield patches(model, x, codes)
    if results.get("bits_per_dim") is not None and not x.isnan().any():
        yield bits(model, results)
    yield file_size(model, x[:FILED], None if y is None else y[:FILED])


def told(model: Discrete) -> str:
    """What a code is, as in "4 whole numbers below 128"."""
    size = math.prod(model.code_shape)
    return f"{size} whole number{'s' * (size != 1)} below {model.num_codes}"


def prior_told(model: Discrete) -> str:
    """Where new codes come from, as a sentence."""
    name = type(model.prior).__name__
    if model.prior.trained:
        return f"Codes drawn from the learned prior p(codes), a {name} trained on the codes of the training data"
    return f"Codes drawn from the prior p(codes), which is not trained: {name} of the codes in the training data"


def used(model: Discrete, codes: Tensor) -> Section:
    """How often each code is used."""
    usage = evaluation.CodeUsage(torch.bincount(codes.flatten(), minlength=model.num_codes))
    dead, several = model.num_codes - usage.used, math.prod(model.levels[0].code_shape) > 1 or len(model.levels) > 1
    text = (
        f"{usage.used} of {model.num_codes} codes are used by {len(codes):,} test examples, and {dead or 'none'} "
        f"{'is' if dead == 1 else 'are'} not. The code perplexity is {usage.perplexity:.1f}: so many codes, equally "
        "frequent, would say as much. The dashed line is where every bar would be if all were used equally often."
    )
    text += " The codebooks are counted together." * several
    figure = discrete_plots.code_usage(usage.counts)
    return Section("usage", "Use of the codebook", text, [(figure, "Bar chart of the share of each code")])


def maps(model: VQVAE, x: Tensor, codes: Tensor) -> Section:
    """Pictures beside the maps of their codes."""
    shown = codes[:MAPS]
    values = lookup(model, shown)
    rows, columns = model.grid
    text = (
        f"Each picture has a grid of {rows} × {columns} codes. The colour of a place stands for the vector of its "
        "code: places of like colours have near vectors."
    )
    if rows * columns <= discrete_plots.WRITTEN and shown.dim() == 3:
        text += " The numbers are the codes."
    figure = discrete_plots.code_maps(x[:MAPS], shown, values)
    return Section("maps", "Codes of pictures", text, [(figure, "Test examples, each above the map of its codes")])


def patches(model: VQVAE, x: Tensor, codes: Tensor) -> Section:
    """What codes stand for: the mean of the patches of test pictures that have them."""
    channels, height, width = model.shape
    rows, columns = model.grid
    high, wide = height // rows, width // columns
    cut = x.reshape(len(x), channels, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5)
    cut = cut.reshape(-1, channels, high, wide).nan_to_num()
    first = codes.reshape(*codes.shape[:3], -1)[..., 0].flatten()
    counts = torch.bincount(first, minlength=model.num_codes)
    sums = torch.zeros(model.num_codes, *cut.shape[1:]).index_add_(0, first, cut)
    order = counts.argsort(descending=True, stable=True)[: min(PATCHES, int((counts > 0).sum()))]
    means = sums[order] / counts[order].reshape(-1, 1, 1, 1)
    several = codes.dim() > 3
    text = (
        f"The mean of the {high} × {wide} pixels of the test examples at which a code stands, for the "
        f"{len(order)} codes that are used most, the most used first. What a code stands for also depends on the codes "
        "around it."
    )
    text += " Of the several codes of a place it is the first." * several
    if channels not in (1, 3):
        return Section("patches", "What codes stand for", text)
    figure = discrete_plots.code_patches(means)
    return Section("patches", "What codes stand for", text, [(figure, "Mean patches of the most used codes")])


def bits(model: Discrete, results: Mapping[str, Any]) -> Section:
    """Rate and what the codes leave, in bits per dimension."""
    per = math.log(2) * math.prod(model.shape)
    total, rate = results["bits_per_dim"], results["kl"] / per
    text = (
        f"In bits per dimension: {rate:.3f} for the codes under their prior (the rate, {results['kl']:.1f} nats an "
        f"example) and {total - rate:.3f} for what they leave open, log p(x | codes): {total:.3f} in all. Codes are a "
        "function of the data, so this is an upper bound: the log-likelihood may be better. It compares with the "
        "ELBO of a VAE, which is a bound too."
    )
    figures = []
    names, ends = ["with codes"], [total]
    if results.get("baseline_log_likelihood") is not None:
        least = total + (results["elbo"] - results["baseline_log_likelihood"]) / per
        text += f" The same likelihood fitted without a code takes {least:.3f}."
        names, ends = [*names, "without"], [*ends, least]
    if min(total - rate, *ends) >= 0:
        parts = {"codes": [rate, 0.0][: len(names)], "x given codes": [total - rate, *ends[1:]]}
        alt = "Bits per dimension of the codes and of the data given them"
        figures = [(discrete_plots.stacked(names, parts, "bits per dimension"), alt)]
    return Section("bits", "Bits", text, figures)


def file_size(model: Discrete, x: Tensor, y: Tensor | None) -> Section:
    """Bytes of a file of the codes, beside PNG and zlib of the same examples."""
    name, title = "file", "File size"
    try:
        found = evaluation.file_sizes(model, x, y)
    except ValueError as error:  # no entropy coder is installed
        return Section(name, title, f"Not computed: {str(error).rstrip('.')}.")
    kept = {1: "zeros and ones", 8: "8-bit grey levels", 32: "32-bit numbers"}[found.depth]
    text = (
        f"A file of the codes of {found.n:,} test examples, coded under their prior, has {found.bytes:,} bytes, "
        f"{found.bits_per_example:.1f} bits an example; the prior's probabilities allow {found.entropy:,.0f} bytes. "
        f"It is read with the model at hand. What is decoded has a squared error of {found.squared_error:.3g} an "
        f"example; PNG and zlib keep {kept} exactly."
    )
    sizes = {"codes": found.bytes, "PNG": found.png, "PNG, a file each": found.png_each, "zlib": found.zlib}
    shown = {key: float(size) for key, size in sizes.items() if size is not None}
    figure = discrete_plots.stacked([*shown], {"": [*shown.values()]}, f"bytes of {found.n:,} examples")
    return Section(name, title, text, [(figure, "Bytes of the codes, of PNG and of zlib")])
