"""The file of codes that ``ppl-vae compress`` writes: what a reader needs beside the model, and the coded codes.

    ppl-vae codes       and a line feed, 14 bytes
    size                of the header, 4 bytes, little-endian
    header              JSON: version of the format, number and shape of the codes, fingerprint of the model, sizes
    checksum            of all above, 8 bytes
    labels              of a model of x given y: a .npy file in zlib
    codes               as ``encode_codes`` gives them

The fingerprint is that of all weights and buffers: codes mean nothing under other ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..models import Discrete
from ..parts import digest
from .discrete import check_discrete
from .doors import check_labels
from .entropy_coding import Progress, decode_codes, encode_codes

MAGIC = b"ppl-vae codes\n"
FORMAT = 1
_SIZE, _SUM = struct.Struct("<I"), 8  # size of the header; bytes of a checksum


def pack_codes(model: Discrete, codes: Tensor, y: Tensor | None = None, *, progress: Progress | None = None) -> bytes:
    """The content of a file that holds codes and labels, without loss.

    Args:
        model: whose prior the codes are coded under; a reader needs the same weights.
        codes: whole numbers (N, *code_shape), as ``codes(model, x, y)`` gives.
        y: labels (N, ...) of a conditional model, which the file keeps.
        progress: called after every step with the number of codes that are done, and with that of all.

    Raises:
        TypeError: a model whose codes are real numbers.
        ValueError: codes of another shape or out of range, labels that do not fit, or constriction is not installed.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, quantizers
        >>> p = likelihoods.Bernoulli(networks.MLP(8, [16]), 6)
        >>> vq = models.VQVAE(networks.MLP(6, [16]), quantizers.VectorQuantizer(4, 2), p)
        >>> codes = vq.encode(torch.rand(50, 6))
        >>> found, y = unpack_codes(vq, pack_codes(vq, codes))
        >>> torch.equal(found, codes), y
        (True, None)
    """
    y = check_labels(model, y, len(codes))
    y = None if check_discrete(model, "pack_codes").condition is None else y
    labels = b"" if y is None else _labels(y)
    coded = encode_codes(model.prior, codes, y, progress=progress)
    sizes = {"n": len(codes), "labels": len(labels), "codes": len(coded), "sum": _sum(labels + coded)}
    header = json.dumps(_of(model) | sizes, separators=(",", ":"))
    begin = MAGIC + _SIZE.pack(len(header)) + header.encode()
    return begin + bytes.fromhex(_sum(begin)) + labels + coded


def unpack_codes(
    model: Discrete, content: bytes, name: str = "content", *, progress: Progress | None = None
) -> tuple[Tensor, Tensor | None]:
    """Codes (N, *code_shape) and labels of a file's content, equal to what ``pack_codes`` was given.

    Args:
        model: the model that they were written with.
        content: of the file.
        name: what the file is called in errors.
        progress: as for ``pack_codes``.

    Raises:
        TypeError: a model whose codes are real numbers.
        ValueError: content that is no such file, cut off, damaged, of a newer format or of another model; or a machine
            that computes the prior too differently (see ``decode_codes``).
    """
    check_discrete(model, "unpack_codes")
    header, rest = _header(content, name)
    if header["format"] > FORMAT:
        raise ValueError(
            f"{name} has format {header['format']}, written by ppl_vae {header['ppl_vae']}; ppl_vae {__version__} "
            f"reads up to {FORMAT}, so install the newer one"
        )
    whole = header["labels"] + header["codes"]
    if len(rest) != whole:
        what = "cut off" if len(rest) < whole else "too long"
        raise ValueError(f"{name} is {what}: {len(rest)} bytes follow its header, not {whole}")
    if _sum(rest) != header["sum"]:
        raise ValueError(f"{name} is damaged: its checksum does not fit")
    other = [key for key, value in _of(model).items() if key not in ("format", "ppl_vae") and header[key] != value]
    if other:
        raise ValueError(
            f"{name} was written with another model, a {header['model']} with codes of shape {tuple(header['shape'])}, "
            f"{header['num_codes']} values and weights of its own; name the run it was written with"
        )
    labels, coded = rest[: header["labels"]], rest[header["labels"] :]
    y = _read_labels(labels) if labels else None
    return decode_codes(model.prior, coded, header["n"], y, progress=progress), y


def _of(model: Discrete) -> dict[str, Any]:
    """The entries of a header that describe the model."""
    state = model.state_dict()
    return {
        "format": FORMAT,
        "ppl_vae": __version__,
        "model": type(model).__name__,
        "shape": [*model.code_shape],
        "num_codes": model.num_codes,
        "weights": digest(*(state[name] for name in sorted(state))).hex(),
    }


def _sum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_SUM).hexdigest()


def _header(content: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """The header and what follows it."""
    if not content.startswith(MAGIC):
        raise ValueError(f"{name} is no file of codes that ppl-vae compress wrote")
    begin = len(MAGIC) + _SIZE.size
    end = begin + (_SIZE.unpack_from(content, len(MAGIC))[0] if len(content) >= begin else 0)
    if len(content) < end + _SUM:
        raise ValueError(f"{name} is cut off inside its header")
    if content[end : end + _SUM].hex() != _sum(content[:end]):
        raise ValueError(f"{name} is damaged: the checksum of its header does not fit")
    return json.loads(content[begin:end]), content[end + _SUM :]


def _labels(y: Tensor) -> bytes:
    """Labels as a .npy file in zlib, whole numbers in the smallest type that holds them."""
    values, file = y.detach().cpu().numpy(), io.BytesIO()
    if values.dtype.kind in "iu" and values.min() >= 0:
        values = values.astype(np.min_scalar_type(values.max()))
    np.save(file, values)
    return zlib.compress(file.getvalue(), 9)


def _read_labels(content: bytes) -> Tensor:
    values = torch.from_numpy(np.load(io.BytesIO(zlib.decompress(content))).copy())
    return values if values.is_floating_point() else values.long()
