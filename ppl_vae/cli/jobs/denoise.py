"""``ppl-vae denoise``."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from ... import catalog, evaluation, randomness
from ...checks import check_size, nearest
from ...models import Autoencoder
from ...reporting import plots
from ..arguments import UsageError
from ..files import target, write_array
from ..run import Examples


def denoise(
    run: Examples,
    corruption: Literal["none"] | str | None = None,
    amount: float | None = None,
    n: int = 8,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Corrupted examples and what the model makes of them.

    It says how many decibels the model gained. In .npy the arrays clean, corrupted and cleaned, (3, n, *shape).

    Args:
        run: a run and its examples.
        corruption: how the examples are corrupted, or none; as in training if not given.
        amount: scale or rate of the corruption.
        n: how many examples to show; the gain is of them all.
        out: file to write: .png for a picture, .npy for the numbers.
        seed: seed of everything drawn here.
    """
    path = None if out is None else target(out)
    corrupt, (x, y, _), count = _corruption(run.model, corruption, amount), run.take(), check_size("--n", n)
    with randomness.isolated(seed), torch.no_grad():
        noisy = x if corrupt is None else corrupt(x)
    cleaned = evaluation.denoise(run.model, noisy, y)
    if corrupt is not None:
        gain = evaluation.denoising_gain(x, noisy, cleaned)
        said = "a gain that is not defined" if math.isnan(gain) else f"{gain:+.2f} dB"
        print(f"{run.title}: {said} over {len(x)} examples with {corrupt}")
    if path is not None:
        shown = torch.stack([x[:count], noisy[:count], cleaned[:count]])
        write_array(path, shown, lambda three: plots.image_grid(three.flatten(0, 1), columns=three.shape[1]))
    elif corrupt is None:
        raise UsageError("--out is needed where nothing is corrupted: there is no gain to state")


def _corruption(model: Any, name: str | None, amount: float | None) -> Any:
    """The corruption that the flags name, else the one the model was trained with, else Normal noise."""
    if name == "none":
        return None
    if name is None and amount is None and isinstance(model, Autoencoder) and model.corruption is not None:
        return model.corruption
    entry = catalog.lookup("corruption", name or catalog.DEFAULTS["corruption"])
    if entry is None:
        offered = [*catalog.parts("corruption"), "none"]
        raise UsageError(f"--corruption {name} is unknown; {nearest(str(name), offered)}")
    return entry.load()(*([] if amount is None else [amount]))
