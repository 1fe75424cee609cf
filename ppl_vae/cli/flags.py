"""Flags: one table a command, most of it read off the signatures of ``data.load`` and ``training.fit``.

A flag has a name, a kind, a default and a line of help. ``--<role>.<option>`` flags come from the parts themselves.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from . import catalog
from .catalog import ROLES, Entry, Option
from .kinds import Kind


@dataclass(frozen=True)
class Flag:
    """One flag: ``--<name>`` and what follows it."""

    name: str
    kind: Kind
    default: Any
    help: str
    group: str = "flags"

    @property
    def is_switch(self) -> bool:
        """Whether the flag stands alone: ``--resume``, ``--no-progress``."""
        return self.kind.types == {"bool"} and not self.kind.choices


WORD, WHOLE, NUMBER, SWITCH = (Kind(frozenset({name})) for name in ("str", "int", "float", "bool"))
WHOLES = Kind(frozenset({"int"}), many=True)

LOAD_FLAGS = ("binarize", "dequantize", "scale", "download")
FIT_BUILT = frozenset("objective train valid out resume overwrite progress extra callback callbacks".split())
"""Arguments of ``fit`` that the shell supplies itself."""


@functools.cache
def train_flags() -> dict[str, Flag]:
    """Flags of ``ppl-vae train`` but for the parts' own options."""
    network = ", ".join(f"{n}: {_words(_default_hidden(e))}" for n, e in catalog.parts("network").items())
    load = {option.argument: option for option in catalog.function("data", "load").arguments}
    fit = [option for option in catalog.function("training", "fit").arguments if option.argument not in FIT_BUILT]
    rows = [
        Flag("data", WORD, "digits", "a name from the list below, or a .npy, .npz or .csv file, or a folder", "data"),
        _flag(load["root"], "data", "data-root"),
        *(_flag(load[name], "data") for name in LOAD_FLAGS if name in load),
        *(_role(role, default) for role, default in DEFAULT_PARTS.items()),
        Flag("beta", WORD, 1.0, "weight of the KL: a number, or the name of a schedule", "model"),
        Flag("latent-dim", WHOLE, 16, "size of the code", "model"),
        Flag("hidden", WHOLES, None, f"sizes of the encoder's layers, mirrored in the decoder ({network})", "model"),
        Flag("activation", _activations(), "relu", "between the layers: " + ", ".join(_activations().choices), "model"),
        *(_flag(option, "training") for option in fit if option.kind is not None),
        Flag("out", WORD, None, "folder for the run; runs/DATA if not given", "run"),
        Flag("resume", SWITCH, False, "continue the run in --out, or start it there if there is none", "run"),
        Flag("config", WORD, None, "YAML or JSON file, or a run's config.json; flags given here win over it", "run"),
        Flag("print-config", SWITCH, False, "print every flag as YAML for --config, and stop", "run"),
        Flag("report", SWITCH, True, "write report.html", "run"),
        Flag("progress", SWITCH, True, "show a progress bar", "run"),
        Flag("quiet", SWITCH, False, "print nothing but errors", "run"),
    ]
    return {flag.name: flag for flag in rows}


BACKENDS = ("loky", "dask", "ray")

_ALONE = frozenset(("resume", "print-config", "report", "tensorboard"))
"""Flags of train that mean nothing to a comparison, which always resumes and writes one report."""


@functools.cache
def compare_flags() -> dict[str, Flag]:
    """Flags of ``ppl-vae compare`` but for the parts' own options: its own, and those of train, each an axis."""
    own = (
        Flag("out", WORD, None, "folder for the comparison; runs/compare-DATA if not given", "comparison"),
        Flag("jobs", WHOLE, 1, "processes that train at a time, each with its share of the cores", "comparison"),
        Flag("backend", Kind(frozenset(), BACKENDS), "loky", "the processes are this machine's (loky) or a cluster's "
             "(dask, ray)", "comparison"),
        Flag("num-particles", WHOLE, 100, "importance samples an example for the log-likelihood", "comparison"),
        Flag("limit", WHOLE, 500, "test examples that the figures are of", "comparison"),
        Flag("config", WORD, None, "YAML or JSON file of flags; flags given here win over it", "comparison"),
        Flag("progress", SWITCH, True, "show a progress bar", "comparison"),
        Flag("quiet", SWITCH, False, "print nothing but errors", "comparison"),
    )  # fmt: skip
    shared = {name: flag for name, flag in train_flags().items() if name not in _ALONE and flag.group != "run"}
    return {flag.name: flag for flag in own} | shared


DEFAULT_PARTS = {
    "model": "vae",
    "prior": "normal",
    "posterior": None,
    "likelihood": None,
    "network": "mlp",
    "penalty": "l1",
    "corruption": "gaussian",
    "estimator": "mean-field-elbo",
}


CHOSEN = {
    "likelihood": "; if not given, bernoulli for images in [0, 1] and normal for other data",
    "posterior": "; if not given, the natural one for the prior's support",
    "penalty": "; of sparse models' codes, also written --model.penalty; one for every layer is for Python",
    "corruption": "; of denoising models, also written --model.corruption",
}
"""How a part is chosen, where its names do not say it all."""

FROM_DATA = frozenset(("likelihood", "model.output"))
"""Flags that are chosen by looking at the data when they are not given."""


def objective(model: Entry) -> Entry:
    """The objective of a model: SVI of a Pyro program, contrastive divergence of an RBM, else Reconstruction."""
    plain = "contrastive-divergence" if "free_energy" in model.methods else "reconstruction"
    return catalog.exported("objectives")["svi" if "likelihood" in model.structural else plain]


def load_options() -> dict[str, Option]:
    """Arguments of ``data.load`` that are written ``--data.<option>``."""
    taken = ("name", "root", "kinds", *LOAD_FLAGS)
    return {name: o for name, o in catalog.function("data", "load").options.items() if o.argument not in taken}


@functools.cache
def option_flags() -> frozenset[str]:
    """Names of every ``<role>.<option>`` flag, whichever part is chosen."""
    names = {f"data.{option}" for option in load_options()}
    for role in ROLES:
        names |= {f"{role}.{option}" for entry in catalog.parts(role).values() for option in entry.options}
    for entry in catalog.parts("model").values():
        names |= {f"objective.{option}" for option in objective(entry).options}
    return frozenset(names)


def _flag(option: Option, group: str, name: str | None = None) -> Flag:
    return Flag(name or option.name, option.kind or WORD, option.default, option.help.rstrip("."), group)


def _role(role: str, default: str | None) -> Flag:
    text = ", ".join(catalog.parts(role))
    return Flag(role, WORD, default, text + CHOSEN.get(role, ""), "model")


def _activations() -> Kind:
    return Kind(frozenset(), tuple(catalog.constant("networks", "ACTIVATIONS") or ()))


def _default_hidden(entry: Entry) -> Any:
    return next((o.default for o in entry.arguments if o.argument == "hidden" and not o.required), ())


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


_RUN = Flag("run", WORD, None, "folder of a run", "positional")
_ROOT = Flag("data-root", WORD, None, "where the data lies, if it is not where the run found it")
_SPLIT = Flag("split", Kind(frozenset(), ("train", "valid", "test")), "test", "which part of the data")
_SEED = Flag("seed", WHOLE, 0, "seed of everything drawn here")
SCORES = ("auto", "reconstruction", "log-likelihood")
_PICTURE = Flag("out", WORD, None, "file to write: .png for a picture, .npy for the numbers")

FLAGS: dict[str, tuple[Flag, ...]] = {
    "evaluate": (
        _RUN,
        Flag("num-particles", WHOLE, 100, "importance samples an example for the log-likelihood"),
        Flag("limit", WHOLE, None, "only the first N examples"),
        _SPLIT,
        _ROOT,
        _SEED,
        Flag("device", WORD, "auto", "where to compute"),
        Flag("json", SWITCH, False, "print JSON"),
    ),
    "sample": (
        _RUN,
        Flag("n", WHOLE, 64, "how many"),
        _PICTURE,
        Flag("draw", SWITCH, False, "draw from the likelihood instead of writing its means"),
        _SEED,
    ),
    "reconstruct": (_RUN, Flag("n", WHOLE, 8, "how many examples"), _PICTURE, _SPLIT, _ROOT, _SEED),
    "interpolate": (
        _RUN,
        Flag("from", WHOLE, 0, "index of the first example"),
        Flag("to", WHOLE, 1, "index of the last example"),
        Flag("steps", WHOLE, 10, "how many pictures, both ends included"),
        _PICTURE,
        _SPLIT,
        _ROOT,
    ),
    "impute": (
        _RUN,
        Flag("data", WORD, None, "what to fill in: a .csv table with the run's columns, or a .npy array with NaN"),
        Flag("mask", NUMBER, None, "share of the pixels to hide, of --data or else of the examples of --split"),
        Flag("out", WORD, None, "file to write: .csv for a table, else .npy for the numbers or .png for a picture"),
        Flag("num-samples", WHOLE, 100, "draws of the code for every row, or steps where the guess is iterated"),
        Flag("weighted", SWITCH, False, "weight the draws by their importance, where the model knows missing entries"),
        Flag("n", WHOLE, 8, "how many examples to show in a picture"),
        Flag("limit", WHOLE, 1000, "only so many examples of --split"),
        _SPLIT,
        _ROOT,
        _SEED,
    ),
    "denoise": (
        _RUN,
        Flag("corruption", WORD, None, "how the examples are corrupted, or none; as in training if not given"),
        Flag("amount", NUMBER, None, "scale or rate of the corruption"),
        Flag("n", WHOLE, 8, "how many examples to show; the gain is of them all"),
        _PICTURE,
        _SPLIT,
        _ROOT,
        _SEED,
    ),
    "anomaly": (
        _RUN,
        Flag("score", Kind(frozenset(), SCORES), "auto", f"what tells: {', '.join(SCORES)}"),
        Flag("quantile", NUMBER, 0.95, "share of the training data that the threshold calls normal"),
        Flag("label", WHOLES, None, "labels that are anomalies, for the AUROC"),
        Flag("num-particles", WHOLE, 100, "importance samples an example, for the log-likelihood"),
        Flag("limit", WHOLE, 1000, "only so many training examples for the threshold"),
        Flag("out", WORD, None, "file to write the scores to, .csv or .npy"),
        _SPLIT,
        _ROOT,
        _SEED,
        Flag("json", SWITCH, False, "print JSON"),
    ),
    "embed": (
        _RUN,
        Flag("out", WORD, None, "file to write the codes to: .npy, or .csv with the labels"),
        _SPLIT,
        _ROOT,
        _SEED,
    ),
    "compress": (
        _RUN,
        Flag("levels", WHOLES, (2, 4, 8, 16, 32, 64), "values that an entry of a code may take"),
        _SPLIT,
        _ROOT,
        Flag("json", SWITCH, False, "print JSON"),
    ),
    "report": (_RUN, _ROOT, _SEED),
    "list": (Flag("json", SWITCH, False, "print JSON"),),
}
"""Flags of the commands other than train."""

SUMMARIES = {
    "train": "train a model and write its run folder and report",
    "evaluate": "log-likelihood, ELBO and its terms of a trained run",
    "sample": "draw from a trained model",
    "reconstruct": "examples beside what the model makes of them",
    "interpolate": "walk through the codes between two examples",
    "impute": "fill in the empty cells of a table, or missing pixels",
    "denoise": "corrupted examples and what the model makes of them",
    "anomaly": "scores of examples that the model does not know how to explain",
    "embed": "write the codes of examples",
    "compress": "rate and distortion of rounded codes",
    "compare": "train a grid of settings on one data set and put them side by side",
    "report": "write report.html into a run folder",
    "list": "the parts to choose from, and which go together",
}
