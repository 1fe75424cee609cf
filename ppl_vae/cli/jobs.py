"""Jobs: what people use a trained autoencoder for, from the shell. torch is imported inside the functions."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checks import nearest
from . import catalog, runs
from .arguments import UsageError, values


def denoise(argv: Sequence[str]) -> int:
    """Corrupt examples, have the model clean them, say how many decibels it gained; write pictures of a few.

    In .npy the arrays clean, corrupted and cleaned, (3, n, *shape).
    """
    chosen = values("denoise", argv)
    target = None if chosen["out"] is None else runs.target(chosen["out"])
    import torch

    from .. import evaluation, randomness
    from ..checks import check_size
    from ..reporting import plots

    model, split = runs.model(chosen), runs.split(chosen)
    corruption, count = _corruption(chosen, model), min(check_size("--n", chosen["n"]), len(split))
    x = split.resolve(model.support).take(slice(None))[0]
    with randomness.isolated(chosen["seed"], torch.device("cpu")), torch.no_grad():
        noisy = x if corruption is None else corruption(x)
    cleaned = evaluation.denoise(model, noisy)
    if corruption is not None:
        gain = evaluation.denoising_gain(x, noisy, cleaned)
        said = "a gain that is not defined" if math.isnan(gain) else f"{gain:+.2f} dB"
        print(f"{chosen['split']}: {said} over {len(x)} examples with {corruption}")
    if target is not None:
        stacked = torch.stack([x[:count], noisy[:count], cleaned[:count]])
        runs.write_array(target, stacked, lambda three: plots.image_grid(three.flatten(0, 1), columns=count))
    elif corruption is None:
        raise UsageError("--out is needed where nothing is corrupted: there is no gain to state")
    return 0


def _corruption(chosen: dict[str, Any], model: Any) -> Any:
    """The corruption that the flags name, else the one the model was trained with, else Normal noise."""
    from .. import corruptions

    name, amount = chosen["corruption"], chosen["amount"]
    if name == "none":
        return None
    if name is None and amount is None and getattr(model, "corruption", None) is not None:
        return model.corruption
    entry = catalog.lookup("corruption", name or "gaussian")
    if entry is None:
        offered = [*catalog.parts("corruption"), "none"]
        raise UsageError(f"--corruption {name} is unknown; {nearest(str(name), offered)}")
    cls = getattr(corruptions, entry.cls)
    return cls() if amount is None else cls(amount)


def anomaly(argv: Sequence[str]) -> int:
    """Score examples, set a threshold at a quantile of the training scores, and where labels tell, give the AUROC."""
    chosen = values("anomaly", argv)
    target = None if chosen["out"] is None else runs.target(chosen["out"], (".csv", ".npy"))
    import torch

    from .. import evaluation
    from ..checks import check_size
    from ..statistics.scores import check_scores

    model, data = runs.model(chosen), runs.data(chosen)
    options = {"score": chosen["score"], "num_particles": chosen["num-particles"], "seed": chosen["seed"]}

    def scored(split: Any, which: slice) -> tuple[Any, Any]:
        x, *y = split.resolve(model.support).take(which)
        return evaluation.anomaly_scores(model, x, **options), y[0] if y else None

    known, _ = scored(data.train, slice(0, min(check_size("--limit", chosen["limit"]), len(data.train))))
    above = evaluation.threshold(known, chosen["quantile"])
    scores, labels = scored(getattr(data, chosen["split"]), slice(None))
    check_scores(f"the {chosen['split']} split's scores", scores)
    result = {"n": len(scores), "threshold": above, "flagged": int((scores > above).sum())}
    if chosen["label"]:
        if labels is None:
            raise UsageError(f"--label needs labels, which the data of {chosen['run']} do not have")
        result["auroc"] = evaluation.auroc(scores, torch.isin(labels, torch.tensor(chosen["label"])))
    if target is not None:
        rows = [[i, score, int(score > above)] for i, score in enumerate(scores.tolist())]
        _write_rows(target, scores, ["row", "score", "anomalous"], rows)
    print(json.dumps(runs.plain(result), allow_nan=False) if chosen["json"] else _said(chosen["split"], result))
    return 0


def _said(split: str, result: dict[str, Any]) -> str:
    words = (
        f"{split}: {result['flagged']} of {result['n']} examples score above the threshold {result['threshold']:.4g}"
    )
    return words + (f", AUROC {result['auroc']:.4f}" if "auroc" in result else "")


def embed(argv: Sequence[str]) -> int:
    """Write the codes of a split: (n, dim) as .npy, or as .csv with the labels."""
    chosen = values("embed", argv)
    target = runs.target(chosen["out"], (".npy", ".csv"))
    from .. import evaluation

    model, split = runs.model(chosen), runs.split(chosen).resolve(runs.model(chosen).support)
    x, *labels = split.take(slice(None))
    codes = evaluation.codes(model, x, seed=chosen["seed"])
    header = [f"z{j}" for j in range(codes.shape[1])]
    rows = codes.tolist()
    if labels and labels[0].dim() == 1:
        ys = [_number(y) for y in labels[0].tolist()]
        header, rows = [*header, "label"], [[*row, y] for row, y in zip(rows, ys, strict=True)]
    _write_rows(target, codes, header, rows)
    return 0


def compress(argv: Sequence[str]) -> int:
    """Print the rate in bits and the distortion of codes rounded to so many levels."""
    chosen = values("compress", argv)
    from .. import evaluation

    model, data = runs.model(chosen), runs.data(chosen)
    split, train = (part.resolve(model.support) for part in (getattr(data, chosen["split"]), data.train))
    x, known = split.take(slice(None))[0], train.take(slice(None))[0]
    rows = []
    for levels in chosen["levels"]:
        found = evaluation.compress(model, x, known, levels)
        rate, distortion = found.rate.mean().item(), found.distortion.mean().item()
        rows.append({"levels": levels, "bits": rate, "bits_per_dim": rate / x[0].numel(), "squared_error": distortion})
    if chosen["json"]:
        print(json.dumps([runs.plain(row) for row in rows], allow_nan=False))
        return 0
    print(f"{chosen['split']}, {len(x)} examples\n  levels  bits an example  bits a dimension  squared error")
    for row in rows:
        print(
            f"  {row['levels']:>6}  {row['bits']:>15.2f}  {row['bits_per_dim']:>16.4f}  {row['squared_error']:>13.4g}"
        )
    return 0


def _number(value: float) -> str:
    """A number in words that read as the same kind: a real one keeps its point, as 3.0 does."""
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return text + ".0" if isinstance(value, float) and text.lstrip("-").isdigit() else text


def _write_rows(target: Path, array: Any, header: list[str], rows: list[list[Any]]) -> None:
    """Write an array to a .npy, or rows under a header to a .csv, whole or not at all."""
    from ..training.checkpoint import write_atomically

    if target.suffix.lower() == ".npy":
        runs.write_array(target, array, None)
        return
    lines = [",".join(header), *(",".join(f"{v:.9g}" if isinstance(v, float) else str(v) for v in row) for row in rows)]
    write_atomically(target, ("\n".join(lines) + "\n").encode())
    print(target)


COMMANDS = {"denoise": denoise, "anomaly": anomaly, "embed": embed, "compress": compress}
