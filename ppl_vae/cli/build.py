"""Build: settings -> data, model and objective. Everything here imports torch, so commands import it late.

Parts are made by their constructors' argument names: ``dim``, ``shape``, ``network``, ... come from the rest of the
model, everything else from flags. A new part needs nothing here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributions import constraints

from .. import data as data_module
from .. import supports
from ..checks import check_size
from . import catalog
from .catalog import Entry
from .flags import FIT_BUILT, LOAD_FLAGS, objective
from .settings import Settings


def load_data(settings: Settings) -> data_module.Data:
    """The data set that the flags name; the kinds of a table's columns are an option of the likelihood."""
    flags = {name: settings[name] for name in LOAD_FLAGS if name in settings.values}
    if "likelihood.kinds" in settings.values:
        flags["kinds"] = settings["likelihood.kinds"] or "auto"
    return data_module.load(settings["data"], root=settings["data-root"], **flags, **settings.options("data"))


def build_objective(settings: Settings, data: data_module.Data) -> nn.Module:
    """The model and its objective, initialised from the seed; the process's random state is left alone.

    Networks and heads start the same whatever the prior, beta and estimator, so that models of one seed differ in
    nothing else. What starts at the training data (``Part.start``) is left to ``fit``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        return _objective(settings, data.train)


def fit_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of ``fit`` that flags set."""
    offered = catalog.function("training", "fit").arguments
    return {o.argument: settings[o.name] for o in offered if o.argument not in FIT_BUILT and o.kind is not None}


def natural_likelihood(train: data_module.Split) -> str:
    """The likelihood for data when none is named: bernoulli for images in [0, 1] and for binary data, else normal."""
    train = train if len(train.shape) == 3 and train.levels is None else train.resolve(None)
    return "bernoulli" if _holds(train, constraints.boolean) else "normal"


def _objective(settings: Settings, train: data_module.Split) -> nn.Module:
    known = {"dim": check_size("latent-dim", settings["latent-dim"]), "shape": tuple(train.shape)}
    if settings.has("network"):
        known["encoder"], known["decoder"] = _networks(settings, train, **known)
    model = settings.entry("model")
    if "posterior" in model.structural:
        _prior_and_posterior(settings, known, known["encoder"], train)
    if "likelihood" in model.structural:
        known["likelihood"] = _likelihood(settings, train, known | {"network": known["decoder"]})
    for role in ("penalty", "corruption"):
        if settings.has(role):
            known[role] = _make(catalog.ROLES[role], settings.entry(role), known, settings.options(role))
    options = settings.options("model")
    if "output" in options and options["output"] is None:
        options["output"] = "sigmoid" if _holds(train.resolve(None), constraints.unit_interval) else "identity"
    layers = {name: settings[name] for name in ("hidden", "activation") if settings[name] is not None}
    known["model"] = _make("models", model, known | layers, options)
    known["beta"] = _beta(settings)
    if settings.has("estimator"):
        known["estimator"] = _make("estimators", settings.entry("estimator"), known, settings.options("estimator"))
    return _make("objectives", objective(model), known, settings.options("objective"))


def _networks(settings: Settings, train: data_module.Split, dim: int, shape: Any) -> tuple[nn.Module, nn.Module]:
    """The encoder and its mirror image."""
    network, activation = settings.entry("network"), settings["activation"]
    hidden = _hidden(network) if settings["hidden"] is None else settings["hidden"]
    cls, own = _class("networks", network), settings.options("network")
    decoder = cls.decoder(dim, [*reversed(hidden)], shape, activation, **own)
    return _encoder(cls, train, hidden, activation, own), decoder


def _prior_and_posterior(
    settings: Settings, known: dict[str, Any], encoder: nn.Module, train: data_module.Split
) -> None:
    """Add the prior and the posterior to what is known: whichever the other is made of, or chosen by, comes first."""
    from ..posteriors import natural

    prior, around = settings.entry("prior"), known | {"network": encoder}
    made_of = "posterior" in prior.structural
    if not made_of:
        with torch.random.fork_rng(devices=[]):  # what comes after starts the same whatever the prior draws
            known["prior"] = _make("priors", prior, known, settings.options("prior"))
    if settings["posterior"] is not None:
        named = settings.entry("posterior")
    else:
        named = catalog.exported("posteriors")[catalog.kebab(natural(known.get("prior")).__name__)]
    known["posterior"] = _make("posteriors", named, around, settings.options("posterior"))
    if made_of:
        with torch.random.fork_rng(devices=[]):
            known["prior"] = _of_posterior(settings, prior, known, train)


def _of_posterior(settings: Settings, entry: Entry, known: Mapping[str, Any], train: data_module.Split) -> nn.Module:
    """A prior made of the posterior at pseudo-inputs: they live where the data does."""
    options = settings.options("prior")
    if "prior.inputs" not in settings.given and not _holds(train.resolve(None), constraints.unit_interval):
        options["inputs"] = "real"
    return _make("priors", entry, known, options)


def _encoder(cls: Any, train: data_module.Split, hidden: Any, activation: str, own: Mapping[str, Any]) -> nn.Module:
    """The network before the posterior: for a table with kinds of columns, one that knows them."""
    kinds = (train.config or {}).get("kinds")
    if kinds is None:
        return cls(tuple(train.shape), hidden, activation, **own)
    from ..networks import TableEncoder

    gaps = any(bool(x.isnan().any()) for x, *_ in train.batches(10_000))
    return TableEncoder(tuple(train.shape), hidden, activation, kinds, mask=gaps)


def _likelihood(settings: Settings, train: data_module.Split, known: Mapping[str, Any]) -> nn.Module:
    name = settings["likelihood"] or natural_likelihood(train)
    options = settings.options("likelihood")
    if "kinds" in options:
        options["kinds"] = (train.config or {})["kinds"]
    made = _make("likelihoods", catalog.parts("likelihood")[name], known, options)
    train.resolve(made.support).check(made.support)
    return made


def _beta(settings: Settings) -> Any:
    if not settings.has("beta"):
        return settings.values.get("beta")
    return _make("handlers", settings.entry("beta"), {}, settings.options("beta"))


def _make(folder: str, entry: Entry, known: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """An instance of a part from what the model knows and what flags say."""
    given = {name: known[name] for name in entry.structural if name in known}
    return _class(folder, entry)(**given, **options)


def _class(folder: str, entry: Entry) -> type:
    return getattr(importlib.import_module(f"ppl_vae.{folder}"), entry.cls)


def _hidden(network: Entry) -> Any:
    return next(option.default for option in network.arguments if option.argument == "hidden")


def _holds(split: data_module.Split, support: constraints.Constraint) -> bool:
    try:
        split.check(support)
    except ValueError:
        return False
    return True


def compatible_pairs() -> list[tuple[str, str]]:
    """Names of the priors and the posteriors that live on the same support, found by building small ones.

    A prior that is made of a posterior goes with every one.

    Example:
        >>> ("normal", "multivariate-normal") in compatible_pairs()
        True
    """
    from ppl_vae import networks

    with torch.random.fork_rng(devices=[]):
        known = {"dim": 2, "shape": (4,), "network": networks.MLP(4, [2])}
        priors, posteriors = (
            {
                name: None if "posterior" in entry.structural else _support(folder, entry, known)
                for name, entry in catalog.parts(role).items()
            }
            for role, folder in (("prior", "priors"), ("posterior", "posteriors"))
        )
    return [(prior, q) for prior, lives in priors.items() for q, on in posteriors.items() if lives in (None, on)]


def _support(folder: str, entry: Entry, known: Mapping[str, Any]) -> str:
    least = {option.argument: 2 for option in entry.options.values() if option.required}
    return supports.name(_make(folder, entry, known, least).support)
