"""A trained run that takes raw rows: ``open_run(run)`` gives a ``Trained``, which codes them as the run's data were.

Nothing of the training data is needed: the folder holds the weights, the units (in the model) and the coding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from . import evaluation, supports
from .data import ArrayCoding, Coding, Data, Origin, Split, TableCoding, reload
from .data.labels import labels_of
from .evaluation.imputation import imputable
from .models import VAE, Codec, Discrete, Latent, SemiSupervisedVAE
from .models.exporting import Exported
from .networks import Label, middle_of
from .row_columns import check_known, codes_of_rows, columns_of_predictions, filled, framed
from .training import RunFolder, load


class Trained:
    """A model, and how raw rows become its x and y.

    Rows are a data frame of pandas or polars, a mapping from column to values, a .csv file, a .npy file, a folder of
    pictures, an array or a tensor; columns are found by name, and others are ignored. A data frame or a table gives a
    data frame, other rows give tensors. y is found among the rows or given by ``y=``.

    Args:
        model: the trained model.
        coding: how rows become x; None for a model whose rows are x.
        record: the arguments of ``data.load`` that the run was trained on.
        folder: the run folder; None for a model that is in none.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Normal(networks.MLP(2, [8]), 3))
        >>> Trained(vae).encode(vae.model(n=5)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        coding: Coding | None = None,
        record: dict[str, Any] | None = None,
        folder: RunFolder | None = None,
    ) -> None:
        self.model: Any = model
        self.record, self.folder = record or {}, folder
        shape = tuple(model.shape) if isinstance(model, Codec) else ()
        self.coding = coding or ArrayCoding(shape)

    def __repr__(self) -> str:
        of = "" if self.folder is None else f", {str(self.folder.path)!r}"
        return f"Trained({type(self.model).__name__} of {self.coding.kind} rows {self.coding.shape}{of})"

    def rows(self, rows: Any, y: Any = None, where: str = "rows") -> Split:
        """Raw rows as a split that the model takes, drawn where the run's were binarized or dequantized.

        Args:
            rows: as of the class.
            y: labels, by number or by the name of the class; one for all, or one a row.
            where: what the rows are called in errors.

        Raises:
            TypeError: rows of no known make.
            ValueError: rows that cannot be coded; the message names column and value.
        """
        coded = self.coding.code(rows, where)
        labels = coded.y if y is None else labels_of(y, len(coded), self.coding.classes)
        grey = isinstance(self.coding, ArrayCoding) and bool(self.record.get("dequantize"))
        levels = int(self.coding.divisor or 255) + 1 if grey else None
        origin = Origin(self.coding, {"rows": len(coded)}, names=coded.names)
        options: dict[str, Any] = {"levels": levels, "seed": self.record.get("seed") or 0, "origin": origin}
        binarize = self.record.get("binarize", "auto") if levels is None else "none"
        split = Split(coded.x, labels, part="test", binarize=binarize, name=where, **options)
        return split.resolve(self.model.support if isinstance(self.model, Codec) else None)

    def encode(self, rows: Any, y: Any = None) -> Any:
        """Codes (N, *code_shape) of rows, as ``evaluation.codes``: columns z0, z1, ... where rows are a table.

        Example:
            >>> from ppl_vae import models, networks
            >>> ae = models.Autoencoder(networks.MLP(2, [8]), networks.MLP(1, [8]), 1, 2, "identity")
            >>> list(Trained(ae, TableCoding(("a", "b"))).encode({"b": [1.0], "a": [2.0]}))
            ['z0']
        """
        split = self.rows(rows, y)
        x, *y = self._batch(split, y)
        z = evaluation.codes(self.model, x, *y)
        check_known(z, x, split, "code", self.coding)
        columns = {f"z{j}": entry.numpy() for j, entry in enumerate(z.flatten(1).T)}
        return framed(columns, rows, split.named()) if self.table else z

    def decode(self, codes: Any, y: Any = None) -> Any:
        """Rows of codes (N, *code_shape), a frame or a tensor: means of p(x | z, y), in the source's units."""
        z, names = codes_of_rows(codes, self.model.code_shape)
        x = evaluation.decode(self.model, z, None if y is None else labels_of(y, len(z), self.coding.classes))
        return self._uncoded(x, codes, names)

    def reconstruct(self, rows: Any, y: Any = None) -> Any:
        """Reconstructions of rows, as ``evaluation.reconstruct``, in the source's units and words."""
        split = self.rows(rows, y)
        x, *y = self._batch(split, y)
        made = evaluation.reconstruct(self.model, x, *y)
        check_known(made, x, split, "reconstruction", self.coding)
        return self._uncoded(made, rows, split.named())

    def impute(self, rows: Any, y: Any = None, *, num_samples: int = 100, seed: int = 0) -> Any:
        """Rows with their missing entries filled in; what is there comes back as it is.

        Args:
            rows: raw rows, of which entries are missing.
            y: as for ``rows``.
            num_samples: draws of ``evaluation.impute``, or steps of ``evaluation.inpaint`` for a model of whole data.
            seed: of the draws.
        """
        split, options = self.rows(rows, y), {"num_samples": num_samples, "seed": seed}
        batch = self._batch(split, y)
        if imputable(self.model) and supports.allows_missing(self.model.support):
            done = evaluation.impute(self.model, *batch, **options)
        else:
            done = evaluation.inpaint(self.model, *batch, start=self.middle, **options)
        known = filled(self.coding, rows, done.x) if isinstance(self.coding, TableCoding) else None
        return done.x if known is None else framed(known, rows, split.named())

    @property
    def middle(self) -> Tensor | float:
        """A row to start at where entries are missing: the zero of the model's units, or 0 where it has none."""
        return middle_of(self.model, self.coding.shape)

    def _batch(self, split: Split, y: Any) -> tuple[Tensor, ...]:
        """x and y of coded rows; where y is a site of the model, it is unknown unless the caller gave it."""
        batch = split.take(slice(None))
        site = isinstance(self.model, Codec) and self.model.target is not None
        return batch[:1] if site and y is None else batch

    def predict(self, rows: Any) -> Any:
        """What the model predicts of y for rows, as ``evaluation.predict``.

        Tables give a frame: of classes the most probable one, "predicted", and the probability of each, named "p" and
        the class; of numbers their means.

        Args:
            rows: as of the class; labels among them are not looked at.

        Raises:
            TypeError: a model that predicts nothing.
            ValueError: rows that cannot be coded.
        """
        return self._found(rows, evaluation.predict, self.prediction_columns)

    def assign(self, rows: Any) -> Any:
        """Probabilities of the components of rows, as ``evaluation.assign``; "cluster" and one column each of tables.

        Args:
            rows: as of the class.

        Raises:
            TypeError: a model without components.
            ValueError: rows that cannot be coded.
        """
        return self._found(rows, evaluation.assign, self.cluster_columns)

    def prediction_columns(self, found: Tensor) -> dict[str, Any]:
        """What ``evaluation.predict`` gave as columns by their names: the most probable class, and probabilities."""
        return columns_of_predictions(found, "predicted", self.coding.classes, isinstance(self.model.target, Label))

    def cluster_columns(self, found: Tensor) -> dict[str, Any]:
        """What ``evaluation.assign`` gave as columns by their names: the most probable cluster, and probabilities."""
        return columns_of_predictions(found, "cluster")

    def _found(self, rows: Any, function: Any, columns: Any) -> Any:
        split = self.rows(rows)
        x, *_ = split.take(slice(None))
        found = function(self.model, x)
        check_known(found, x, split, "prediction", self.coding)
        return framed(columns(found), rows, split.named()) if self.table else found

    def sample(self, n: int, y: Any = None, *, seed: int = 0, draw: bool | None = None) -> Any:
        """New rows: n draws of the prior and of p(x | z, y).

        Args:
            n: how many.
            y: labels to draw for, where the model needs them.
            seed: of the draws.
            draw: whether to draw from p(x | z, y) rather than to take its mean; None draws for tables, and takes the
                mean for pictures.
        """
        if not isinstance(self.model, Latent):
            raise TypeError(f"{type(self.model).__name__} has no prior to draw codes from; decode codes of your own")
        labels = None if y is None else labels_of(y, n, self.coding.classes)
        draws = (self.table and isinstance(self.model, VAE | Discrete | SemiSupervisedVAE)) if draw is None else draw
        make = evaluation.sample_draws if draws else evaluation.sample_means
        return self._uncoded(make(self.model, n, labels, seed=seed))

    def log_likelihood(self, rows: Any, y: Any = None, *, num_particles: int = 1000, seed: int = 0) -> Any:
        """log p(x | y) of rows in nats, as ``evaluation.log_likelihood``: a density in the source's own units."""
        batch = self._batch(self.rows(rows, y), y)
        return evaluation.log_likelihood(self.model, *batch, num_particles=num_particles, seed=seed)

    def anomaly_scores(self, rows: Any, y: Any = None, **options: Any) -> Tensor:
        """Scores (N,) of rows, higher for stranger ones, as ``evaluation.anomaly_scores``."""
        return evaluation.anomaly_scores(self.model, *self._batch(self.rows(rows, y), y), **options)

    def export(
        self,
        path: str | Path,
        part: Literal["encoder", "decoder", "predictor"] = "encoder",
        rows: Any = None,
        y: Any = None,
        *,
        metadata: Mapping[str, str] | None = None,
        tolerance: float = 1e-5,
    ) -> Exported:
        """Write encoder, decoder or predictor to a file, as ``models.Codec.export``, with the coding in its metadata.

        The entry "coding" of the metadata is JSON: columns in order, words, dates and origins of a table, or shape and
        grey levels. The file itself takes and gives coded rows.

        Args:
            path: the file to write, ending in ``.onnx`` or ``.pt2``.
            part: which part of the model.
            rows: raw rows, on the first 256 of which file and model are compared; made up if not given.
            y: their labels, for a conditional model, where the rows hold none.
            metadata: further strings to keep in the file.
            tolerance: largest difference from the model, relative to the output's scale.

        Raises:
            TypeError: a model without an encoder and a decoder.
            ValueError: as of ``models.Codec.export``, and rows that cannot be coded.

        Example:
            >>> import tempfile, torch
            >>> from ppl_vae import models, networks
            >>> run = Trained(models.Autoencoder(networks.MLP(2, [8]), networks.MLP(1, [8]), 1, 2, "identity"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     run.export(f"{folder}/decoder.pt2", "decoder", torch.ones(3, 2)).output
            'x'
        """
        if not isinstance(self.model, Codec):
            raise TypeError(f"{type(self.model).__name__} has no encoder and decoder, so it cannot be exported")
        about = {"coding": json.dumps(self.coding.json), **(metadata or {})}
        x, *labels = (None,) if rows is None else self._batch(self.rows(rows, y), y)
        return self.model.export(path, part, x=x, y=next(iter(labels), None), metadata=about, tolerance=tolerance)

    @property
    def table(self) -> bool:
        """Whether rows are those of a table."""
        return isinstance(self.coding, TableCoding)

    def _uncoded(self, x: Tensor, like: Any = None, names: Any = None) -> Any:
        return framed(self.coding.uncode(x), like, names) if self.table else x

    def data(self, root: str | None = None) -> Data:
        """The data that the run was trained on, cut as it was cut.

        Args:
            root: folder where the data lie now, if it is not where the run found them.

        Raises:
            ValueError: data that config.json cannot name, that are not there, or that have changed since.
        """
        if self.folder is None or self.record.get("name") is None:
            raise ValueError("the run was trained on your own data, which config.json cannot describe; give the rows")
        data = reload(self.record, self.folder.split(), root)
        changed = self.folder.changed(data)
        if changed is not None:
            raise ValueError(
                f"{data.name} is not what {self.folder.path} was trained on: {changed}, so its test rows are not "
                f"known; give it as new rows, as --data {data.name} does"
            )
        return data.resolve(self.model.support if isinstance(self.model, Codec) else None)


def open_run(run: str | Path, model: nn.Module | None = None, parts: Any = None) -> Trained:
    """The trained run of a folder, which takes raw rows.

    Args:
        run: folder that ``fit(..., out=...)`` or ``ppl-vae train`` made; it may have been moved.
        model: as for ``load``.
        parts: as for ``load``.

    Raises:
        ValueError: as of ``load``.

    Example:
        >>> open_run("no-such-run")
        Traceback (most recent call last):
        ...
        ValueError: no-such-run is not a run folder: it has no config.json
    """
    folder = RunFolder(run)
    record = folder.config().get("data")
    return Trained(load(run, model, parts), folder.coding(), record, folder)
