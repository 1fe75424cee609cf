import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import constraints

from ppl_vae.data import Batches, load

RNG = np.random.default_rng(0)


def whole(loaded):
    """All rows in the order of the file, and their labels."""
    splits = [loaded.train, loaded.valid, loaded.test]
    order = np.argsort(np.concatenate([split.index for split in splits]))
    x = torch.cat([split.x[:] for split in splits])[order]
    return x, None if loaded.train.y is None else torch.cat([split.y for split in splits])[order]


@pytest.mark.parametrize("in_memory", [True, False, None])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", "<i8", "bool"])
def test_npy(tmp_path, kind, in_memory):
    array = (RNG.random((30, 4)) * 5).astype(kind)
    np.save(tmp_path / "x.npy", array)
    loaded = load(tmp_path / "x.npy", in_memory=in_memory)
    x, y = whole(loaded)
    assert y is None and loaded.levels is None and x.dtype == torch.float32
    assert np.array_equal(x.numpy(), array.astype(np.float32))
    assert loaded.train.streamed == (in_memory is False)
    assert (len(loaded.train), len(loaded.valid), len(loaded.test)) == (24, 3, 3)


@pytest.mark.parametrize(
    ("shape", "event"),
    [((5, 6), (1, 5, 6)), ((5, 6, 3), (3, 5, 6)), ((3, 5, 6), (3, 5, 6)), ((1, 5, 4), (1, 5, 4)), ((7,), (7,))],
)
def test_uint8_pictures_become_channels_first_in_the_unit_interval(tmp_path, shape, event):
    array = RNG.integers(0, 256, (20, *shape), dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    for in_memory in (True, False):
        loaded = load(tmp_path / "x.npy", in_memory=in_memory)
        x = whole(loaded)[0]
        assert loaded.shape == event and loaded.levels == 256
        expected = array.transpose(0, 3, 1, 2) if shape[-1] == 3 else array
        assert np.array_equal((x * 255).round().numpy().reshape(expected.shape), expected)
        assert torch.equal(x, (x * 255).round() / 255)


def test_npz_with_and_without_labels(tmp_path):
    x, y = RNG.random((20, 3)).astype(np.float32), np.arange(20)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "b.npz", x=x, kind=y / 2)
    np.savez(tmp_path / "c.npz", data=x)
    got, labels = whole(load(tmp_path / "a.npz"))
    assert np.array_equal(got.numpy(), x) and labels.tolist() == y.tolist() and labels.dtype == torch.int64
    assert whole(load(tmp_path / "b.npz"))[1] is None
    assert whole(load(tmp_path / "b.npz", labels="kind"))[1].dtype == torch.float32
    with pytest.raises(ValueError, match="no array 'x', only data"):
        load(tmp_path / "c.npz")
    with pytest.raises(ValueError, match="no array 'k'"):
        load(tmp_path / "b.npz", labels="k")


def test_npy_labels_from_a_second_file(tmp_path):
    np.save(tmp_path / "x.npy", RNG.random((20, 3)))
    np.save(tmp_path / "y.npy", np.arange(20))
    assert whole(load(tmp_path / "x.npy", labels=str(tmp_path / "y.npy")))[1].tolist() == list(range(20))
    np.save(tmp_path / "y.npy", np.arange(19))
    with pytest.raises(ValueError, match=r"20 rows and y has shape \(19,\)"):
        load(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))


def write(path, text):
    path.write_text(text)
    return path


def test_csv_with_header_labels_and_empty_cells(tmp_path):
    rows = "".join(f"{i},{i % 3},{'' if i == 4 else i / 2}\n" for i in range(12))
    loaded = load(write(tmp_path / "t.csv", "a,label,b\n" + rows))
    x, y = whole(loaded)
    assert x.shape == (12, 2) and y.tolist() == [i % 3 for i in range(12)] and y.dtype == torch.int64
    assert x[:, 0].tolist() == list(range(12)) and x[5].tolist() == [5.0, 2.5] and bool(x[4, 1].isnan())
    holder = next(split for split in (loaded.train, loaded.valid, loaded.test) if 4 in split.index)
    holder.check(constraints.real, missing=True)
    with pytest.raises(ValueError, match="1 values that are NaN.*in row 4, column 1"):
        holder.check(constraints.real)


def test_csv_without_header_and_with_chosen_labels(tmp_path):
    text = "".join(f"{i},{i * 2}\n" for i in range(10))
    x, y = whole(load(write(tmp_path / "a.csv", text)))
    assert y is None and x.tolist() == [[float(i), 2.0 * i] for i in range(10)]
    x, y = whole(load(tmp_path / "a.csv", labels="1"))
    assert x.shape == (10, 1) and y.tolist() == [2 * i for i in range(10)]
    named = "size,kind\n" + "".join(f"{i},{'cat' if i % 2 else 'ant'}\n" for i in range(10))
    loaded = load(write(tmp_path / "b.csv", named), labels="kind")
    assert loaded.classes == loaded.labels.classes == ("ant", "cat") and whole(loaded)[1].tolist() == [
        i % 2 for i in range(10)
    ]
    y = whole(load(write(tmp_path / "c.csv", "y,x\n" + "".join(f"0.5,{i % 3}\n" for i in range(10)))))[1]
    assert y.dtype == torch.float32


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2"], torch.int64),
        (["1", " -02 "], torch.int64),
        (["1.0", "2.0"], torch.float32),
        (["1", "2.0"], torch.float32),  # as of a column of reals written in short
        (["1", "2e0"], torch.float32),
        (["1", ""], torch.float32),  # which no integer says
        (["1", "nan"], torch.float32),
    ],
)
def test_labels_of_a_table_are_real_if_written_so(tmp_path, cells, kind):
    y = whole(
        load(
            write(tmp_path / "t.csv", "y,x\n" + "".join(f"{cell},{1.5 + row}\n" for row, cell in enumerate(cells * 6)))
        )
    )[1]
    expected = [float(cell or "nan") for cell in cells]
    assert y.dtype == kind and np.array_equal(y[:2].double().numpy(), expected, equal_nan=True)


@pytest.mark.parametrize(("dtype", "kind"), [("<f8", torch.float32), (">f4", torch.float32), ("u1", torch.int64)])
def test_labels_of_arrays_in_files_keep_their_kind(tmp_path, dtype, kind):
    x, y = RNG.random((20, 3)), np.arange(20).astype(dtype)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    for loaded in (load(tmp_path / "a.npz"), load(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))):
        labels = whole(loaded)[1]
        assert labels.dtype == kind and labels.tolist() == list(range(20))
        left = load(tmp_path / "a.npz", without=[3, 4])
        assert not torch.isin(left.train.y, torch.tensor([3, 4])).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,dog\n4,5\n", "line 3, column 'b' holds 'dog'"),
        ("1,2\n3,4,5\n", "3 cells in line 2, and 2"),
        ("", "empty"),
        ("a,b\n", "empty"),
        ("1,2\n3,4\n", "too few"),
    ],
)
def test_bad_csv(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        load(write(tmp_path / "t.csv", text))


def test_csv_label_errors(tmp_path):
    path = write(tmp_path / "t.csv", "size,kind\n1,a\n2,\n3,b\n")
    with pytest.raises(ValueError, match="no column 'kinds'.*did you mean kind"):
        load(path, labels="kinds")
    with pytest.raises(ValueError, match="no label in row 1"):
        load(path, labels="kind")


@pytest.fixture
def folder(tmp_path):
    pixels = RNG.integers(0, 256, (10, 6, 5), dtype=np.uint8)
    for i, grey in enumerate(pixels):
        place = tmp_path / "pics" / ("ant" if i < 5 else "bee")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(place / f"{i}.png")
    return tmp_path / "pics", pixels


@pytest.mark.parametrize("in_memory", [True, False])
def test_image_folder(folder, in_memory):
    path, pixels = folder
    loaded = load(path, in_memory=in_memory)
    x, y = whole(loaded)
    assert loaded.shape == (1, 6, 5) and loaded.levels == 256 and loaded.classes == ("ant", "bee")
    assert np.array_equal((x * 255).round().numpy()[:, 0], pixels) and y.tolist() == [0] * 5 + [1] * 5
    assert loaded.train.streamed != in_memory


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_image_folder_streams_through_reading_processes(folder):
    split = load(folder[0], in_memory=False, binarize="none").train
    one, two = ([x for x, _ in Batches(split, 3, workers=n).epoch(0)] for n in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_image_folder_sizes_and_colours(folder):
    path, _ = folder
    assert load(path, size=4).shape == (1, 4, 4)
    assert load(path, size=(3, 7)).shape == (1, 3, 7)
    Image.new("RGB", (5, 6), (255, 0, 51)).save(path / "bee" / "9.png")
    loaded = load(path)
    assert loaded.shape == (3, 6, 5)
    assert torch.allclose(whole(loaded)[0][9, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert load(**load(path, size=(3, 7)).config).shape == (3, 3, 7)


def test_square_is_cut_from_the_middle(tmp_path):
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 255
    for i in range(3):
        Image.fromarray(wide).save(tmp_path / f"{i}.png")
    loaded = load(tmp_path, size=2)
    assert loaded.train.x.min() == 1 and loaded.train.y is None


def test_image_folder_errors(folder, tmp_path):
    path, _ = folder
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="empty"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match="labels='x'"):
        load(path, labels="x")
    Image.new("L", (9, 9)).save(path / "bee" / "big.png")
    with pytest.raises(ValueError, match="big.png is 9 x 9.*size="):
        load(path)
    assert load(path, size=4).shape == (1, 4, 4)
    Image.new("L", (5, 6)).save(path / "stray.png")
    with pytest.raises(ValueError, match="both in subfolders"):
        load(path, size=4)
    (path / "stray.png").unlink()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="bad.png is not a readable image, nor is any other"):
        load(tmp_path / "bad", size=4)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path / "bee" / "deep.png")
    with pytest.raises(ValueError, match="deep.png .*8-bit"):
        load(path, size=4)


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_that_cannot_be_read_are_left_out(folder, in_memory):
    path, pixels = folder
    whole_file = (path / "ant" / "0.png").read_bytes()
    (path / "ant" / "cut.png").write_bytes(whole_file[: len(whole_file) - 25])  # its header is sound
    (path / "bee" / "bad.png").write_bytes(b"not a picture")
    with pytest.warns(UserWarning, match="^2 of the 12 images in .*pics cannot be read and are skipped: .*cut.png"):
        loaded = load(path, in_memory=in_memory)
    x, y = whole(loaded)
    assert np.array_equal((x * 255).round().numpy()[:, 0], pixels) and y.tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([["a", "b"]] * 9), "dtype <U1"),
        (np.array([[{}, None]] * 9, dtype=object), "not a readable"),
        (np.zeros((9, 2), complex), "complex128"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros((9, 0)), "empty"),
        (np.float64(3.0), "shape"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_bad_arrays(tmp_path, array, words, kind):
    path = tmp_path / f"x.{kind}"
    np.save(path, array, allow_pickle=True) if kind == "npy" else np.savez(path, x=array)
    with pytest.raises(ValueError, match=words) as error:
        load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_damaged_files(tmp_path, name):
    np.save(tmp_path / "x.npy", np.zeros((400_000, 2)))
    np.savez(tmp_path / "x.npz", x=np.zeros((400_000, 2)))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:2_000_000])
    with pytest.raises(ValueError, match="not a readable"):
        load(path)
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match="not a readable"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="not a readable"):
        load(path)


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "fired"), "w"))

    np.save(tmp_path / "x.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([[Bomb()]], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match="not a readable"):
            load(tmp_path / name)
    assert not (tmp_path / "fired").exists()


def test_unknown_format_and_wrong_size(tmp_path):
    with pytest.raises(ValueError, match="choose from .csv, .npy, .npz, .parquet"):
        load(write(tmp_path / "x.tsv", "x"))
    with pytest.raises(ValueError, match="size=8"):
        load(write(tmp_path / "x.csv", "1,2\n"), size=8)


def test_streamed_batches_are_checked_as_they_come(tmp_path):
    array = np.zeros((60_000, 2), np.float32)
    np.save(tmp_path / "x.npy", array)
    loaded = load(tmp_path / "x.npy", in_memory=False)
    row = loaded.train.index[-1]
    array[row, 1] = np.nan
    np.save(tmp_path / "x.npy", array)
    train = load(tmp_path / "x.npy", in_memory=False).resolve(constraints.real).train
    train.check(constraints.real)  # the first rows are fine
    with pytest.raises(ValueError, match=f"row {row}, column 1"):
        list(Batches(train, 1000).epoch(0))
    train.check(constraints.real, missing=True)
    list(Batches(train, 1000).epoch(0))


def test_streamed_values_outside_are_refused(tmp_path):
    array = np.zeros((3000, 2), np.float32)
    array[::2] = 255.0
    np.save(tmp_path / "x.npy", array)
    loaded = load(tmp_path / "x.npy", in_memory=False)
    with pytest.raises(ValueError, match="255"):
        loaded.train.check(constraints.boolean)
    with pytest.raises(ValueError, match="255"):
        next(Batches(loaded.resolve(constraints.boolean).train, 100).epoch(0))
    with pytest.raises(ValueError, match="255"):
        loaded.resolve(constraints.boolean).valid.x[:50]
