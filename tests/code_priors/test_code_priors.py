"""Priors of codes against enumeration: every code of a grid that is small enough to list."""

import json
import math

import pyro
import pytest
import torch
from contracts import check_code_prior, entries_seen, every_code, stepped
from instances import every, instance, shaken
from torch.utils.flop_counter import FlopCounterMode

from ppl_vae import code_priors, networks, parts
from ppl_vae.code_priors import CodeDistribution, Frequencies, PixelCNN, Transformer, base, distribution
from ppl_vae.objectives import Loss, Objective
from ppl_vae.training.capture import Captured
from ppl_vae.training.precision import half_products

CASES = [pytest.param(case, id=str(case)) for case in every("code_priors")]
TRAINED = [
    pytest.param(lambda condition=None: Transformer(8, 2, 2, condition=condition), id="transformer"),
    pytest.param(lambda condition=None: PixelCNN(8, 3, condition=condition), id="pixel-cnn"),
]
BEFORE = torch.ones(16, 16).tril(-1).bool()  # [t, s]: entry s comes before entry t


@pytest.mark.parametrize("case", CASES)
def test_contract_on_a_grid(case):
    check_code_prior(instance("code_priors", case), (2, 2), 3)


@pytest.mark.parametrize("shape,num_codes", [((), 5), ((3,), 4), ((2, 2, 2), 2), ((1, 3), 1)])
@pytest.mark.parametrize("make", [Frequencies, lambda: Transformer(8, heads=2)], ids=["frequencies", "transformer"])
def test_codes_of_other_shapes(make, shape, num_codes):
    prior = shaken(make().attach(shape, num_codes).double().eval(), 0.5)
    codes = every_code(shape, num_codes)
    with torch.no_grad():
        assert prior().log_prob(codes).logsumexp(0).abs() < 1e-10
        assert torch.allclose(stepped(prior, codes), prior.logits(codes), atol=1e-10, rtol=0)
    assert prior().sample((6,)).shape == (6, *shape)


@pytest.mark.parametrize("make", TRAINED)
def test_every_earlier_entry_of_a_grid_matters_and_no_other(make):
    prior = shaken(make().attach((4, 4), 5).double(), 0.3)
    assert torch.equal(entries_seen(prior), BEFORE)


def test_a_layer_of_the_pixel_cnn_sees_two_rows_above_and_two_entries_to_the_left():
    seen = entries_seen(shaken(PixelCNN(8, 1).attach((5, 5), 5).double(), 0.3))
    for t in range(25):
        row, column = divmod(t, 5)
        field = {(row - up, column + aside) for up in (1, 2) for aside in (-1, 0, 1)}
        field |= {(row, column - 1), (row, column - 2)}
        assert {divmod(s, 5) for s in seen[t].nonzero()[:, 0].tolist()} == {
            (r, c) for r, c in field if r >= 0 and 0 <= c < 5
        }


@pytest.mark.parametrize("make", TRAINED)
def test_all_steps_together_cost_one_pass(make):
    prior = make().attach((6, 6), 5).eval()
    codes = torch.randint(5, (4, 6, 6))

    def cost(work):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work()
        return counter.get_total_flops()

    whole = cost(lambda: prior.logits(codes))
    stepper = prior.stepper(4)
    steps = [cost(lambda: stepper.next(None))]
    for entry in codes.flatten(1).T[:-1]:
        steps.append(cost(lambda entry=entry: stepper.next(entry)))
    assert whole > 0 and sum(steps) <= 1.01 * whole
    assert max(steps) <= 8 / 36 * whole  # one entry, and in the PixelCNN at the start of a row the 6 entries above it


@pytest.mark.parametrize("make", TRAINED)
def test_samples_are_as_frequent_as_they_are_probable(make):
    prior = shaken(make().attach((2, 2), 3), 0.2).train()  # dropout is off in samples, in training mode too
    codes, n = every_code((2, 2), 3), 50_000
    drawn = prior().sample((n,)).flatten(1) @ torch.tensor([27, 9, 3, 1])
    with torch.no_grad():
        expected = n * prior.eval()().log_prob(codes).double().exp()
    assert expected.max() / expected.min() > 3 and expected.min() > 5
    statistic = ((drawn.bincount(minlength=81) - expected).square() / expected).sum()
    assert statistic < 80 + 4 * math.sqrt(2 * 80)  # chi-square of 80 degrees of freedom; uniform codes give thousands


@pytest.mark.parametrize("make", TRAINED)
def test_a_known_joint_distribution_is_learned_to_its_entropy(make):
    draw = torch.Generator().manual_seed(5)
    p = torch.rand(16, generator=draw).pow(3)
    p /= p.sum()
    codes = every_code((2, 2), 2)
    entropy = -(p * p.log()).sum()
    torch.manual_seed(1)
    prior = make().attach((2, 2), 2).eval()
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -(p * prior().log_prob(codes)).sum()  # exact cross-entropy, so at least the entropy
        loss.backward()
        optimizer.step()
    assert -1e-5 < loss - entropy < 0.005
    independent = -sum((q * q.log()).sum() for q in _marginals(p, codes))
    assert independent - entropy > 0.05  # what independent entries cannot reach


def _marginals(p, codes):
    return [torch.stack([p[codes.flatten(1)[:, t] == k].sum() for k in (0, 1)]) for t in range(4)]


def test_frequencies_count_the_codes_anew_and_refuse_what_is_no_code():
    prior = Frequencies().attach((2, 2), 3)
    codes = torch.randint(3, (50, 2, 2))
    prior.conclude([codes[:30].fill_(2)])
    prior.conclude(iter([codes[:20], codes[20:].int()]))
    hot = torch.nn.functional.one_hot(codes, 3).sum(0)
    assert torch.allclose(prior.logits(codes)[7].exp(), (hot + 1) / 53)
    assert not prior.trained and not list(prior.parameters())
    before = prior.counts.clone()
    for bad, words in (
        ([codes, torch.full((1, 2, 2), 3)], "codes must be whole numbers from 0 to 2, not 3"),
        ([codes, codes[:, 0]], r"codes must be of shape \(B, 2, 2\), not \(50, 2\)"),
        ([], "there are no codes to count"),
    ):
        with pytest.raises(ValueError, match=words):
            prior.conclude(bad)
        assert torch.equal(prior.counts, before)


@pytest.mark.parametrize("make", TRAINED)
def test_a_condition_is_found_and_changes_the_codes(make):
    prior = shaken(make(networks.Label(3)).attach((2, 2), 3).double().eval(), 0.3)
    assert networks.condition_of(torch.nn.ModuleList([prior])) is prior.condition
    codes, y = every_code((2, 2), 3), torch.arange(3)
    with torch.no_grad():
        for label in y:
            assert prior(label).log_prob(codes).logsumexp(0).abs() < 1e-10
        three = prior(y).log_prob(codes[:, None])
        assert three.shape == (81, 3) and (three[:, 0] - three[:, 1]).abs().max() > 0.01
        labels = torch.arange(81) % 3
        assert torch.allclose(stepped(prior, codes, labels), prior.logits(codes, labels), atol=1e-10, rtol=0)
        assert torch.equal(three[torch.arange(81), labels], prior(labels).log_prob(codes))
    assert prior(y).batch_shape == (3,) and prior(y).sample((2,)).shape == (2, 3, 2, 2)
    assert prior(y).expand((4, 3)).sample().shape == (4, 3, 2, 2)
    assert torch.equal(prior(y).expand((4, 3)).log_prob(codes[0])[2], three[0])
    for ask in (prior, lambda: prior.logits(codes), lambda: prior.stepper(3), lambda: prior.draw(3)):
        with pytest.raises(ValueError, match="y is missing: the model is conditional on Label"):
            ask()
    with pytest.raises(ValueError, match=r"y must be labels 0 to 2 of shape \(81,\), not of shape \(3,\)"):
        prior.logits(codes, y)


class Echo(code_priors.CodePrior):
    """A user's own prior: entry t is the label plus t."""

    def build(self, shape, num_codes):
        self.register_buffer("add", torch.arange(math.prod(shape)).reshape(shape))

    def all_logits(self, codes, seen):
        label = seen.argmax(-1).reshape(-1, *[1] * self.add.dim())
        return 99.0 * torch.nn.functional.one_hot((label + self.add) % self.num_codes, self.num_codes)

    def make_stepper(self, n, seen):
        return EchoStepper(self.all_logits(torch.zeros(n, *self.shape), seen).flatten(1, -2))


class EchoStepper(code_priors.Stepper):
    def __init__(self, logits):
        super().__init__(logits.shape[1])
        self.logits = logits

    def step(self, previous):
        return self.logits[:, self.entry]


def test_draws_in_pieces_keep_each_y_with_its_row_and_tell_their_progress(monkeypatch):
    monkeypatch.setattr(base, "PIECE", 10)  # two rows of four entries
    monkeypatch.setattr(distribution, "ROWS", 2)
    prior = Echo(condition=networks.Label(7)).attach((2, 2), 7)
    y, seen = torch.tensor([3, 0, 6, 6, 1]), []
    expected = ((y[:, None] + torch.arange(4)) % 7).reshape(5, 2, 2)
    assert torch.equal(prior.draw(5, y, lambda *done: seen.append(done)), expected)
    assert [done for done, _ in seen] == [2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19, 20] and {a for _, a in seen} == {20}
    assert torch.equal(prior(y).sample((3,)), expected.expand(3, 5, 2, 2))
    assert prior(y).log_prob(expected).abs().max() < 1e-6
    assert prior(y).log_prob(expected.flip(0))[0] < -99
    assert prior.draw(0, y[:0]).shape == prior(y).sample((0,))[:, 0].shape == (0, 2, 2)


def test_it_is_a_pyro_distribution_in_a_plate():
    prior = shaken(Transformer(8, heads=2).attach((2, 2), 3).eval(), 0.3)

    def program(codes=None):
        with pyro.plate("data", 5):
            return pyro.sample("codes", prior(), obs=codes)

    codes = program()
    assert codes.shape == (5, 2, 2)
    trace = pyro.poutine.trace(program).get_trace(codes)
    trace.compute_log_prob()
    assert torch.allclose(trace.nodes["codes"]["log_prob"], prior().log_prob(codes))


@pytest.mark.parametrize("make", TRAINED)
def test_dropout_is_for_training_only(make):
    prior = shaken(make().attach((2, 2), 3), 0.3)
    codes = every_code((2, 2), 3)
    assert not torch.equal(prior.train().logits(codes), prior.logits(codes))
    assert torch.equal(prior.eval().logits(codes), prior.logits(codes))


def test_bad_arguments_are_refused_in_a_sentence():
    for wrong, words in (
        (lambda: Transformer(width=6, heads=4), "width must be a multiple of heads, 4, not 6"),
        (lambda: Transformer(layers=0), "layers must be a whole number of at least 1, not 0"),
        (lambda: PixelCNN(kernel=4), "kernel must be odd, such as 5, not 4"),
        (lambda: PixelCNN(dropout=1), "dropout must be below 1"),
        (lambda: Transformer(epochs=0), "epochs must be a whole number of at least 1, not 0"),
        (lambda: PixelCNN().attach((8,), 4), r"PixelCNN takes codes of shape \(height, width\), not \(8,\)"),
        (lambda: PixelCNN().attach((2, 2), 0), "num_codes must be a whole number of at least 1, not 0"),
        (lambda: Transformer()(), "this Transformer does not know its codes yet"),
        (lambda: Frequencies().draw(2), "this Frequencies does not know its codes yet"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
    with pytest.raises(TypeError, match="condition must be networks.Label, Vector or Picture, not 3"):
        PixelCNN(condition=3)


def test_sizes_are_those_of_the_first_attach():
    prior = Transformer(8, heads=2).attach((2, 2), 3)
    state = {name: value.clone() for name, value in prior.state_dict().items()}
    prior.attach((2, 2), 3)
    assert all(torch.equal(state[name], value) for name, value in prior.state_dict().items())
    with pytest.raises(ValueError, match=r"already attached to codes of shape \(2, 2\) with 3 values"):
        prior.attach((2, 2), 4)
    refused = PixelCNN(8, 2)
    with pytest.raises(ValueError, match="any shape"):
        refused.attach((2, 2, 2), 4)
    assert refused.attach((2, 2), 4)().event_shape == (2, 2)


def test_wrong_codes_are_refused_where_values_are_validated():
    p = Transformer(8, heads=2).attach((2, 2), 3).eval()()
    codes = torch.zeros(4, 2, 2, dtype=torch.long)
    for value, said in ((3, "3"), (-1, "-1"), (0.5, "0.5"), (math.nan, "nan")):
        bad = codes.to(torch.tensor(value).dtype).index_put((torch.tensor(1),), torch.tensor(value))
        with pytest.raises(ValueError, match=f"^codes must be whole numbers from 0 to 2, not {said}$"):
            p.log_prob(bad)
    with pytest.raises(ValueError, match=r"codes must have shape \(\.\.\., 2, 2\), not \(4, 2\)"):
        p.log_prob(codes[:, 0])
    assert torch.equal(p.log_prob(codes.float()), p.log_prob(codes))
    unchecked = CodeDistribution(Frequencies().attach((2,), 3), validate_args=False)
    assert unchecked.log_prob(torch.zeros(2)).shape == ()


def test_the_stepper_refuses_a_call_out_of_turn():
    stepper = Transformer(8, heads=2).attach((2,), 3).stepper(4)
    first = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match="previous must be None at entry 0"):
        stepper.next(first)
    stepper.next()
    with pytest.raises(ValueError, match="previous is missing: give the values of the entry before at entry 1"):
        stepper.next()
    stepper.next(first)
    with pytest.raises(ValueError, match="has given all 2 entries"):
        stepper.next(first)


class Codes(Objective):
    """The mean rate of codes."""

    def __init__(self, prior):
        super().__init__()
        self.model = prior

    def forward(self, codes, y):
        rate = -self.model(y).log_prob(codes)
        return Loss(rate.mean(), {"kl": rate})


def test_a_vector_as_condition_follows_its_row():
    prior = shaken(Transformer(8, heads=2, condition=networks.Vector(2)).attach((3,), 4).eval(), 0.3)
    codes, y = torch.randint(4, (5, 3)), torch.randn(5, 2)
    expected = prior(y).log_prob(codes)
    assert torch.allclose(expected[3], prior(y[3]).log_prob(codes[3]), atol=1e-6)
    assert torch.allclose(prior(y).expand((4, 5)).log_prob(codes), expected.expand(4, 5), atol=1e-6)
    assert prior(y).expand((4, 5)).sample((2,)).shape == (2, 4, 5, 3)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [Transformer(8, 1, 2, 0.5), PixelCNN(8, 2, dropout=0.5)], ids=["t", "p"])
def test_a_compiled_step_sees_the_noise_of_an_eager_one(prior):
    objective = Codes(shaken(prior.attach((3, 3), 5), 0.3)).train()
    codes, y, seen = torch.randint(5, (16, 3, 3)), torch.zeros(16), []
    with pyro.validation_enabled(False):
        for run in (Captured(objective, (codes, y)), objective):
            torch.manual_seed(1)
            seen.append((run((codes, y)) if run is not objective else run(codes, y)).terms["kl"].detach())
        torch.manual_seed(2)
        other = objective(codes, y).terms["kl"].detach()
    assert torch.allclose(*seen, atol=1e-4) and (other - seen[0]).abs().max() > 0.1


@pytest.mark.parametrize("make", TRAINED)
def test_a_captured_step_gives_the_bits_of_an_eager_one(make):
    objective = Codes(make(networks.Label(3)).attach((3, 3), 5)).train()
    codes, y = torch.randint(5, (8, 3, 3)), torch.randint(3, (8,))
    seen = []
    with pyro.validation_enabled(False):  # as in ``fit``: a check reads values
        step = Captured(objective, (codes, y), compiled=False)
    for run in (step, lambda batch: objective(*batch)):
        objective.zero_grad()
        torch.manual_seed(1)
        loss = run((codes.flip(0), y.flip(0)))
        if loss.value.requires_grad:
            loss.value.backward()
        seen.append([loss.value.detach(), loss.terms["kl"].detach(), *(p.grad.clone() for p in objective.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True)) and len(seen[0]) > 10


@pytest.mark.parametrize("make", TRAINED)
def test_in_bfloat16_the_logits_are_float32_and_close(make):
    prior = make().attach((3, 3), 5).eval()
    codes = torch.randint(5, (8, 3, 3))
    exact = prior.logits(codes)
    with half_products(prior):
        half = prior.logits(codes)
    assert half.dtype == torch.float32 and 0 < (half - exact).abs().max() < 0.01
    assert prior.bfloat16().logits(codes).dtype == prior.stepper(2).next().dtype == torch.float32


def test_a_record_rebuilds_a_conditional_prior():
    prior = PixelCNN(4, 2, 5, 0.2, 3, networks.Label(3, embedding=2))
    again = parts.build(json.loads(json.dumps(parts.describe(prior))))
    assert again.arguments.keys() == prior.arguments.keys() and again.condition.same_as(prior.condition)
    again.attach((2, 3), 4).load_state_dict(prior.attach((2, 3), 4).state_dict())
    codes, y = torch.randint(4, (5, 2, 3)), torch.arange(5) % 3
    assert torch.equal(again.eval().logits(codes, y), prior.eval().logits(codes, y))
