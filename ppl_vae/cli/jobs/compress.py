"""``ppl-vae compress``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ... import evaluation
from ...files import write_atomically
from ...models import Discrete
from ..arguments import UsageError
from ..files import print_json, target
from ..progress import counted
from ..run import Examples

LEVELS = (2, 4, 8, 16, 32, 64)


def compress(run: Examples, out: str | None = None, levels: Sequence[int] | None = None, json: bool = False) -> None:
    """Examples in few bits: a file of codes, or the rate and distortion of rounded codes.

    Codes that are whole numbers, as those of a VQ-VAE, are written to a file under their learned prior; decompress
    reads it with the same run. Their bytes stand beside those of PNG and zlib. Codes that are real numbers are rounded
    to several numbers of levels.

    Args:
        run: a run and its examples.
        out: file to write the codes to, with any ending; without it the sizes are only printed.
        levels: values that an entry of a rounded code may take; 2 4 8 16 32 64 if not given.
        json: print JSON.
    """
    if isinstance(run.model, Discrete):
        if levels is not None:
            raise UsageError(f"--levels is for real codes, which are rounded; those of {run.name} are whole numbers")
        return _file(run, out, json)
    if out is not None:
        kind = type(run.model).__name__
        raise UsageError(
            f"--out is for models whose codes are whole numbers, as train --model vqvae makes; {run.name} holds "
            f"{kind}, whose rate --levels measures without a file"
        )
    (x, y, _), known, rows = run.take(), run.take(split="train"), []
    for count in LEVELS if levels is None else levels:
        found = evaluation.compress(run.model, x, y, train=known.x, train_y=known.y, levels=count)
        rate, distortion = found.rate.mean().item(), found.distortion.mean().item()
        rows.append({"levels": count, "bits": rate, "bits_per_dim": rate / x[0].numel(), "squared_error": distortion})
    if json:
        return print_json(rows)
    print(f"{run.title}, {len(x)} examples\n  levels  bits an example  bits a dimension  squared error")
    for row in rows:
        print("  {levels:>6}  {bits:>15.2f}  {bits_per_dim:>16.4f}  {squared_error:>13.4g}".format(**row))


def _file(run: Examples, out: str | None, json: bool) -> None:
    """Write the codes to a file and print what they cost."""
    path = None if out is None else target(out, ())
    x, y, _ = run.take()
    shape, values = tuple(run.model.code_shape), run.model.num_codes
    with counted("codes") as progress:
        sizes = evaluation.file_sizes(run.model, x, y, progress=progress)
    if path is not None:
        write_atomically(path, sizes.content)
    if json:
        return print_json(
            {"file": out, "n": sizes.n, "bytes": sizes.bytes}
            | {"bits": sizes.bits_per_example, "bits_per_dim": sizes.bits_per_dim, "entropy_bytes": sizes.entropy}
            | {"squared_error": sizes.squared_error, "depth": sizes.depth, "zlib_bytes": sizes.zlib}
            | {"png_bytes": sizes.png, "png_each_bytes": sizes.png_each}
        )
    print(f"{run.title}, {sizes.n} examples, codes of shape {shape} and {values} values")
    print(f"  {'':<24}  {'bytes':>10}  bits an example  bits a dimension")
    rows = [(Path(out).name if out else "codes", sizes.bytes), ("entropy under the prior", sizes.entropy)]
    rows += [("PNG, all in one file", sizes.png), ("PNG, a file each", sizes.png_each), ("zlib", sizes.zlib)]
    for name, count in rows:
        if count is not None:
            bits = 8 * count / sizes.n
            print(f"  {name[:24]:<24}  {count:>10.0f}  {bits:>15.2f}  {bits / sizes.size:>16.4f}")
    kept = {1: "zeros and ones", 8: "8-bit grey levels", 32: "32-bit numbers"}[sizes.depth]
    print(
        f"  squared error {sizes.squared_error:.4g} an example of what the codes give; PNG and zlib keep {kept} exactly"
    )
