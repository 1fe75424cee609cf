"""The first commands that a newcomer types, on six data sets, beside tuned runs and what other methods reach.

    python -m benchmarks.first_commands [--data-root data] [--only digits wine] [--json first.json] [--no-tuned]

Every source is written to a temporary folder as a newcomer has it: a named data set, a folder of 1,200 PNGs made of
MNIST (left out where its files are not under --data-root), and tables as CSV files. The plain command names the data
and nothing else. The tuned run is the best on validation of the settings in ``TUNED``; the plain one is held to it.

Columns of the table, all on the test rows, in nats per row:

    log p(x)    log-likelihood by 1,000 importance samples a row, with the standard error over the rows
    gain        log p(x) minus the same likelihood fitted without a code: frequencies for Bernoulli, a Normal for every
                real column, a negative binomial for every column of counts, all by maximum likelihood on training rows
    of tuned    gain divided by the tuned run's, KL likewise
    pPCA        probabilistic PCA of the standardised columns, in the data's own units, components chosen on validation
    imputed     root mean square error at 20 % of the test cells, hidden at random, in the columns' standard deviations
    Iterative   the same by scikit-learn's IterativeImputer, fitted on the training rows
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import ppl_vae
from ppl_vae import data, evaluation
from ppl_vae.cli import main as shell
from ppl_vae.cli.build import load_data
from ppl_vae.cli.settings import settings
from ppl_vae.training import RunFolder

PARTICLES = 1000
STEPS = 10_000


@dataclass(frozen=True)
class Source:
    """A data set as a newcomer has it.

    Args:
        name: for the table.
        write: writes it into a folder, and gives the words of the plain command, ``--out`` excepted.
        tuned: further words, each with those of ``TUNED`` and by itself a setting that the tuned run tries.
        table: whether it is one.
        splits: how many splits into training, validation and test rows to average over, for few rows.
    """

    name: str
    write: Callable[[Path, Path], list[str]]
    tuned: tuple[str, ...] = ()
    table: bool = False
    splits: int = 1


def digits(folder: Path, root: Path) -> list[str]:
    return ["--data", "digits"]


def pictures(folder: Path, root: Path) -> list[str]:
    from PIL import Image

    images = data.load("mnist", root=root, binarize="none").train.take(slice(0, 1200))[0]
    (folder / "pngs").mkdir()
    for i, image in enumerate((images[:, 0] * 255).round().byte().numpy()):
        Image.fromarray(image).save(folder / "pngs" / f"{i:04}.png")
    return ["--data", str(folder / "pngs")]


def table(name: str) -> Callable[[Path, Path], list[str]]:
    """A table of scikit-learn as a CSV file, without its target."""

    def write(folder: Path, root: Path) -> list[str]:
        from sklearn import datasets

        scaled = {"scaled": False} if name == "diabetes" else {}
        found = getattr(datasets, f"load_{name}")(**scaled)
        return ["--data", csv(folder / f"{name}.csv", found.data, found.feature_names)]

    return write


def counts(folder: Path, root: Path) -> list[str]:
    """1,200 rows of 300 counts: log means linear in 8 codes, negative binomial with dispersion 0.5."""
    rng = np.random.default_rng(0)
    logs = rng.normal(size=(1200, 8)) @ rng.normal(scale=0.35, size=(8, 300)) + rng.normal(0.5, 1.0, size=300)
    mean = np.exp(logs.clip(max=5))
    x = rng.negative_binomial(2, 2 / (2 + mean))
    names = [f"gene{i}" for i in range(300)]
    return ["--data", csv(folder / "counts.csv", x, names)]


def csv(path: Path, x: np.ndarray, names: list[str]) -> str:
    header = ",".join(name.replace(",", " ") for name in names)
    np.savetxt(path, x, delimiter=",", header=header, comments="", fmt="%.10g")
    return str(path)


SMALLER = ("--latent-dim 4", "--latent-dim 4 --hidden 50")
SOURCES = (
    Source("digits", digits),
    Source("1,200 PNGs", pictures, ("--hidden 400 400",)),
    Source("wine", table("wine"), SMALLER, table=True, splits=3),
    Source("breast cancer", table("breast_cancer"), SMALLER, table=True),
    Source("diabetes", table("diabetes"), SMALLER, table=True),
    Source("counts", counts, ("--latent-dim 8",), table=True),
)
TUNED = ("--beta 1", "--beta linear --beta.steps 2000")


def train(words: list[str], out: Path) -> tuple[torch.nn.Module, data.Data, dict]:
    """Train by the shell's words; the model, its data, and the seconds and epochs that it took."""
    began = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = shell(["train", *words, "--out", str(out), "--no-progress", "--no-report"])
    if code:
        raise SystemExit(said.getvalue())
    seconds, rows = time.monotonic() - began, RunFolder(out).metrics()
    model = ppl_vae.load(out)
    found = load_data(settings(words)).resolve(model.support)
    best = max(row["valid"]["elbo"] for row in rows)
    return model, found, {"seconds": seconds, "epochs": rows[-1]["epoch"], "steps": rows[-1]["step"], "valid": best}


def measure(model: torch.nn.Module, found: data.Data) -> dict:
    """Log-likelihood and KL of every test row, and the log-likelihood's gain over that without a code."""
    x = found.test.take(slice(None))[0]
    each = evaluation.log_likelihood(model, x, num_particles=PARTICLES).value.double()
    kl = evaluation.evaluate(model, found.test, num_particles=1)["kl"]
    return {"log_likelihood": each, "gain": each - without_code(found), "kl": torch.full_like(each, kl)}


def runs(words: list[str], source: Source, folder: Path) -> dict:
    """A setting trained on every split of the source: means over the test rows of all, with standard errors."""
    each = []
    for seed in range(source.splits):
        model, found, said = train([*words, "--data.seed", str(seed)], folder / f"seed-{seed}")
        own = measure(model, found) | {name: torch.tensor([float(value)]) for name, value in said.items()}
        if source.table and "count" not in (found.kinds or {}).values():
            own["ppca"] = torch.tensor([probabilistic_pca(found)])
            errors = imputation(model, found)
            own["imputed"], own["iterative"] = (torch.tensor([error]) for error in errors)
        each.append(own)
    joined = {name: torch.cat([torch.atleast_1d(own[name]) for own in each]) for name in each[0]}
    out = {name: values.mean().item() for name, values in joined.items()}
    return out | {f"{name}_error": standard_error(joined[name]) for name in ("log_likelihood", "gain")}


def standard_error(values: torch.Tensor) -> float:
    return (values.std() / len(values) ** 0.5).item()


def without_code(found: data.Data) -> torch.Tensor:
    """log p of each test row under the likelihood's family with one set of parameters for all rows."""
    train, test = (split.take(slice(None))[0].double().flatten(1) for split in (found.train, found.test))
    kinds = found.kinds or dict.fromkeys(range(train.shape[1]), "binary")
    return sum(_column(str(kind), train[:, i], test[:, i]) for i, kind in enumerate(kinds.values()))


def _column(kind: str, train: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    if kind == "real":
        return torch.distributions.Normal(train.mean(), train.std(correction=0)).log_prob(test)
    if kind == "count":
        return _negative_binomial(train, test)
    if kind == "binary" or kind.startswith(("binary", "categorical", "ordinal")):
        # Half an observation more of every level, so that one seen in no training row is not impossible.
        levels = int(max(1, train.max(), test.max())) + 1
        counted = torch.stack([(train == level).sum() for level in range(levels)]).double() + 0.5
        return (counted / counted.sum()).log()[test.long()]
    raise ValueError(f"no likelihood without a code for columns of kind {kind}")


def _negative_binomial(train: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """Maximum likelihood: the mean is the sample's, the size is found by a search."""
    from scipy import optimize, stats

    counts, mean = train.numpy(), max(train.mean().item(), 1e-3)

    def density(log_size: float, x: np.ndarray) -> np.ndarray:
        size = np.exp(log_size)
        return stats.nbinom.logpmf(x, size, size / (size + mean))

    best = optimize.minimize_scalar(lambda s: -density(s, counts).sum(), bounds=(-5, 8), method="bounded").x
    return torch.from_numpy(density(best, test.numpy()))


def probabilistic_pca(found: data.Data) -> float:
    """Mean log-likelihood of the test rows, in the data's units."""
    from sklearn.decomposition import PCA

    train, valid, test = (s.take(slice(None))[0].double().numpy() for s in (found.train, found.valid, found.test))
    mean, std = train.mean(0), train.std(0)
    tried = [PCA(q).fit((train - mean) / std) for q in range(1, min(20, train.shape[1] - 1) + 1)]
    best = max(tried, key=lambda pca: pca.score((valid - mean) / std))
    return best.score((test - mean) / std) - np.log(std).sum()


def imputation(model: torch.nn.Module, found: data.Data) -> tuple[float, ...]:
    """Errors of ours and of IterativeImputer at hidden test cells, in standard deviations of the columns."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    train, test = (split.take(slice(None))[0] for split in (found.train, found.test))
    hidden = torch.rand(test.shape, generator=torch.Generator().manual_seed(5)) < 0.2
    std, holes = train.std(0), torch.where(hidden, torch.nan, test)
    ours = evaluation.impute(model, holes, num_samples=1000, weighted=True).x
    theirs = IterativeImputer(max_iter=50, random_state=0).fit(train.numpy()).transform(holes.numpy())
    return tuple(((torch.as_tensor(x) - test) / std)[hidden].square().mean().sqrt().item() for x in (ours, theirs))


def tuned(words: list[str], source: Source, folder: Path) -> dict:
    """The figures of the setting that is best on validation."""
    rows = len(load_data(settings(words)).train)
    epochs = -(-STEPS // -(-rows // min(128, rows)))
    length = ["--epochs", str(epochs), "--patience", str(max(1, epochs // 4))]
    tried = []
    for i, setting in enumerate(f"{beta} {more}".strip() for more in ("", *source.tuned) for beta in TUNED):
        tried.append({"setting": setting, **runs([*words, *length, *setting.split()], source, folder / str(i))})
    return max(tried, key=lambda one: one["valid"])


def row(source: Source, root: Path, with_tuned: bool = True) -> dict:
    """Everything about one data set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = source.write(folder, root)
        out = {"data": source.name, "command": " ".join(words), **runs(words, source, folder / "plain")}
        return out | ({"tuned": tuned(words, source, folder / "tuned")} if with_tuned else {})


def line(found: dict) -> list[str]:
    """A row of the table."""
    best = found.get("tuned", {})
    share = {name: f"{found[name] / best[name]:.0%}" if best else "" for name in ("gain", "kl")}
    some = {name: f"{found[name]:.2f}" if name in found else "" for name in ("ppca", "imputed", "iterative")}
    return [
        found["data"],
        f"{found['log_likelihood']:.1f} ± {found['log_likelihood_error']:.1f}",
        f"{found['gain']:.1f} ± {found['gain_error']:.1f}",
        share["gain"],
        f"{found['kl']:.1f}",
        share["kl"],
        f"{found['epochs']:.0f}",
        f"{found['seconds']:.0f}",
        f"{best['log_likelihood']:.1f}, KL {best['kl']:.1f}: {best['setting']}" if best else "",
        *some.values(),
    ]


HEAD = "data|log p(x)|gain|of tuned|KL|of tuned|epochs|seconds|tuned|pPCA|imputed|Iterative".split("|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--only", nargs="*", choices=[source.name for source in SOURCES])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-tuned", action="store_true")
    args = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    rows = []
    for source in SOURCES:
        if args.only is not None and source.name not in args.only:
            continue
        if source.write is pictures and not (args.data_root / "MNIST").exists():
            print(f"{source.name}: left out, since {args.data_root} holds no MNIST")
            continue
        rows.append(row(source, args.data_root, not args.no_tuned))
        print(f"| {' | '.join(line(rows[-1]))} |", flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
