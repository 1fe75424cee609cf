"""Loggers: callbacks that hand rows, pictures and settings to TensorBoard and MLflow."""

from __future__ import annotations

import math
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_size
from ..files import flat
from ..models import Codec, Latent
from .callbacks import Callback, Context, Row
from .history import History

COUNTED = ("stage", "epoch", "step")
TOLD = 100  # parameters that MLflow takes at a time
LONGEST = 250  # characters of a name there


class TensorBoard(Callback):
    """Writes TensorBoard events: every number of the rows, and reconstructions and samples of models of pictures.

    The axis counts optimizer steps over all stages.

    Args:
        folder: for the events; None for ``tensorboard`` in the run folder.
        pictures_every: epochs between pictures; None for no pictures.
        count: of pictures.

    Raises:
        ValueError: TensorBoard is not installed (extra ``ppl_vae[tensorboard]``), or there is no folder to write to.

    Example:
        >>> TensorBoard(pictures_every=0)
        Traceback (most recent call last):
        ...
        ValueError: pictures_every must be a whole number of at least 1, not 0
    """

    def __init__(self, folder: str | Path | None = None, *, pictures_every: int | None = 10, count: int = 16) -> None:
        self.folder = None if folder is None else Path(folder)
        self.pictures_every = None if pictures_every is None else check_size("pictures_every", pictures_every)
        self.count = check_size("count", count)
        self.make_writer = _installed("tensorboard", "torch.utils.tensorboard").SummaryWriter

    def start(self, context: Context) -> None:  # noqa: D102
        folder = context.folder / "tensorboard" if self.folder is None and context.folder else self.folder
        if folder is None:
            raise ValueError("TensorBoard needs a folder: give fit out=, the run folder, or TensorBoard(folder=...)")
        self.ends = {row["stage"]: row["step"] for row in context.rows}
        self.writer = self.make_writer(str(folder), purge_step=sum(self.ends.values()) + bool(context.rows))
        split = context.valid or context.train
        self.examples = split.take(slice(0, min(self.count, len(split))))

    def epoch(self, row: Row, model: nn.Module) -> None:  # noqa: D102
        self.ends[row["stage"]] = row["step"]
        step = sum(self.ends.values())
        for name, value in numbers(row).items():
            self.writer.add_scalar(name, value, step)
        # The first epoch, too: one sees at once that pictures come.
        if self.pictures_every and (row["epoch"] == 1 or row["epoch"] % self.pictures_every == 0):
            for name, grid in pictures(model, *self.examples).items():
                self.writer.add_image(f"pictures/{name}", grid, step)

    def end(self, history: History, error: BaseException | None) -> None:  # noqa: D102
        self.writer.close()


class MLflow(Callback):
    """Logs the settings as parameters, every number of the rows as metrics, and the run folder as artifacts to MLflow.

    The axis counts epochs over all stages. A run that goes on in its folder goes on in its MLflow run; where the caller
    has opened an MLflow run, that one is used and left open.

    Args:
        experiment: name of the experiment; None for MLflow's own choice.
        name: of the MLflow run; None for the run folder's.
        uri: of the tracking server or folder; None for MLflow's own choice.
        artifacts: whether to log the run folder at the end.

    Raises:
        ValueError: MLflow is not installed (extra ``ppl_vae[mlflow]``).
    """

    def __init__(
        self, experiment: str | None = None, *, name: str | None = None, uri: str | None = None, artifacts: bool = True
    ) -> None:
        self.mlflow = _installed("mlflow", "mlflow")
        self.experiment, self.name, self.uri, self.artifacts = experiment, name, uri, artifacts

    def start(self, context: Context) -> None:  # noqa: D102
        mlflow, self.folder, self.done = self.mlflow, context.folder, len(context.rows)
        self.own = mlflow.active_run() is None
        known = None if self.folder is None else self.folder / "mlflow.txt"
        before = known.read_text().strip() if self.own and known is not None and known.exists() else None
        if self.own:
            if self.uri is not None:
                mlflow.set_tracking_uri(self.uri)
            if self.experiment is not None:
                mlflow.set_experiment(self.experiment)
            name = self.name or (self.folder.name if self.folder else None)
            run = mlflow.start_run(run_id=before) if before else mlflow.start_run(run_name=name)
            if known is not None:
                known.write_text(run.info.run_id + "\n")
        told = [(_name(k), str(v)[:6000]) for k, v in flat(context.config, ".").items()]
        for i in range(0, len(told), TOLD):
            mlflow.log_params(dict(told[i : i + TOLD]))

    def epoch(self, row: Row, model: nn.Module) -> None:  # noqa: D102
        self.done += 1
        found = {_name(k): v for k, v in numbers(row).items() if math.isfinite(v)}
        self.mlflow.log_metrics(found, step=self.done)

    def end(self, history: History, error: BaseException | None) -> None:  # noqa: D102
        if self.folder is not None and self.artifacts:
            self.mlflow.log_artifacts(str(self.folder))
        if self.own:
            killed = isinstance(error, KeyboardInterrupt)
            self.mlflow.end_run(status="FINISHED" if error is None else "KILLED" if killed else "FAILED")


def numbers(row: Row) -> dict[str, float]:
    """The numbers of a row by name, such as ``valid/elbo``; another stage's after its name.

    Example:
        >>> numbers({"stage": "", "epoch": 2, "step": 24, "lr": 0.001, "valid": {"elbo": -90.0}})
        {'lr': 0.001, 'valid/elbo': -90.0}
    """
    prefix = f"{row['stage']}/" if row["stage"] else ""
    found = flat({name: value for name, value in row.items() if name not in COUNTED}, "/")
    return {prefix + k: float(v) for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}


@torch.no_grad()
def pictures(model: nn.Module, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
    """Grids (3, H, W) in [0, 1] of a model of pictures; none of others.

    Under "reconstructions" data x (B, C, H, W) stand above their reconstructions, under "samples" are as many pictures
    of draws of the prior, if the model has one.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), (1, 8, 8)))
        >>> {name: tuple(grid.shape) for name, grid in pictures(vae, torch.rand(4, 1, 8, 8).round()).items()}
        {'reconstructions': (3, 22, 42), 'samples': (3, 12, 42)}
    """
    if not isinstance(model, Codec) or len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return {}
    from torchvision.utils import make_grid

    device = next((p.device for p in model.parameters()), x.device)
    x, y = x.to(device), None if y is None else y.to(device)
    seen = x.nan_to_num()
    extent = (min(0.0, seen.min().item()), max(1.0, seen.max().item()))
    found = {"reconstructions": torch.cat([seen, model.decode(model.encode(x, y), y, like=x)])}
    if isinstance(model, Latent):
        prior = model.prior(y)
        z = prior.sample(() if prior.batch_shape else (len(x),))
        found["samples"] = model.decode(z, y, like=x)
    return {
        name: make_grid(shown.float().cpu(), nrow=len(x), normalize=True, value_range=extent)
        for name, shown in found.items()
    }


def _installed(extra: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ValueError(f"{extra} is not installed; pip install 'ppl_vae[{extra}]'") from None


def _name(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)[:LONGEST]
