"""``fit``: the one training interface, for every objective and every kind of data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .. import randomness
from ..checks import check_size
from ..data import as_split
from ..data.checks import check_event
from ..objectives import as_objective
from .callbacks import Callback, as_callbacks
from .defaults import LEAST_EPOCHS, Keep, default_batch_size, default_epochs, kept
from .folder import RunFolder
from .history import History
from .loggers import TensorBoard
from .processes import Processes
from .run import Run
from .settings import Settings


def fit(
    objective: nn.Module,
    train: Any,
    valid: Any = None,
    epochs: int | None = None,
    *,
    batch_size: int | None = None,
    lr: float = 1e-3,
    optimizer: str | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = "adam",
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warmup: int = 0,
    clip: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    keep: Keep | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: str = "fp32",
    device: str = "auto",
    seed: int = 0,
    shuffle: bool = True,
    workers: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_every: int | None = None,
    extra: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    callbacks: Sequence[Callback | Callable[[dict[str, Any]], Any]] = (),
) -> History:
    """Train an objective, stage by stage.

    Order, noise and so the weights follow from ``seed`` alone; the caller's random number generators are left as they
    were. Under ``torchrun`` or ``accelerate launch`` every process takes its share of each batch.

    Args:
        objective: an ``objectives.Objective``, such as ``SVI`` or ``Reconstruction``, or any module whose
            ``forward(*batch)`` gives a ``Loss``.
        train: a split of ``ppl_vae.data``, a tensor or tuple of tensors, or a torch Dataset of (x,) or (x, y).
        valid: the same for validation after every epoch, or None.
        epochs: passes over the training data, of the main stage; if not given, at least 20, and as many as make 3,000
            optimizer steps, with the best weights kept (see ``keep``).
        batch_size: examples a batch, over all processes; 128, or all the data where they are fewer.
        lr: learning rate; stages and players may have factors of their own.
        optimizer: "adam", "adamw", "adamax", "rmsprop", "sgd", or a function from parameters to a torch optimizer, for
            each player that names no other.
        weight_decay: weight decay of a named optimizer.
        schedule: learning rate after the warm-up: "constant", "linear" to 0, or "cosine" to 0.
        warmup: optimizer steps over which the learning rate rises linearly.
        clip: largest norm of the gradient of a player's parameters; None leaves it.
        accumulate: batches an optimizer step.
        patience: stop the main stage after this many epochs without a better validation loss, or term that the
            objective watches, and keep the best weights.
        keep: the weights that the main stage ends with: of the "best" epoch on the validation data, by the loss or the
            term that the objective watches, or of the "last". If not given: the best with ``patience``; also the best
            without ``epochs``, if there are validation data and a term to watch; else the last.
        compile: whether steps are captured as one graph, compiled and replayed; "auto" does so where the training is
            long enough to repay the compiler, decided once for a run. Steps that cannot be captured run eagerly, and
            the ``History`` says why. Compiled steps see the same noise and agree with eager ones to rounding.
        precision: "fp32", or "bf16" for the layers' matrix products in bfloat16 with all else in float32.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of data order, binarization and the model's noise.
        shuffle: draw a new order every epoch.
        workers: loader processes, for data that do not fit in memory.
        out: run folder to write; None keeps everything in memory.
        resume: go on with the run in ``out`` if there is one.
        progress: show a bar with rate, ETA and terms; where standard error is no terminal, a line now and then.
        tensorboard: write TensorBoard events to ``out/tensorboard`` (extra ``ppl_vae[tensorboard]``), with pictures
            where the model makes some; short for ``callbacks=[TensorBoard()]``.
        checkpoint_every: optimizer steps between checkpoints, besides one a minute and one an epoch, or about 100 where
            there are more epochs.
        extra: further entries for config.json.
        callback: one function, short for ``callbacks=[function]``.
        callbacks: ``training.Callback`` objects, such as ``TensorBoard()``, or functions of a row. Each is called after
            an epoch with the row of ``History.rows``, before it is saved; what it adds to the row is saved with it.
            Their random numbers are their own and their time is not counted. ``training.Stop`` ends the stage under
            way; a stopped run is finished, and goes on if it is resumed with more epochs.

    Returns:
        a ``History``.

    Raises:
        ValueError: arguments or data that cannot be right, or batches of a program that needs all data at once, in one
            sentence.
        Diverged: the loss became NaN or infinite; names the step and what is not finite.
        KeyboardInterrupt: Ctrl-C, after the run was saved.
        TypeError: an objective that is no module, or callbacks that are none.
        Exception: what a callback raised, after the run was saved, with a note that names the callback.

    Example:
        >>> from ppl_vae import Reconstruction, models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> history = fit(Reconstruction(ae), torch.rand(64, 6), epochs=2, progress=False)
        >>> [row["epoch"] for row in history.rows]
        [1, 2]
    """
    given = {name: value for name, value in locals().items() if name in inspect.signature(Settings).parameters}
    whole = as_objective(objective)
    support = whole.support
    train = as_split(train).resolve(support)
    valid = None if valid is None else as_split(valid, part="valid").resolve(support)
    given["batch_size"] = default_batch_size(len(train)) if batch_size is None else batch_size
    if epochs is None:
        accumulated = check_size("accumulate", accumulate)
        given["epochs"] = default_epochs(len(train), check_size("batch_size", given["batch_size"]), accumulated)
    watched = valid is not None and whole.watch is not None
    given["keep"] = kept(
        keep, epochs is None, patience, watched, RunFolder(out) if resume and out is not None else None
    )
    settings = Settings(**given)
    watching = [*as_callbacks([] if callback is None else [callback]), *as_callbacks(callbacks)]
    watching += [TensorBoard()] if tensorboard else []
    for split in (train, valid):
        if split is not None:
            check_event(whole.model, split.shape, split.x.dtype, split.where)
            split.check(support, whole.needs_labels, check_labels=whole.check_labels)
    with Processes(settings.device) as processes, randomness.isolated(seed + processes.rank, processes.device):
        run = Run(whole, train, valid, settings, processes, progress, watching)
        run.start(out, resume, extra)
        return run.train()


def default_settings(**changes: Any) -> Settings:
    """``fit``'s defaults as ``Settings``, with changes."""
    defaults = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    names = inspect.signature(Settings).parameters
    given = {**{n: defaults[n] for n in names}, "batch_size": 128, **changes}
    chosen = {"epochs": LEAST_EPOCHS, "keep": "last"}
    return Settings(**given | {name: value for name, value in chosen.items() if given[name] is None})
