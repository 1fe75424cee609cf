"""Build: settings -> data, model and objective. Everything here imports torch, so commands import it late.

Parts are made by their constructors' argument names: ``dim``, ``shape``, ``network``, ... come from the rest of the
model, everything else from flags. A new part needs nothing here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.distributions import constraints

from .. import catalog, likelihoods, networks, posteriors, priors, randomness, supports
from .. import data as data_module
from ..checks import check_size
from ..data.table_coding import TABLES
from ..posteriors import natural
from .build_labels import build_condition, build_target
from .build_networks import build_classifier, build_networks, build_quantizer, kinds_of
from .flags import FIT_BUILT, LOAD_FLAGS
from .settings import Settings


def load_data(settings: Settings) -> data_module.Data:
    """The data set that the flags name; the kinds of a table's columns are an option of the likelihood."""
    flags = {name: settings[name] for name in LOAD_FLAGS if name in settings.values}
    flags["scale"] = "none" if settings["scale"] == "none" else "auto"
    if "likelihood.kinds" in settings.values:
        flags["kinds"] = settings["likelihood.kinds"] or "auto"
    elif _columns_fit(settings):
        flags["kinds"] = "auto"
    return data_module.load(settings["data"], root=settings["data-root"], **flags, **settings.options("data"))


def build_objective(settings: Settings, data: data_module.Data) -> nn.Module:
    """The model and its objective, initialised from the seed; the process's random state is left alone.

    Networks and heads start the same whatever the prior, beta and estimator, so that models of one seed differ in
    nothing else. What starts at the training data is left to ``fit``.
    """
    with randomness.isolated(settings["seed"]):
        return _objective(settings, data.train)


def fit_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of ``fit`` that flags set."""
    offered = catalog.function("training", "fit").arguments
    return {o.argument: settings[o.name] for o in offered if o.argument not in FIT_BUILT and o.kind is not None}


def natural_likelihood(train: data_module.Split) -> str:
    """The likelihood for data when none is named: bernoulli for images in [0, 1] and for binary data, else normal.

    Tables that were loaded with the kinds of their columns get columns.
    """
    train = train if len(train.shape) == 3 and train.levels is None else train.resolve(None)
    if _holds(train, constraints.boolean):
        return "bernoulli"
    return "normal" if kinds_of(train) is None else "columns"


def _columns_fit(settings: Settings) -> bool:
    """Whether the data are a table of numbers and words for which no flag names a likelihood or changes the values."""
    free = settings.values.get("likelihood", "") is None and settings["scale"] in ("auto", "none")
    if not free or settings["binarize"] not in ("auto", "none") or settings["dequantize"]:
        return False
    path = Path(settings["data"]).expanduser()
    if path.suffix.lower() in TABLES:
        return path.is_file()
    if path.suffix != ".npy" or not path.is_file() or settings["data.labels"] is not None:
        return False
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.ndim == 2 and array.dtype.kind in "fiub" and array.dtype != np.uint8  # of grey levels


def _objective(settings: Settings, train: data_module.Split) -> nn.Module:
    known: dict[str, Any] = {"dim": check_size("latent-dim", settings["latent-dim"]), "shape": tuple(train.shape)}
    if settings.has("condition"):
        known["condition"] = build_condition(settings, train)
    elif settings["given-prior"] or settings["condition-by"] == "film":
        flag = "--given-prior" if settings["given-prior"] else "--condition-by film"
        raise ValueError(f"{flag} needs --condition, which says what y is")
    model = settings.entry("model")
    if "target" in model.takes:
        known["target"] = build_target(model.name, train)
    likelihood = _likelihood_name(settings, train) if "likelihood" in model.takes else None
    options = settings.options("model")
    if "features" in model.takes:
        known |= _stacked(settings, train, known["condition"], known["dim"])
        return _trained_by(settings, model, known, options)
    if "output" in options and options["output"] is None:
        options["output"] = _output(settings, train)
    scale = _scale(settings, train, likelihood, options)
    if "quantizer" in model.takes:
        with randomness.unchanged():  # networks start the same whatever the codebook draws
            build_quantizer(settings, known)
    if settings.has("network"):
        known["encoder"], known["decoder"] = build_networks(settings, train, likelihood, known, options)
    if "classifier" in model.takes:
        known |= build_classifier(settings, train, likelihood, known, options, scale)
    if likelihood is not None and scale is not None:
        known["encoder"] = networks.Scaled.around(known["encoder"], scale)
    if "posterior" in model.takes:
        _prior_and_posterior(settings, known, known["encoder"], train, scale)
    if likelihood is not None:
        known["likelihood"] = _likelihood(settings, train, likelihood, scale, known | {"network": known["decoder"]})
    for role in catalog.roles():
        argument = role.replace("-", "_")
        if argument in model.takes and argument not in known and settings.has(role):
            known[argument] = settings.build(role, known)
    return _trained_by(settings, model, known, options)


def _trained_by(settings: Settings, model: catalog.Entry, known: dict[str, Any], options: Any) -> nn.Module:
    """The objective of the model that is built of what is known."""
    layers = {name: settings[name] for name in ("hidden", "activation") if settings[name] is not None}
    known["model"] = model.build(known | layers, options)
    known["beta"] = settings.build("beta", {}) if settings.has("beta") else settings.values.get("beta")
    if settings.has("estimator"):
        known["estimator"] = settings.build("estimator", known)
    return catalog.objective(model).build(known, settings.options("objective"))


def _stacked(settings: Settings, train: data_module.Split, label: Any, dim: int) -> dict[str, Any]:
    """The parts of a model of the codes of a VAE: that VAE, which the flags describe, and normal parts over MLPs."""
    own = {name: value for name, value in settings.values.items() if not name.startswith(("model.", "objective."))}
    alone = own | {"model": "vae", "condition": None, "given-prior": None, "estimator": None}
    features = _objective(Settings(alone, settings.given), train).model
    hidden = settings["hidden"] or (200, 200)
    encoder = networks.Conditioned.around(networks.MLP, label, dim, hidden)
    decoder = networks.Conditioned(networks.MLP(dim + label.size, [*reversed(hidden)]), label)
    return {
        "features": features,
        "prior": priors.Normal(dim),
        "posterior": posteriors.Normal(encoder, dim),
        "likelihood": likelihoods.Normal(decoder, dim),
        "classifier": networks.MLP(dim, hidden),
    }


def _prior_and_posterior(
    settings: Settings, known: dict[str, Any], encoder: nn.Module, train: data_module.Split, scale: str | None
) -> None:
    """Add the prior and the posterior to what is known: whichever the other is made of, or chosen by, comes first."""
    prior, around = settings.entry("prior"), known | {"network": encoder}
    made_of = "posterior" in prior.takes
    if not made_of:
        with randomness.unchanged():  # what comes after starts the same whatever the prior draws
            known["prior"] = settings.build("prior", known)
    named = settings["posterior"] or catalog.kebab(natural(known.get("prior")).__name__)
    posterior = settings.entry("posterior") if settings["posterior"] else catalog.exported("posteriors")[named]
    own = settings.options("posterior")
    if own.get("groups") is None and "prior" in known:  # as many as the prior's
        own["groups"] = supports.ungrouped(known["prior"].support)[1]
    own = {name: value for name, value in own.items() if name != "groups" or name in posterior.takes and value}
    known["posterior"] = posterior.build(around, own)
    if made_of:
        options = settings.options("prior")
        raw = scale is None and networks.units_of(encoder, train.shape) is None
        unit = scale == "unit" or (raw and _holds(train.resolve(None), constraints.unit_interval))
        if "prior.inputs" not in settings.given and not unit:
            options["inputs"] = "real"  # pseudo-inputs live where the data does
        with randomness.unchanged():
            known["prior"] = prior.build(known, options)
    if settings["given-prior"]:
        known["prior"] = priors.Given(known["prior"], known["condition"])


def _likelihood_name(settings: Settings, train: data_module.Split) -> str:
    return settings["likelihood"] or natural_likelihood(train)


def _likelihood(
    settings: Settings, train: data_module.Split, name: str, scale: Any, known: Mapping[str, Any]
) -> nn.Module:
    options = settings.options("likelihood")
    if name == "columns":
        options["kinds"] = kinds_of(train)
    entry = settings.entry("likelihood") if settings["likelihood"] else catalog.parts("likelihood")[name]
    if entry.name == "normal":
        _hint_at_counts(train)
    made = entry.build(known, options)
    made = made if scale is None else likelihoods.Scaled(made, scale)
    if "condition" in known and known["condition"].observes:
        made = likelihoods.Completed(made, known["condition"])
    train.resolve(made.support).check(made.support)
    return made


def _hint_at_counts(train: data_module.Split) -> None:
    """Warn that the columns of a table under a normal likelihood are counts, if all are."""
    if len(train.shape) != 1 or train.levels is not None:
        return
    binary = True
    for x, *_ in train.resolve(None).batches(10_000):
        if not bool(((x >= 0) & (x == x.floor())).all()):
            return
        binary = binary and bool((x <= 1).all())
    if not binary:
        warnings.warn(
            f"--likelihood normal is a density on the reals, but {train.name} holds whole numbers from 0 on; "
            "negative-binomial or columns would be a likelihood of counts",
            stacklevel=2,
        )


def _output(settings: Settings, train: data_module.Split) -> str:
    """The output of an autoencoder when none is named: sigmoid for data in [0, 1] that are not scaled."""
    scaled = settings["scale"] in ("unit", "standard")
    return "sigmoid" if not scaled and _holds(train.resolve(None), constraints.unit_interval) else "identity"


def _scale(settings: Settings, train: data_module.Split, likelihood: str | None, options: dict[str, Any]) -> Any:
    """The units that the flags ask for; in an autoencoder, they become its option."""
    chosen, model = settings["scale"], settings.entry("model")
    takes = likelihood is not None or "output" in options and "scale" in options
    if not takes:
        if chosen in ("unit", "standard"):
            raise ValueError(f"--scale {chosen} is for models that have units, and --model {model.name} has none")
        return None
    if likelihood is None and options["scale"] is not None:
        if chosen not in ("auto", options["scale"]):
            raise ValueError(f"--scale {chosen} and --model.scale {options['scale']} differ; give one of them")
        return None
    if chosen == "auto":
        real = options["output"] == "identity" if likelihood is None else _on_the_reals(settings, likelihood)
        scale = "standard" if real and len(train.shape) == 1 else None
    else:
        scale = None if chosen == "none" else chosen
    if likelihood is None:
        options["scale"] = scale
    return scale


def _on_the_reals(settings: Settings, likelihood: str) -> bool:
    """Whether a likelihood lives on the reals, whatever its options."""
    entry = settings.entry("likelihood") if settings["likelihood"] else catalog.parts("likelihood")[likelihood]
    if isinstance(entry, catalog.Of):
        return supports.of(entry.distribution.support) == supports.REALS
    classes = entry.load().__mro__
    found = next((vars(cls)["support"] for cls in classes if "support" in vars(cls)), None)
    return supports.of(found) == supports.REALS


def _holds(split: data_module.Split, support: constraints.Constraint) -> bool:
    try:
        split.check(support)
    except ValueError:
        return False
    return True
