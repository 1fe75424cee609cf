"""Build the networks of a model, encoder and decoder, and the quantizer between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from .. import catalog, networks, posteriors, randomness
from ..checks import check_size
from ..data import Split
from .settings import Settings

POSITIONS = 8
"""Codes of an example where the network makes no grid of them and no flag says how many."""


def kinds_of(train: Split) -> Any:
    """The kinds of the columns of a table that was loaded with them, else None."""
    return (train.config or {}).get("kinds")


def build_quantizer(settings: Settings, known: dict[str, Any]) -> None:
    """Add the quantizer to what is known; its vectors are what the decoder takes."""
    if settings.has("update"):
        known["update"] = settings.build("update", known)
    known["quantizer"] = settings.build("quantizer", known)


def build_networks(
    settings: Settings, train: Split, likelihood: str | None, known: Mapping[str, Any], options: Any
) -> tuple[nn.Module, nn.Module]:
    """The encoder and its mirror image; both see y beside their input where there is a condition.

    Where y is a part of x, the encoder sees x alone.
    """
    shape, condition = known["shape"], known.get("condition")
    network, activation, own = settings.entry("network"), settings["activation"], settings.options("network")
    cls, hidden = network.load(), settings["hidden"]
    hidden = network.defaults.get("hidden", (200, 200)) if hidden is None else hidden
    if "quantizer" in known and cls.pictures and len(shape) != 3:
        raise ValueError(
            f"--network {network.name} takes pictures, but an example of {train.name} has shape {tuple(shape)}; use "
            "--network mlp"
        )
    code: tuple[int, ...] = (known["dim"],)
    if "quantizer" in known:
        with randomness.unchanged():
            features = cls(shape, hidden, activation, **own).out_shape
        code = _vectors(settings.entry("model"), features, known["quantizer"].dim, options)
    film = settings["condition-by"] == "film"
    code = code if condition is None or film else condition.joined(code, len(code) == 1)
    size = code if len(code) > 1 else code[0]
    decoder = cls.decoder(size, [*reversed(hidden)], shape, activation, **own)
    if likelihood == "columns":  # a table's encoder knows its columns
        kinds = kinds_of(train)
        gaps = any(bool(x.isnan().any()) for x, *_ in train.resolve(None).batches(10_000))
        if condition is not None and not film:  # further inputs follow the columns
            kinds = dict(enumerate((kinds or {}).values()))
        cls, own = networks.TableEncoder, {"kinds": kinds, "mask": gaps}
    by = networks.FiLM if film else networks.Conditioned
    if condition is None or condition.observes:  # x holds that y
        encoder = cls(shape, hidden, activation, **own)
    else:
        encoder = by.around(cls, condition, shape, hidden, activation, **own)
    return encoder, decoder if condition is None else by(decoder, condition)


def build_classifier(
    settings: Settings, train: Split, likelihood: str | None, known: Mapping[str, Any], options: Any, scale: Any
) -> dict[str, Any]:
    """The classifier of x; of an auxiliary model that of x and a, with the other parts that it has of x, a and z."""
    alone = {name: value for name, value in known.items() if name != "condition"}
    with randomness.unchanged():
        network = build_networks(settings, train, likelihood, alone, options)[0]
    network = networks.Scaled.around(network, scale) if scale else network
    if "auxiliary" not in settings.entry("model").takes:
        return {"classifier": network}
    if "posterior" in settings.entry("prior").takes:
        raise ValueError(
            f"--prior {settings['prior']} is made of a posterior of x alone, and --model auxiliary has one of x and a; "
            "use another prior, such as --prior mixture-of-gaussians"
        )
    size = int(np.prod(known["shape"])) + known["dim"]  # entries of x and a, as of x and z
    pictures = settings.entry("network").load().pictures
    hidden = (200, 200) if pictures or settings["hidden"] is None else settings["hidden"]
    cls: Any = networks.MLP
    own: dict[str, Any] = {}
    if likelihood == "columns":  # further inputs follow the columns
        kinds = dict(enumerate((kinds_of(train) or {}).values()))
        cls, own = networks.TableEncoder, {"kinds": kinds, "mask": network.mask}
    by = networks.FiLM if settings["condition-by"] == "film" else networks.Conditioned
    with randomness.unchanged():
        classifier = cls(size, hidden, settings["activation"], **own)
        encoder, reverse = (
            by.around(cls, known["condition"], size, hidden, settings["activation"], **own) for _ in range(2)
        )
    if scale:  # the encoder is scaled with those of other models
        classifier, reverse = (networks.Scaled.around(made, scale) for made in (classifier, reverse))
    return {
        "auxiliary": posteriors.Normal(network, known["dim"]),
        "classifier": classifier,
        "encoder": encoder,
        "reverse": posteriors.Normal(reverse, known["dim"]),
    }


def _vectors(model: catalog.Entry, features: tuple[int, ...], dim: int, options: dict[str, Any]) -> tuple[int, ...]:
    """Shape of the vectors of size ``dim`` that a decoder takes: on the grid of the features, where they have one."""
    if len(features) == 3:
        return (dim * (2 if "top_quantizer" in model.takes else 1), *features[1:])
    if "positions" not in options:
        raise ValueError(f"--model {model.name} has codes on the grids of pictures: use --network conv or resnet")
    options["positions"] = POSITIONS if options["positions"] is None else options["positions"]
    count = options["positions"]
    sides = [check_size("model.positions", side) for side in ([count] if isinstance(count, int) else count)]
    return (dim * int(np.prod(sides)),)
