"""``ppl-vae decompress``."""

from __future__ import annotations

from pathlib import Path

from ... import evaluation
from ...data import TableCoding
from ...models import Discrete
from ..arguments import UsageError
from ..files import target, write_array, write_table
from ..progress import counted
from ..run import Run


def decompress(run: Run, file: str, out: str | None = None, codes: bool = False) -> None:
    """Decode a file of codes.

    The codes come back exactly. What is written is the mean of p(x | codes), or the codes themselves.

    Args:
        run: the run that the file was written with.
        file: a file that compress wrote.
        out: file to write: .npy for the numbers, .csv or .parquet for a table with the names, units and words of the
            training data.
        codes: write the codes, in .npy.
    """
    path = target(out, (".npy",) if codes else (".npy", ".csv", ".parquet"))
    coding, as_rows = run.trained.coding, path.suffix.lower() in (".csv", ".parquet")
    if as_rows and not isinstance(coding, TableCoding):
        raise UsageError(f"--out {out} is for tables; the rows of {run.name} are arrays, so use .npy")
    if not isinstance(run.model, Discrete):
        kind = type(run.model).__name__
        raise UsageError(f"{run.name} holds {kind}, whose codes are no whole numbers, so no file was written with it")
    if not Path(file).is_file():
        raise UsageError(f"{file} is no file; name one that ppl-vae compress wrote")
    content = Path(file).read_bytes()
    with counted("codes") as progress:
        known, y = evaluation.unpack_codes(run.model, content, name=file, progress=progress)
    if codes:
        return write_array(path, known)
    rows = evaluation.decode(run.model, known, y)
    if as_rows:
        write_table(path, coding.uncode(rows), rows)
    else:
        write_array(path, rows)
