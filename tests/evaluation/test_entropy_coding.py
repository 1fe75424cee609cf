"""Codes in bytes and back: exact, of the size that the prior says, and on machines that round differently."""

import hashlib
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from ppl_vae import code_priors, networks
from ppl_vae.code_priors import CodePrior, Stepper
from ppl_vae.evaluation import decode_codes, encode_codes, entropy_coding


class Context(CodePrior):
    """Logits that depend on the entry before, with noise as of another machine."""

    noise = 0.0

    def build(self, shape, num_codes):
        self.table = nn.Parameter(torch.randn(num_codes + 1, num_codes) * 2)

    def all_logits(self, codes, seen):
        flat = nn.functional.pad(codes.flatten(1)[:, :-1], (1, 0), value=self.num_codes)
        return self.table[flat].reshape(*codes.shape, self.num_codes)

    def make_stepper(self, n, seen):
        return _Context(self, n)


class _Context(Stepper):
    def __init__(self, prior, n):
        super().__init__(math.prod(prior.shape))
        self.prior, self.n = prior, n

    def step(self, previous):
        previous = torch.full((self.n,), self.prior.num_codes) if previous is None else previous
        logits = self.prior.table[previous]
        return logits + self.prior.noise * (2 * torch.rand(logits.shape, dtype=torch.float64) - 1)


def context(shape=(2, 3), num_codes=5):
    torch.manual_seed(1)
    return Context().attach(shape, num_codes)


def drawn(prior, n, y=None, seed=4):
    torch.manual_seed(seed)
    return prior.eval().draw(n, y)


PRIORS = {
    "context": context,
    "one value": lambda: context(num_codes=1),
    "frequencies": lambda: code_priors.Frequencies().attach((4,), 3),
    "transformer": lambda: code_priors.Transformer(8, 2, 2).attach((2, 2, 2), 6),
    "pixel-cnn": lambda: code_priors.PixelCNN(6, 2).attach((3, 3), 7),
    "scalar": lambda: code_priors.Transformer(8, 1, 2).attach((), 300),
}


@pytest.mark.parametrize("n", [1, 7, 20])  # less than a block, one, and more than two
@pytest.mark.parametrize("name", PRIORS)
def test_codes_come_back_exactly(name, n, monkeypatch):
    monkeypatch.setattr(entropy_coding, "ROWS", 7)
    prior = PRIORS[name]()
    before = {key: value.clone() for key, value in prior.state_dict().items()}
    codes, seen = drawn(prior, n), []
    content = encode_codes(prior, codes, progress=lambda done, total: seen.append((done, total)))
    found = decode_codes(prior, content, n)
    assert found.dtype == torch.int64 and torch.equal(found, codes)
    assert seen[-1] == (codes.numel(), codes.numel()) and len(set(seen)) == len(seen) and seen == sorted(seen)
    assert all(
        torch.equal(value, before[key]) and value.dtype == before[key].dtype
        for key, value in prior.state_dict().items()
    )


@pytest.mark.parametrize("name", ["context", "transformer", "pixel-cnn"])
def test_the_bytes_are_those_of_the_entropy(name):
    """12 bytes of the header, up to 8 of the coder, and 0.1 % for the grid of logits."""
    prior = PRIORS[name]()
    if name != "context":
        nn.init.normal_([p for p in prior.parameters() if p.dim() > 1][-1], std=3.0)  # far from uniform
    codes = drawn(prior, 3000)
    least = -prior().log_prob(codes).double().sum().item() / math.log(256)
    assert least < 0.9 * codes.numel() * math.log(prior.num_codes) / math.log(256)
    assert least - 1 < len(encode_codes(prior, codes)) < 20 + 1.001 * least


def test_what_hardly_ever_happens_can_be_written():
    prior = context((200,), 4)
    with torch.no_grad():
        prior.table[:, 1:] = -math.inf
    codes = torch.tensor([[0, 3] * 100])
    content = encode_codes(prior, codes)
    assert torch.equal(decode_codes(prior, content, 1), codes)
    assert len(content) == pytest.approx(12 + 100 * 24 / 8, abs=8)  # 24 bits is the most that a code costs


@pytest.mark.parametrize("y", [torch.tensor([2, 0, 1, 1, 0]), torch.randn(5, 2)], ids=["label", "vector"])
def test_codes_given_labels(y):
    condition = networks.Label(3) if y.dim() == 1 else networks.Vector(2)
    prior = code_priors.Transformer(8, 1, 2, condition=condition).attach((3, 3), 6)
    for parameter in prior.parameters():
        nn.init.normal_(parameter)
    codes = drawn(prior, 5, y)
    content = encode_codes(prior, codes, y)
    assert torch.equal(decode_codes(prior, content, 5, y), codes)
    with pytest.raises(ValueError, match="the codes do not come out as they were written"):
        decode_codes(prior, content, 5, y.roll(1, 0))


def test_the_weights_of_the_file_s_contract():
    """Another table, or the same in another rounding, would make files that are out there unreadable."""
    weights = entropy_coding._weights()
    assert weights.dtype == np.int64 and len(weights) == 1089 and weights[0] == 2**30 and weights[64] == 395007542
    np.testing.assert_allclose(weights, 2**30 * np.exp(-np.arange(1089) / 64), atol=0.5 + 1e-6)
    digest = hashlib.blake2b(weights.astype("<i8").tobytes(), digest_size=8).hexdigest()
    assert digest == "955f2bdea16a4c5e"


def test_a_file_of_format_1_is_read_for_ever():
    prior = context((5,), 3)
    with torch.no_grad():
        prior.table.copy_(torch.tensor([[0.0, -1.0, -2.5], [-3.0, 0.0, -0.25], [0.5, 0.5, 0.0], [0.0, 0.0, -9.0]]))
    codes = torch.tensor([[0, 0, 1, 1, 2], [1, 2, 0, 0, 0], [2, 2, 2, 2, 1]])
    content = bytes.fromhex("e7cefd9d6d971f6b00000000a6a0fb7f00000000")
    assert encode_codes(prior, codes) == content and torch.equal(decode_codes(prior, content, 3), codes)


def test_frequencies_are_those_of_the_weights_in_exact_fractions():
    steps = np.random.default_rng(0).integers(0, 1089, size=(50, 7))
    steps[:, 3] = 0
    steps[0] = [5, 0, 3, 0, 1088, 1088, 2]
    found = entropy_coding.frequencies(steps)
    assert found.dtype == np.float64 and (found.sum(1) == 2**24 - 7).all()
    weights = entropy_coding._weights()
    for row, given in zip(found, steps, strict=True):
        total = sum(Fraction(int(weights[j])) for j in given)
        exact = [Fraction(int(weights[j])) / total * (2**24 - 7) for j in given]
        short = [math.floor(e) - int(f) for e, f in zip(exact, row, strict=True)]
        first = given.tolist().index(0)
        assert [k for k, less in enumerate(short) if less] in ([], [first]) and short[first] > -7


def on_edges():
    """Half of the logits lie on an edge between two steps, exactly."""
    prior = context((4, 4), 9)
    with torch.no_grad():
        prior.table.copy_(torch.randint(0, 999, prior.table.shape) / -128.0)
        prior.table[:, 0] = 0.0
    return prior


@pytest.mark.parametrize("kind", ["edges", "anywhere"])
def test_another_machine_reads_the_same_codes(kind):
    prior = on_edges() if kind == "edges" else context((4, 4), 9)
    codes = drawn(prior, 300)
    there = on_edges() if kind == "edges" else context((4, 4), 9)
    for here, noise in ((0.0, 0.49), (0.24, 0.24)):  # the difference of two logits has twice their noise
        prior.noise, there.noise = here * entropy_coding.MARGIN, noise * entropy_coding.MARGIN
        content = encode_codes(prior, codes)
        recorded = int.from_bytes(content[8:12], "little")
        assert recorded > 2000 if kind == "edges" else recorded == 0
        assert torch.equal(decode_codes(there, content, 300), codes)


def test_a_machine_that_differs_by_more_is_told():
    prior, there = context((4, 4), 9), context((4, 4), 9)
    there.noise = 1e-3
    content = encode_codes(prior, drawn(prior, 300))
    with pytest.raises(ValueError, match=r"this machine's logits differ from the writer's by more than 1e-09 nats"):
        decode_codes(there, content, 300)


def test_threads_round_apart_and_read_the_same():
    """On one thread and on two, float64 logits may differ in their last bits."""
    prior = code_priors.Transformer(32, 2, 2).attach((6,), 64).eval()
    codes, threads = drawn(prior, 64), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        content = encode_codes(prior, codes)
        torch.set_num_threads(2)
        assert torch.equal(decode_codes(prior, content, 64), codes)
    finally:
        torch.set_num_threads(threads)


def test_damaged_bytes_are_refused():
    prior = on_edges()
    codes = drawn(prior, 2)
    content = encode_codes(prior, codes)
    for i in range(len(content)):
        changed = content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :]
        for bad in (changed, content[:i]):
            try:
                found = decode_codes(prior, bad, 2)
            except ValueError as error:
                assert "codes" in str(error) and "\n" not in str(error)
            else:
                assert torch.equal(found, codes)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (torch.full((2, 2, 3), 5), ValueError, "codes must be from 0 to 4, as the prior's, not 5 as in row 0"),
        (torch.tensor([[0] * 6, [0, 0, 0, -1, 0, 0]]).view(2, 2, 3), ValueError, "not -1 as in row 1"),
        (torch.zeros(2, 3, 2, dtype=torch.long), ValueError, r"codes must have shape \(N, 2, 3\), .*not \(2, 3, 2\)"),
        (torch.zeros(0, 2, 3, dtype=torch.long), ValueError, "codes is empty"),
        (torch.zeros(2, 2, 3), TypeError, "codes must be whole numbers, not float32"),
    ],
)
def test_what_are_no_codes_is_refused(codes, error, message):
    with pytest.raises(error, match=message):
        encode_codes(context(), codes)


def test_a_prior_that_cannot_be_used_is_refused(monkeypatch):
    prior, codes = context(), torch.zeros(2, 2, 3, dtype=torch.long)
    monkeypatch.setattr(_Context, "step", lambda self, previous: torch.zeros(self.n, 5))
    with pytest.raises(TypeError, match=r"Context.double\(\) must give float64 logits"):
        encode_codes(prior, codes)
    monkeypatch.setattr(_Context, "step", lambda self, previous: torch.full((self.n, 5), math.inf).double())
    with pytest.raises(ValueError, match="the prior gives NaN or infinite logits at place 0 of a code"):
        encode_codes(prior, codes)
    with pytest.raises(ValueError, match="codes of 2000000 values cannot be written; the coder takes at most 1048576"):
        encode_codes(Huge().attach((1,), 2_000_000), torch.zeros(2, 1, dtype=torch.long))


class Huge(Context):
    def build(self, shape, num_codes):
        pass


def test_without_constriction_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ValueError, match=r"^constriction is not installed; pip install 'ppl_vae\[compression\]'$"):
        encode_codes(context(), torch.zeros(2, 2, 3, dtype=torch.long))
