import numpy as np
import pytest
import torch
from torch.distributions import constraints
from torch.utils.data import Dataset, TensorDataset

from ppl_vae import data
from ppl_vae.data import Batches, Labels, Split, as_split
from ppl_vae.data.rows import Array, Rows


class Pairs(Dataset):
    """x, (x,) or (x, y) by ``form``, with a draw from a global random state added."""

    def __init__(self, form, n=7, kind=torch.float32, noise=None):
        self.form, self.n, self.kind, self.noise = form, n, kind, noise

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        x = torch.full((3,), i / 10, dtype=self.kind)
        if self.noise:
            x = x + float(self.noise())
        return {"x": x, "(x,)": (x,), "(x, y)": (x, i % 2), "numpy": (x.double().numpy(), np.int64(i))}[self.form]


GREY = torch.linspace(0, 1, 200).repeat(20, 1).view(20, 1, 10, 20)


def test_dynamic_keeps_train_grey_and_fixes_the_others():
    train, valid = (Split(GREY, part=part, binarize="dynamic") for part in ("train", "valid"))
    assert torch.equal(train.x, GREY)
    assert set(valid.x.unique().tolist()) == {0.0, 1.0}
    assert abs(valid.x.mean() - 0.5) < 5 * 0.5 / 4000**0.5
    assert torch.equal(valid.x, Split(GREY, part="valid", binarize="dynamic").x)
    assert not torch.equal(valid.x, Split(GREY, part="valid", binarize="dynamic", seed=1).x)
    assert not torch.equal(valid.x, Split(GREY, part="test", binarize="dynamic").x)
    assert not torch.equal(valid.x[0], valid.x[1])  # rows have draws of their own
    expected = GREY[0].expand(20, -1, -1, -1)
    assert ((valid.x.mean(0) - expected[0]).abs() <= 5 * (0.25 / 20) ** 0.5).all()


def test_static_fixes_train_too():
    train = Split(GREY, binarize="static")
    assert set(train.x.unique().tolist()) == {0.0, 1.0} and train.noise is None
    assert torch.equal(train.take(slice(None))[0], train.x)


def test_take_of_dynamic_is_one_draw_by_row_and_leaves_random_states_alone():
    train = Split(GREY, binarize="dynamic")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = train.take(slice(None))[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(train.take([7, 3])[0], whole[[7, 3]])
    assert torch.equal(train.take(-1)[0], whole[-1:])
    assert torch.equal(train.take(torch.arange(20) < 2)[0], whole[:2])
    with pytest.raises(IndexError):
        train.take([20])


def test_binary_data_need_no_draws():
    x = (GREY > 0.5).float()
    split = Split(x, binarize="dynamic")
    assert split.noise is None and torch.equal(split.x, x)


def test_auto_resolves_by_support():
    split = Split(GREY, part="valid", binarize="auto")
    assert torch.equal(split.x, GREY)
    assert split.resolve(constraints.real).binarize == "none"
    assert split.resolve(None).binarize == "none"
    assert split.resolve(constraints.unit_interval).binarize == "none"
    independent = constraints.independent(constraints.boolean, 3)
    for support in (constraints.boolean, independent):
        drawn = split.resolve(support)
        assert drawn.binarize == "dynamic"
        assert torch.equal(drawn.x, Split(GREY, part="valid", binarize="dynamic").x)
    assert torch.equal(split.x, GREY)  # the split itself stays as it was
    fixed = Split(GREY, binarize="none")
    assert fixed.resolve(constraints.boolean) is fixed


@pytest.mark.parametrize("rows", [GREY, Rows(Array(GREY.numpy()))], ids=["held", "streamed"])
def test_grey_rows_are_not_given_out_before_the_likelihood_is_known(rows):
    split = Split(rows, binarize="auto", name="clouds")
    words = r"x of the \w+ split of (clouds|digits) has binarize=.auto.*use \.resolve\(model\.support\)"
    for ask in (
        lambda: split.take(0),
        lambda: split.fetch(np.arange(2)),
        lambda: split.batches(),
        lambda: Batches(split, 5),
        lambda: Batches(data.load("digits").valid, 5),
    ):
        with pytest.raises(ValueError, match=words) as error:
            ask()
        assert "\n" not in str(error.value)
    assert torch.equal(split.x[:], GREY) and split.mean().shape == split.std().shape == split.shape
    assert torch.equal(split.resolve(None).take(slice(None))[0], GREY)
    assert set(split.resolve(constraints.boolean).take(0)[0].unique().tolist()) == {0.0, 1.0}


def test_rows_that_no_likelihood_would_draw_are_given_out_at_once():
    for x in ((GREY > 0.5).float(), 255 * GREY, GREY - 1, torch.cat([GREY, torch.full_like(GREY[:1], torch.nan)])):
        rows = Split(x, binarize="auto").take(slice(None))[0]
        assert torch.equal(rows.nan_to_num(), x.nan_to_num())
    assert Split(Rows(Array(255 * GREY.numpy())), binarize="auto").take(-1)[0].max() == 255
    assert Split(GREY, binarize="auto", levels=256).take(0)[0].shape == (1, 1, 10, 20)
    assert Split(GREY, binarize="auto", config={"kinds": {"0": "real"}}).take(0)[0].max() == 1
    with pytest.raises(ValueError, match="255"):
        Split(255 * GREY, binarize="auto").resolve(constraints.boolean)


def test_what_labels_are():
    assert as_split(GREY).labels is None and data.load("digits").labels.count == 10
    for y, classes, shape in (
        ([3, 0, 1], range(4), ()),
        (np.array([True, False, True]), range(2), ()),
        ([0.0, 1.0, 2.0], None, ()),
        ([[0, 1]] * 3, None, (2,)),
        ([-1, 0, 1], None, ()),
    ):
        labels = as_split((GREY[:3], y)).labels
        assert (labels.classes, labels.shape) == (classes, shape)
        assert labels.count == (None if classes is None else len(classes))
        assert labels.dtype == as_split((GREY[:3], y)).take(0)[1].dtype
    assert Labels.of(torch.tensor([0, 1]), ["ant", "bee", "cat"]).classes == ("ant", "bee", "cat")
    assert Labels.of(torch.tensor([0, 3]), ["ant", "bee", "cat"]).classes == range(4)
    items = Pairs("(x, y)")
    assert as_split(items).labels == Labels(None, (), torch.int64)
    items.classes = ["even", "odd"]
    assert as_split(items).labels == Labels(("even", "odd"), (), torch.int64)
    assert as_split(Pairs("x")).labels is None


def test_all_splits_of_a_set_have_the_same_labels():
    digits = data.load("digits", without=[9])
    assert not (digits.train.y == 9).any() and digits.train.labels.count == 10
    assert digits.labels == digits.valid.labels == digits.test.labels == digits.resolve(None).labels
    assert digits.classes is None


def test_dequantize():
    levels = torch.arange(17.0).repeat(500, 1) / 16
    valid = Split(levels, part="valid", levels=17)
    assert 0 < valid.x.min() and valid.x.max() < 1
    rest = valid.x * 17 - levels * 16
    assert -1e-5 < rest.min() and rest.max() < 1 + 1e-5  # the level can be read off
    assert abs(rest.mean() - 0.5) < 5 * (1 / 12 / rest.numel()) ** 0.5
    train = Split(levels, levels=17, binarize="auto").resolve(constraints.real)
    assert torch.equal(train.x, levels) and train.noise is not None
    rest = train.take(slice(None))[0] * 17 - levels * 16
    assert -1e-5 < rest.min() < 0.01 and 0.99 < rest.max() < 1 + 1e-5
    with pytest.raises(ValueError, match="use one"):
        Split(levels, levels=17, binarize="dynamic")


def test_dequantization_never_reaches_the_ends():
    from ppl_vae.data.noise import Noise

    ends, noise = torch.tensor([[0.0, 1.0]]), Noise((0, 0), 256)
    for u in (0.0, 1 - 2.0**-24):
        x = noise.apply(ends, torch.full((1, 2), u))
        assert 0 < x.min() and x.max() < 1


def test_mean_leaves_missing_out():
    x = torch.tensor([[1.0, float("nan")], [3.0, 4.0]])
    assert as_split(x).mean().tolist() == [2.0, 4.0]
    assert as_split(x.double()).mean().dtype == torch.float64


def test_batches_in_order():
    split = as_split((torch.arange(10.0).view(5, 2), torch.arange(5)))
    got = list(split.batches(2))
    assert [len(x) for x, _ in got] == [2, 2, 1]
    assert torch.equal(torch.cat([x for x, _ in got]), split.x)
    assert torch.equal(torch.cat([y for _, y in got]), split.y)


def test_as_split_keeps_torch_floats_and_converts_the_rest():
    assert as_split(torch.rand(3, 2, dtype=torch.float64)).x.dtype == torch.float64
    assert as_split(TensorDataset(torch.rand(3, 2, dtype=torch.float64))).x.dtype == torch.float64
    for other in (np.random.default_rng(0).random((3, 2)), torch.ones(3, 2, dtype=torch.int64), np.ones((3, 2), bool)):
        split = as_split(other)
        assert split.x.dtype == torch.float32
        assert np.allclose(split.x.numpy(), np.asarray(other))
    counts = torch.tensor([[3, 700]])
    assert as_split(counts).x.tolist() == [[3.0, 700.0]]
    assert as_split(torch.tensor([[0, 1]], dtype=torch.uint8)).x.tolist() == [[0.0, 1.0]]


def test_as_split_of_a_read_only_array_gives_no_warning_and_no_alias():
    array = np.ones((3, 2), np.float32)
    array.flags.writeable = False
    as_split(array).x[0] = 5.0
    assert array[0, 0] == 1.0


def test_as_split_of_pairs_and_labels():
    split = as_split((torch.rand(3, 2), [0, 1, 2]))
    assert split.y.dtype == torch.int64 and split.labelled
    assert as_split((torch.rand(2, 2), [0.5, 1.0])).y.dtype == torch.float32
    assert as_split((torch.rand(2, 2),)).y is None
    assert as_split(split) is split


KINDS = {
    torch.float32: [
        torch.tensor([1.0, 2.0, 3.0]),
        [1.0, 2.0, 3.0],
        np.array([1.0, 2.0, 3.0]),
        np.float32([[1], [2], [3]]),
    ],
    torch.int64: [torch.tensor([1, 2, 3]), [1, 2, 3], np.uint8([1, 2, 3]), np.array([True, False, True])],
}
KINDS[torch.float32] += [
    torch.tensor([1.0, 2.0, 3.0]).to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16)
]
KINDS[torch.int64] += [torch.tensor([True, False, True]), torch.tensor([1, 2, 3], dtype=torch.int16)]


@pytest.mark.parametrize(("kind", "y"), [(kind, y) for kind, given in KINDS.items() for y in given])
def test_the_dtype_of_labels_follows_from_the_dtype_given_and_not_from_the_values(kind, y):
    x = torch.rand(3, 2)
    split = as_split((x, y))
    assert split.y.dtype == kind and split.take([0, 2])[1].dtype == kind
    assert split.y.tolist() == torch.as_tensor(y).to(kind).tolist()

    class Labelled(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return x[i], y[i]

    items = as_split(Labelled())
    assert items.take([0, 2])[1].dtype == items.y[:].dtype == kind
    none = items.fetch(np.array([], dtype=np.int64))[1]  # of a process whose share of the last batch is empty
    assert none.dtype == kind and none.shape == (0, *split.y.shape[1:])


def test_labels_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="labels y must be numbers, not <U1"):
        as_split((torch.rand(2, 2), ["a", "b"]))


@pytest.mark.parametrize("form", ["x", "(x,)", "(x, y)", "numpy"])
def test_as_split_of_datasets(form):
    split = as_split(Pairs(form))
    assert len(split) == 7 and split.shape == (3,) and split.streamed
    x, *y = split.take([6, 0])
    assert x.dtype == torch.float32 and torch.allclose(x[:, 0], torch.tensor([0.6, 0.0]))
    assert split.labelled == (form in ("(x, y)", "numpy")) == bool(y)
    if y:
        assert y[0].tolist() == split.y[[6, 0]].tolist() and y[0].dtype == torch.int64
    assert torch.allclose(split.mean(), torch.full((3,), 0.3))


def test_dataset_items_are_asked_for_anew_with_states_of_their_own():
    split = as_split(Pairs("x", noise=lambda: torch.rand(()) + np.random.rand()))
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    rows = np.arange(7)
    first, again, other = (split.fetch(rows, key)[0] for key in ((1, 0), (1, 0), (1, 1)))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(split.fetch(rows[::-1].copy(), (1, 0))[0], first.flip(0))  # whatever the order
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()


class Nothing(Dataset):
    def __len__(self):
        return 0


class Pictures(Pairs):
    def __getitem__(self, i):
        from PIL import Image

        return Image.new("L", (2, 2)), 0


class Ragged(Pairs):
    def __getitem__(self, i):
        return torch.zeros(2 + i)


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (torch.full((2, 2), 255, dtype=torch.uint8), ValueError, "uint8 values up to 255.*x / 255"),
        (torch.zeros(0, 3), ValueError, r"empty.*\(0, 3\)"),
        (torch.zeros(3, 0), ValueError, "empty"),
        (torch.tensor(3.0), ValueError, "x is the number 3"),
        ((torch.zeros(3, 2), torch.zeros(4)), ValueError, "3 rows and y has 4"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "complex64"),
        (np.array([["a", "b"]]), TypeError, "<U1"),
        (np.array([[None, {}]]), TypeError, "object"),
        ((torch.zeros(3, 2), np.array(["a", "b", "c"])), TypeError, "labels"),
        ("digits", TypeError, "not str"),
        (3, TypeError, "not int"),
        (iter([1]), TypeError, "torch Dataset with a length"),
        (Nothing(), ValueError, "empty"),
        (Pictures("x"), TypeError, "ToTensor"),
    ],
)
def test_as_split_refuses(bad, kind, words):
    with pytest.raises(kind, match=words):
        as_split(bad)


def test_as_split_of_whole_data_says_which_part():
    with pytest.raises(ValueError, match=r"\.train"):
        as_split(data.load("digits"))


def test_ragged_items_are_named():
    with pytest.raises(ValueError, match=r"item 1 .*\(3,\).*\(2,\)"):
        as_split(Ragged("x")).take([0, 1])


def test_check_nan_names_count_row_and_column():
    x = torch.rand(9, 4)
    x[5, 2] = float("nan")
    x[7, 0] = float("inf")
    with pytest.raises(ValueError, match="2 values that are NaN or infinite, the first in row 5, column 2"):
        as_split(x).check(constraints.real)
    with pytest.raises(ValueError, match="1 values .* row 7, column 0"):
        as_split(x).check(constraints.real, missing=True)
    x[7, 0] = 0.5
    as_split(x).check(constraints.unit_interval, missing=True)
    with pytest.raises(ValueError, match="row 5"):
        as_split(x).check(None)


def test_check_support_names_the_worst_value_and_what_would_serve():
    x = torch.rand(6, 1, 2, 2)
    x[3] = 255.0
    for support in (constraints.boolean, constraints.unit_interval):
        with pytest.raises(ValueError, match="255.*divide it by 255"):
            as_split(x).check(support)
    as_split(x).check(constraints.real)
    as_split(x).check(constraints.independent(constraints.real, 3))
    with pytest.raises(ValueError, match=r"\{0, 1\}.*as_split\(x, binarize='dynamic'\)"):
        as_split(torch.rand(6, 2)).check(constraints.boolean)
    with pytest.raises(ValueError, match=r"-0.5.*\[0, 1\] \(first in row 1\)"):
        as_split(torch.tensor([[0.0], [-0.5]])).check(constraints.unit_interval)
    with pytest.raises(ValueError, match="1.5"):
        as_split(torch.tensor([[1.0], [1.5]])).check(constraints.nonnegative_integer)
    with pytest.raises(ValueError, match="0.7"):
        as_split(torch.tensor([[0.7, 0.7]])).check(constraints.simplex)


def test_check_of_drawn_splits():
    dynamic = Split(GREY, binarize="dynamic")
    dynamic.check(constraints.boolean)
    with pytest.raises(ValueError, match="binarized to 0 and 1.*binarize='none'"):
        dynamic.check(constraints.greater_than(0.5))
    Split(GREY, binarize="auto").check(constraints.boolean)
    with pytest.raises(ValueError, match="dequantize=False"):
        Split(GREY, levels=256).check(constraints.boolean)
    with pytest.raises(ValueError, match="255"):
        Split(GREY * 255, binarize="auto").check(constraints.boolean)
    with pytest.raises(ValueError, match=r"\[0, 1\] to be binarized"):
        Split(GREY - 1, binarize="static")


def test_check_labels():
    with pytest.raises(ValueError, match="labels y are needed"):
        as_split(torch.rand(3, 2)).check(needs_labels=True)
    with pytest.raises(ValueError, match="row 1 .* has none"):
        as_split((torch.rand(3, 2), [0.0, float("nan"), 1.0])).check(needs_labels=True)
    as_split((torch.rand(3, 2), [0, 1, 2])).check(needs_labels=True)


def test_unknown_words_get_the_nearest():
    with pytest.raises(ValueError, match="did you mean dynamic"):
        Split(GREY, binarize="dinamic")
    with pytest.raises(ValueError, match="did you mean valid"):
        Split(GREY, part="vaild")
    with pytest.raises(ValueError, match="seed"):
        Split(GREY, seed=-1)
