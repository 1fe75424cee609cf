"""Formats of exported functions, ONNX and the archive of ``torch.export``: each is bytes, and runs from bytes."""

from __future__ import annotations

import io
import itertools
import json
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGEST = 2**31  # bytes in an ONNX file
METADATA = "metadata.json"  # in a .pt2 file

Run = Callable[..., np.ndarray]  # of the input tensors


def to_onnx(program: Any, names: tuple[str, ...], output: str, about: dict[str, str]) -> bytes:
    """The exported program as an ONNX file.

    Args:
        program: of ``torch.export``.
        names: of its inputs.
        output: its output's name.
        about: metadata.

    Raises:
        ValueError: the exporter is not installed, an operator that ONNX lacks, or more weights than a file can hold.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ValueError("onnx and onnxscript are not installed; pip install 'ppl_vae[onnx]'") from None
    weight = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if weight > 0.99 * LARGEST:
        raise ValueError(f"the weights take {weight / 1e9:.1f} GB and an ONNX file holds 2; write a .pt2 file")
    ours = {torch.ops.aten.lgamma.default: lgamma, torch.ops.aten.cumprod.default: cumprod}
    if any(node.target in ours for node in program.graph.nodes):
        program = program.run_decompositions(ours)
    try:
        made: Any = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names, output_names=[output])
    except Exception as error:  # the exporter's own kinds
        operator = re.search(r"OpOverload\(op='([\w.]+)'", str(error))
        raise ValueError(
            f"the model cannot be written as ONNX, which has no operator for "
            f"{operator[1] if operator else 'a step of it'}; write a .pt2 file"
        ) from error
    proto = made.model_proto
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        del node.metadata_props[:]  # of the exporter, for finding its own errors
    for key, text in about.items():
        proto.metadata_props.add(key=key, value=text)
    return proto.SerializeToString()


def to_pt2(program: Any, names: tuple[str, ...], output: str, about: dict[str, str]) -> bytes:
    """The exported program as an archive of JSON and plain bytes; its inputs have no names but x or z, and y."""
    program.example_inputs = None  # which would be pickled
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(about, indent=1)})
    return file.getvalue()


def run_onnx(content: bytes) -> Run | None:
    """The file as a function of tensors, in onnxruntime; None if that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda *rows: session.run(None, dict(zip(names, (t.numpy() for t in rows), strict=True)))[0]


def run_pt2(content: bytes) -> Run:
    """The file as a function of tensors."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda *rows: module(*rows).numpy()


def lgamma(x: Tensor) -> Tensor:
    """log |Gamma(x)|, which ONNX lacks: Stirling's series after eight steps up; in double precision."""
    double = x.double()
    up = torch.where(double > 0, double, 1 - double)
    steps = up.log()
    for k in range(1, 8):
        steps = steps + (up + k).log()
    w = up + 8
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * w * w)) / (w * w)) / (w * w)) / w
    value = (w - 0.5) * w.log() - w + 0.5 * math.log(2 * math.pi) + series - steps
    reflected = math.log(math.pi) - (math.pi * double).sin().abs().log() - value
    return torch.where(double > 0, value, reflected).to(x.dtype)


def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Running products along a dimension, which ONNX lacks."""
    parts = list((x if dtype is None else x.to(dtype)).unbind(dim))
    return torch.stack(list(itertools.accumulate(parts, torch.mul)), dim)


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress the exporters' warnings and log messages."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
