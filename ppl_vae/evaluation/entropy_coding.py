"""Lossless bytes of integer codes, by a range coder under the learned prior p(codes | y).

A code of probability p costs -log2 p bits. The reader computes the same probabilities again, code after code, and a
range coder needs them equal to the last bit, which floats of two machines are not. So the probabilities in the bytes
are whole numbers, made of the prior's logits l_k in four steps:

1. The prior runs on the CPU in float64 through its ``stepper``, writer and reader alike, on blocks of the same rows.
2. Each logit becomes a whole number of steps of 1/64 nat below the largest: j_k = round(64 (max l - l_k)), at most
   1088, which is 17 nats. This costs about 1e-5 nats a code.
3. Each j has a weight w_j = round(2^30 exp(-j / 64)), by ``decimal``, whose results are correctly rounded everywhere.
4. Of the coder's 2^24 parts every code gets one, and of the other R = 2^24 - num_codes the share floor(R w_j / sum w);
   the first of the most probable codes gets the remainder. All numbers here are whole.

Only step 2 depends on floats: a logit within ``MARGIN`` nats of the edge between two j could fall on either side. The
writer records j for each of these, and the reader takes it from there. So the codes come back exact on every machine
whose differences max l - l_k are less than ``MARGIN`` from the writer's, and a checksum of the codes tells where not.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .doors import evaluating

if TYPE_CHECKING:
    from ..code_priors import CodePrior

STEPS = 64  # of the grid of logits, in a nat
DEEPEST = 17 * STEPS  # e^-17 is less than 2^-24, the least probability that the coder knows
UNIT = 2**30  # weight of the most probable code
PARTS = 2**24  # of the coder's probabilities
MARGIN = 1e-9  # nats; two machines differ by about 1e-13 in float64
ROWS = 1000  # examples in a block, fewer where there are many values
LARGEST = 2**20  # values that a code may take

_HEAD = struct.Struct("<8sI")  # checksum of the codes, size of the recorded logits
Progress = Callable[[int, int], object]


def encode_codes(
    prior: CodePrior, codes: Tensor, y: Tensor | None = None, *, progress: Progress | None = None
) -> bytes:
    """Bytes that hold codes without loss, about -log2 p(codes | y) bits.

    Args:
        prior: p(codes | y), which the reader needs too.
        codes: whole numbers (N, *prior.shape) from 0 to prior.num_codes - 1, on any device.
        y: labels (N, ...), or None; the reader needs them too.
        progress: called after every step with the number of codes that are done, and with that of all.

    Raises:
        ValueError: codes of another shape or out of range, a prior that gives NaN, or constriction is not installed.
        TypeError: codes that are no whole numbers.

    Source: Martin 1979, "Range encoding: an algorithm for removing redundancy from a digitised message"; Bamler 2022,
    "Understanding entropy coding with asymmetric numeral systems (ANS): a statistician's perspective" (constriction).

    Example:
        >>> from ppl_vae import code_priors
        >>> prior = code_priors.Transformer(width=8, layers=1, heads=2).attach((3, 3), 16)
        >>> codes = torch.randint(16, (100, 3, 3))
        >>> content = encode_codes(prior, codes)
        >>> len(content) < 9 * 100, torch.equal(decode_codes(prior, content, 100), codes)
        (True, True)
    """
    numbers = _checked(prior, codes)
    writer = _Writer(numbers)
    _walk(prior, len(numbers), y, writer, progress)
    recorded = writer.recorded()
    return _HEAD.pack(_checksum(numbers), len(recorded)) + recorded + writer.words()


def decode_codes(
    prior: CodePrior, content: bytes, n: int, y: Tensor | None = None, *, progress: Progress | None = None
) -> Tensor:
    """The codes (n, *prior.shape) that ``encode_codes`` wrote, int64, equal to what went in.

    Args:
        prior: the prior they were written under.
        content: the bytes.
        n: how many examples.
        y: the labels they were written with.
        progress: as for ``encode_codes``.

    Raises:
        ValueError: bytes that give other codes than were written: damaged, of another prior or other labels, or written
            on a machine that computes the logits more differently than ``MARGIN``; or constriction is not installed.
    """
    reader = _Reader(content, prior.num_codes)
    try:
        numbers = _walk(prior, n, y, reader, progress)
    except AssertionError:  # how constriction says that bytes are impossible
        numbers = None
    if numbers is None or _checksum(numbers) != reader.checksum:
        raise ValueError(
            "the codes do not come out as they were written: the prior, the labels or the bytes are others, or this "
            f"machine's logits differ from the writer's by more than {MARGIN:g} nats; decode where they were written"
        )
    return torch.from_numpy(numbers).reshape(n, *prior.shape)


def _checked(prior: CodePrior, codes: Tensor) -> np.ndarray:
    """Codes as whole numbers (N, positions)."""
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise TypeError(f"codes must be whole numbers, not {str(codes.dtype).removeprefix('torch.')}")
    if codes.dim() < 1 or tuple(codes.shape[1:]) != tuple(prior.shape):
        shape = ", ".join(map(str, ("N", *prior.shape)))
        raise ValueError(f"codes must have shape ({shape}), as the prior's, not {tuple(codes.shape)}")
    if not len(codes):
        raise ValueError("codes is empty; give those of at least one example")
    numbers = codes.detach().cpu().long().reshape(len(codes), -1).numpy()
    wrong = (numbers < 0) | (numbers >= prior.num_codes)
    if wrong.any():
        row = int(wrong.any(1).argmax())
        raise ValueError(
            f"codes must be from 0 to {prior.num_codes - 1}, as the prior's, not {numbers[row][wrong[row]][0]} as in "
            f"row {row}"
        )
    return numbers


def _checksum(numbers: np.ndarray) -> bytes:
    return hashlib.blake2b(numbers.astype("<i8").tobytes(), digest_size=8).digest()


def _walk(
    prior: CodePrior, n: int, y: Tensor | None, visit: _Writer | _Reader, progress: Progress | None
) -> np.ndarray:
    """Codes (n, positions); ``visit`` gives those of one position in one block of rows."""
    if prior.num_codes > LARGEST:
        raise ValueError(f"codes of {prior.num_codes} values cannot be written; the coder takes at most {LARGEST}")
    exact = copy.deepcopy(prior).to("cpu", torch.float64)
    y = None if y is None else y.detach().cpu()
    y = y.double() if y is not None and y.is_floating_point() else y
    positions, block = math.prod(prior.shape), max(1, min(ROWS, 2**22 // prior.num_codes))
    numbers = np.empty((n, positions), dtype=np.int64)
    with evaluating(exact, seed=0):
        for start in range(0, n, block):
            rows = slice(start, min(start + block, n))
            stepper = exact.stepper(rows.stop - rows.start, None if y is None else y[rows])
            previous = None
            for t in range(positions):
                logits = stepper.next(previous)
                if logits.dtype != torch.float64:
                    name = type(prior).__name__
                    raise TypeError(f"the stepper of {name}.double() must give float64 logits, not {logits.dtype}")
                numbers[rows, t] = visit(rows, t, logits.numpy())
                previous = torch.from_numpy(numbers[rows, t].copy())
                if progress is not None:
                    progress(start * positions + (rows.stop - start) * (t + 1), n * positions)
    return numbers


@functools.cache
def _weights() -> np.ndarray:
    """round(2^30 exp(-j / 64)) for j = 0, ..., 1088: the same on every machine."""
    with localcontext(prec=40):
        return np.array([int(((Decimal(-j) / STEPS).exp() * UNIT).to_integral_value()) for j in range(DEEPEST + 1)])


def steps_below(logits: np.ndarray, where: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Whole steps below the largest logit (n, K), and the flat places of logits that another machine may round apart.

    Example:
        >>> steps, near = steps_below(np.array([[0.0, -1.0, -0.5 / 64]]))
        >>> steps.tolist(), near.tolist()
        ([[0, 64, 1]], [2])
    """
    with np.errstate(invalid="ignore"):  # inf - inf
        below = (logits.max(1, keepdims=True) - logits) * STEPS
    if np.isnan(below).any():
        raise ValueError(f"the prior gives NaN or infinite logits{where}, so no code can be written or read")
    np.minimum(below, DEEPEST, out=below)
    near = np.abs(below - np.floor(below) - 0.5) < MARGIN * STEPS
    return np.floor(below + 0.5).astype(np.int64), near.ravel().nonzero()[0]


def frequencies(steps: np.ndarray) -> np.ndarray:
    """Whole numbers (n, K) of sum 2^24 - K, as floats: a code has its number and one more of the coder's 2^24 parts.

    constriction multiplies what it gets by (2^24 - K) / sum, which is exactly 1 here, so that it rounds nothing.

    Example:
        >>> frequencies(np.array([[0, 64]])).tolist(), round((2**24 - 2) / (1 + math.exp(-1)))
        ([[12265127.0, 4512087.0]], 12265126)
    """
    weights = _weights()[steps]
    free = PARTS - steps.shape[1]
    found = weights * free // weights.sum(1, keepdims=True)
    found[np.arange(len(found)), weights.argmax(1)] += free - found.sum(1)
    return found.astype(np.float64)


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise ValueError("constriction is not installed; pip install 'ppl_vae[compression]'") from None
    return constriction.stream


def _family(stream: Any) -> Any:
    return stream.model.Categorical(perfect=False)


def _two(probabilities: np.ndarray) -> np.ndarray:
    """The table with a second column where codes have one value only: the coder takes two or more."""
    return probabilities if probabilities.shape[1] > 1 else np.pad(probabilities, ((0, 0), (0, 1)))


class _Writer:
    """Writes given codes and records the logits that another machine may round apart."""

    def __init__(self, numbers: np.ndarray) -> None:
        stream = _constriction()
        self.numbers, self.coder, self.family = numbers, stream.queue.RangeEncoder(), _family(stream)
        self.seen, self.places, self.steps = 0, [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]

    def __call__(self, rows: slice, t: int, logits: np.ndarray) -> np.ndarray:
        codes = self.numbers[rows, t]
        steps, near = steps_below(logits, f" at place {t} of a code")
        self.places.append(self.seen + near)
        self.steps.append(steps.ravel()[near])
        self.seen += steps.size
        self.coder.encode(codes.astype(np.int32), self.family, _two(frequencies(steps)))
        return codes

    def recorded(self) -> bytes:
        """Places of logits in the order of the walk, as differences, and their steps."""
        places = np.concatenate(self.places)
        if not len(places):
            return b""
        return zlib.compress(np.stack([np.diff(places, prepend=0), np.concatenate(self.steps)]).astype("<i8").tobytes())

    def words(self) -> bytes:
        """What the coder wrote, in little-endian words of 32 bits."""
        return self.coder.get_compressed().astype("<u4").tobytes()


class _Reader:
    """Reads codes, at the recorded steps where there are such."""

    def __init__(self, content: bytes, num_codes: int) -> None:
        stream = _constriction()
        try:
            self.checksum, size = _HEAD.unpack_from(content)
            recorded, words = content[_HEAD.size : _HEAD.size + size], content[_HEAD.size + size :]
            pairs = np.frombuffer(zlib.decompress(recorded) if size else b"", dtype="<i8").reshape(2, -1)
            words = np.frombuffer(words, dtype="<u4").astype(np.uint32)
        except (struct.error, zlib.error, ValueError):
            raise ValueError("the bytes are no codes that encode_codes wrote, or they were damaged") from None
        self.places, self.steps = np.cumsum(pairs[0]), np.clip(pairs[1], 0, DEEPEST)
        self.coder, self.family, self.seen = stream.queue.RangeDecoder(words), _family(stream), 0

    def __call__(self, rows: slice, t: int, logits: np.ndarray) -> np.ndarray:
        steps, _ = steps_below(logits, f" at place {t} of a code")
        first, last = np.searchsorted(self.places, [self.seen, self.seen + steps.size])
        steps.ravel()[self.places[first:last] - self.seen] = self.steps[first:last]
        self.seen += steps.size
        return self.coder.decode(self.family, _two(frequencies(steps)))
