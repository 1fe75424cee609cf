"""A model's encoder or decoder as a file: ONNX for any language, or a ``torch.export`` program.

The file holds what ``encode(x, y)`` or ``decode(z, y)`` compute, for any number of rows, with all weights and units
inside. It is computed on example rows and compared with the model before it is written.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from .. import __version__, randomness, supports
from ..data.rows import to_float
from ..files import write_atomically
from ..networks import Label
from .export_formats import Run, quietly, run_onnx, run_pt2, to_onnx, to_pt2

if TYPE_CHECKING:
    from .protocols import Codec

MADE, ROWS = 16, 256  # rows made up to compare on; given ones that are used, at most
MISSING = 0.2  # share of the made-up entries, where entries may be missing
FORMATS = {".onnx": (to_onnx, run_onnx), ".pt2": (to_pt2, run_pt2)}
PARTS = {"encoder": ("x", "z"), "decoder": ("z", "x"), "predictor": ("x", "y")}  # names of the input and of the output
METHODS = {"encoder": "encode", "decoder": "decode", "predictor": "predict"}


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        inputs: names of its inputs, ("x",), ("z",), or with "y" where the part needs it.
        output: name of its output: "z" of an encoder, "x" of a decoder, "y" of a predictor.
        difference: largest difference from the model over the compared rows, relative to the output's scale; None if
            it was not compared, since ``onnxruntime`` is not installed.
    """

    path: Path
    inputs: tuple[str, ...]
    output: str
    difference: float | None


class _Function(nn.Module):
    """``encode``, ``decode`` or ``predict`` as a module, without y."""

    def __init__(self, model: Any, part: str) -> None:
        super().__init__()
        self.model, self.part = model, part

    def forward(self, value: Tensor) -> Tensor:
        return self.called(value, None)

    def called(self, value: Tensor, y: Tensor | None) -> Tensor:
        if self.part == "predictor":
            return self.model.predict(value)
        return self.model.encode(value, y) if self.part == "encoder" else self.model.decode(value, y)


class _Conditional(_Function):
    """The same with y."""

    def forward(self, value: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.called(value, y)


def export_codec(
    model: Codec, path: str | Path, part: str, x: Any, y: Any, metadata: Mapping[str, str] | None, tolerance: float
) -> Exported:
    """Write the file; ``Codec.export`` says how."""
    path = _checked(model, path, part, metadata)
    twin: Any = copy.deepcopy(model)  # the model itself is left alone
    twin = twin.cpu().eval()
    twin = twin.float() if any(p.dtype in (torch.float16, torch.bfloat16) for p in twin.parameters()) else twin
    function = (_Function if _needed(twin, part) is None else _Conditional)(twin, part).eval()
    with quietly(), randomness.isolated(randomness.apart(0)), pyro.validation_enabled(False), torch.no_grad():
        rows = _example(twin, part, x, y)
        expected = function(*rows)
        if not expected.isfinite().all():
            raise ValueError(
                f"the {part} gives NaN or infinity for an example, so nothing was written to {path}; train the model, "
                "or give rows that it can code as x"
            )
        names, output = (PARTS[part][0], "y")[: len(rows)], PARTS[part][1]
        written, run = FORMATS[path.suffix]
        content = written(_program(function, rows), names, output, _about(twin, part, names, output, metadata))
        difference = _difference(run(content), rows, expected)
    if difference is not None and not difference <= tolerance:
        raise ValueError(
            f"the exported {part} differs from the model by {difference:.2g} of the output's scale, more than "
            f"tolerance={tolerance:g}, so nothing was written to {path}; export model.double() or raise the tolerance"
        )
    write_atomically(path, content)
    return Exported(path, names, output, difference)


def _checked(model: Any, path: str | Path, part: str, metadata: Mapping[str, str] | None) -> Path:
    path = Path(path)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{type(model).__name__} must be a torch.nn.Module to be exported: derive it from nn.Module too"
        )
    if path.suffix not in FORMATS:
        raise ValueError(f"path must end in .onnx (ONNX) or .pt2 (torch.export), not {path.name!r}")
    if part not in PARTS:
        raise ValueError(f"part must be 'encoder', 'decoder' or 'predictor', not {part!r}")
    if not path.parent.is_dir():
        raise ValueError(f"path is in {path.parent}, which is not a folder; make it first")
    wrong = next((pair for pair in dict(metadata or {}).items() if not all(isinstance(s, str) for s in pair)), None)
    if wrong is not None:
        raise TypeError(f"metadata must map strings to strings, not {wrong[0]!r} to {wrong[1]!r}; use json.dumps")
    broken = next(
        (name for name, p in model.named_parameters() if not nn.parameter.is_lazy(p) and p.isnan().any()), None
    )
    if broken is not None:
        raise ValueError(f"parameter {broken} of the model holds NaN; train it again before it is exported")
    return path


# Rows to compare on


def _needed(model: Any, part: str) -> Any:
    """What y is, where this part takes it beside its input; else None."""
    return {"encoder": model.condition, "decoder": model.drawn_by, "predictor": None}[part]


def _example(model: Any, part: str, x: Any, y: Any) -> tuple[Tensor, ...]:
    """Input of the function: at least two rows, those given or some made up, and their y where it needs them."""
    needed = _needed(model, part)
    given = None if x is None else to_float(x, "x")[:ROWS].cpu()
    count = MADE if given is None else len(given)
    like = next(model.parameters(), torch.zeros(()))
    if given is None and y is not None:
        raise ValueError("y is given without x; give the rows whose labels they are, or neither")
    if needed is None:
        y = None
    elif given is None or (y is None and model.condition is None):
        y = _made_labels(needed, count, like)
    else:
        y = None if y is None else torch.as_tensor(y)[:ROWS].cpu()
        needed.check(y, count)
    if given is None:
        z = _made_codes(model, count, like)
        labels = y if model.drawn_by is None or y is not None else _made_labels(model.drawn_by, count, like)
        value = z if part == "decoder" else _made_rows(model, z, labels)
    else:
        if tuple(given.shape[1:]) != tuple(model.shape) or not count:
            sizes = ", ".join(map(str, model.shape))
            raise ValueError(f"x must be rows (B, {sizes}), not of shape {tuple(given.shape)}")
        given = given.to(like.dtype)
        value = model.encode(given, y) if part == "decoder" else given
    rows = (value,) if y is None else (value, y)
    # One row would be traced as a constant number of rows.
    return tuple(t.repeat(2, *(1 for _ in t.shape[1:])) if count == 1 else t for t in rows)


def _made_labels(condition: Any, count: int, like: Tensor) -> Tensor:
    if isinstance(condition, Label):
        return torch.arange(count) % condition.classes
    return torch.randn(count, *condition.event, dtype=like.dtype)


def _made_codes(model: Any, count: int, like: Tensor) -> Tensor:
    """Codes inside the support."""
    one = supports.entry(model.code_support)
    if isinstance(one, constraints.integer_interval):
        return torch.randint(one.lower_bound, one.upper_bound + 1, (count, *model.code_shape))
    u = torch.randn(count, *model.code_shape, dtype=like.dtype)
    if one.is_discrete:
        return supports.onto(model.code_support, u.sigmoid())
    z = supports.onto(model.code_support, u)
    return z if bool(model.code_support.check(z).all()) else transform_to(model.code_support)(u)


def _made_rows(model: Any, z: Tensor, y: Tensor | None) -> Tensor:
    """Pictures of codes, half of them rounded as levels and counts are, with gaps where entries may be missing."""
    x = model.decode(z, y)
    x = torch.cat([x[: len(x) // 2], x[len(x) // 2 :].round()])
    gaps = torch.rand_like(x) < (MISSING if supports.allows_missing(model.support) else 0.0)
    return torch.where(gaps, torch.nan, x)


# Tracing


def _program(function: _Function, rows: tuple[Tensor, ...]) -> Any:
    """The function as an exported program for any number of rows.

    Raises:
        ValueError: it cannot be traced, or it draws random numbers.
    """
    batch = torch.export.Dim("batch")
    name = f"{type(function.model).__name__}.{METHODS[function.part]}"
    try:
        program = torch.export.export(function, rows, dynamic_shapes=tuple({0: batch} for _ in rows), strict=False)
    except Exception as error:  # whatever a user's program raises when its tensors have no values
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"{name} cannot be exported, since it does not run on tensors without values: {lines[0]}"
        ) from error
    program.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    for node in program.graph.nodes:
        if _draws(node):
            parts = ", ".join(f"{child}={type(m).__name__}" for child, m in function.model.named_children())
            raise ValueError(
                f"{name} of {type(function.model).__name__}({parts}) averages random draws, since one of its "
                "distributions has no formula for the mean, and no file repeats them; use one with a mean, such as "
                f"{'posteriors' if function.part == 'encoder' else 'likelihoods'}.Normal"
            )
        node.meta.pop("stack_trace", None)  # names files of this computer
    return program


def _draws(node: torch.fx.Node) -> bool:
    """Whether an operation draws random numbers; a dropout that is switched off says train=False."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    given = dict(zip((argument.name for argument in node.target._schema.arguments), node.args, strict=False))
    return (given | node.kwargs).get("train") is not False


# Comparing


def _about(
    model: Any, part: str, names: tuple[str, ...], output: str, more: Mapping[str, str] | None
) -> dict[str, str]:
    """Metadata of the file."""
    about = model.target if part == "predictor" else _needed(model, part)
    y = {} if about is None else {"y": repr(about)}
    shapes = {name: json.dumps([*shape]) for name, shape in (("shape", model.shape), ("code_shape", model.code_shape))}
    own = {"ppl_vae": __version__, "part": part, "inputs": json.dumps(names), "output": output, **shapes, **y}
    taken = own.keys() & dict(more or {}).keys()
    if taken:
        raise ValueError(f"metadata holds {min(taken)!r}, which the file says itself; choose another name")
    return own | dict(more or {})


def _difference(function: Run | None, rows: tuple[Tensor, ...], expected: Tensor) -> float | None:
    """Largest difference over the rows at once and over the first alone, relative to the scale of each entry.

    The scale of an entry is its largest size over the rows, at least the smaller of 1 and the largest entry of all.
    """
    if function is None:
        return None
    right = expected.double().numpy()
    size = np.abs(right)
    scale = np.maximum(size.max(0), min(1.0, size.max())).clip(min=np.finfo(float).tiny)
    found = np.concatenate([function(*rows), function(*(t[:1] for t in rows))]).astype(float)
    if found.shape[1:] != right.shape[1:] or not np.isfinite(found).all():
        return math.inf
    return float((np.abs(found - np.concatenate([right, right[:1]])) / scale).max())
