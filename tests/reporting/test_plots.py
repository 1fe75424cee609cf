import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ppl_vae.reporting import plots

RNG = np.random.default_rng(0)
ROWS = [
    {"epoch": 1, "train": {"loss": 30.0, "elbo": -30.0}, "valid": {"loss": 31.0, "elbo": -31.0}},
    {"epoch": 2, "train": {"loss": 20.0, "elbo": -20.0}},
    {"epoch": 3, "train": {"loss": 15.0, "elbo": -15.0}, "valid": {"loss": 18.0, "elbo": -18.0}},
]


def tiles(figure):
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiles_hold_the_images_row_by_row(channels):
    images = RNG.random((5, channels, 4, 6))
    figure = plots.image_grid(torch.tensor(images), columns=3, title="five")
    assert isinstance(figure, Figure) and figure.axes[0].get_title() == "five"
    for tile, image in zip(tiles(figure), images, strict=True):
        np.testing.assert_allclose(tile, image[0] if channels == 1 else image.transpose(1, 2, 0), atol=1e-12)
    lefts = [image.get_extent()[0] for image in figure.axes[0].images]
    assert lefts[0] == lefts[3] < lefts[1] == lefts[4] < lefts[2]
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(6 / 4)


def test_grey_levels_are_kept_and_other_ranges_stretched():
    kept = plots.image_grid(np.full((2, 1, 2, 2), 0.3)).axes[0].images[0]
    assert kept.get_clim() == (0, 1)
    outlier = np.full((2, 1, 10, 10), 0.3)
    outlier[0, 0, 0, 0] = 9.0
    assert plots.image_grid(outlier).axes[0].images[0].get_clim() == (0, 1)
    stretched = plots.image_grid(np.linspace(-5, 20, 8).reshape(2, 1, 2, 2)).axes[0].images[0]
    assert stretched.get_clim() == (-5, 20)
    colours = tiles(plots.image_grid(np.linspace(-5, 3, 24).reshape(2, 3, 2, 2)))
    assert colours[0].min() == 0 and colours[1].max() == 1
    missing = np.full((1, 1, 2, 2), np.nan)
    assert plots.image_grid(missing).axes[0].images[0].get_clim() == (0, 1)


def test_short_vectors_are_bars_and_long_ones_lines():
    short, long = RNG.random((3, 5)), RNG.random((3, 40))
    for axes, vector in zip(plots.samples(short).axes, short, strict=False):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], vector)
    for axes, vector in zip(plots.samples(long).axes, long, strict=False):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), vector)


def test_points_of_the_plane_are_one_scatter():
    points = RNG.normal(size=(30, 2))
    (axes,) = plots.samples(points).axes
    np.testing.assert_allclose(axes.collections[0].get_offsets(), points)
    before, after = plots.reconstructions(points, points + 1).axes[0].collections
    np.testing.assert_allclose(after.get_offsets() - before.get_offsets(), np.ones((30, 2)))


def test_reconstructions_stand_below_their_originals():
    x, means = RNG.random((12, 1, 3, 3)), RNG.random((12, 1, 3, 3))
    figure = plots.reconstructions(x, means)
    images = figure.axes[0].images
    by_place = {(round(i.get_extent()[0], 3), round(i.get_extent()[3], 3)): np.asarray(i.get_array()) for i in images}
    tops = sorted({top for _, top in by_place})
    lefts = sorted({left for left, _ in by_place})
    np.testing.assert_allclose(by_place[lefts[4], tops[0]], x[4, 0])
    np.testing.assert_allclose(by_place[lefts[4], tops[1]], means[4, 0])
    np.testing.assert_allclose(by_place[lefts[1], tops[3]], means[11, 0])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["data", "model"] * 2
    lines = plots.reconstructions(x.reshape(12, 9), means.reshape(12, 9)).axes[5].lines
    np.testing.assert_allclose([line.get_ydata() for line in lines], [x[5].ravel(), means[5].ravel()])


@pytest.mark.parametrize("plot", [plots.interpolation, plots.traversals, plots.manifold])
def test_grids_of_images_keep_rows_and_columns(plot):
    images = RNG.random((3, 3, 1, 2, 2))
    np.testing.assert_allclose(tiles(plot(images)), images.reshape(9, 2, 2))


def test_vectors_between_two_ends_are_a_fan_of_lines():
    steps = RNG.random((2, 4, 6))
    for axes, row in zip(plots.interpolation(steps).axes, steps, strict=False):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines], row)
    figure = plots.traversals(steps, names=["z3", "z1"])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["z3", "z1"]
    assert len(plots.manifold(RNG.random((3, 3, 6))).axes) == 9


def test_codes_are_coloured_by_label():
    codes, labels = RNG.normal(size=(40, 2)), np.arange(40) % 4
    figure = plots.latent_scatter(codes, labels)
    groups = figure.axes[0].collections
    for kind, group in enumerate(groups):
        np.testing.assert_allclose(group.get_offsets(), codes[labels == kind])
    assert len({tuple(group.get_facecolor()[0]) for group in groups}) == 4
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "1", "2", "3"]


def test_codes_without_labels_and_with_many():
    codes = RNG.normal(size=(40, 2))
    plain = plots.latent_scatter(codes)
    assert not plain.legends
    np.testing.assert_allclose(plain.axes[0].collections[0].get_offsets(), codes)
    many = plots.latent_scatter(codes, np.arange(40))
    assert len(many.axes) == 2 and not many.legends
    np.testing.assert_allclose(many.axes[0].collections[0].get_array(), np.arange(40))


def test_any_name_of_a_label_can_be_drawn(tmp_path):
    figure = plots.latent_scatter(np.eye(4)[:, :2], ["$\\bad", "<b>", "a $ b $ \\q", "x"])
    plots.save(figure, tmp_path / "codes.svg")
    assert "<b>" not in (tmp_path / "codes.svg").read_text()


def test_kl_bars_and_their_colours():
    kl, active = np.array([2.0, 0.0, 0.5]), np.array([True, False, True])
    bars = plots.kl_by_dimension(torch.tensor(kl), torch.tensor(active)).axes[0].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], kl)
    colours = [bar.get_facecolor() for bar in bars]
    assert colours[0] == colours[2] != colours[1]


def test_training_curves_draw_each_term():
    figure = plots.training_curves(ROWS)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "ELBO"]
    train, valid = figure.axes[1].lines
    np.testing.assert_allclose(train.get_xydata(), [[1, -30], [2, -20], [3, -15]])
    np.testing.assert_allclose(valid.get_xydata(), [[1, -31], [3, -18]])
    assert len(plots.training_curves(ROWS, ["elbo"]).axes) == 1


def test_quality_of_weights_counts_every_finite_example():
    khat = np.array([0.1, 0.2, 0.9, np.nan, np.inf])
    figure = plots.log_weights_quality(khat, ess=[5.0, 6.0, 7.0])
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    assert counts == [3, 3]
    assert figure.axes[0].lines[0].get_xdata()[0] == 0.7
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "Pareto k-hat (2 that are not finite left out)",
        "effective sample size",
    ]
    assert plots.log_weights_quality(khat, threshold=0.5).axes[0].lines[0].get_xdata()[0] == 0.5


@pytest.mark.parametrize(
    "make, names",
    [
        (lambda: plots.image_grid(np.zeros((2, 5, 4, 4))), ["images", "(2, 5, 4, 4)"]),
        (lambda: plots.image_grid(np.zeros((0, 1, 4, 4))), ["images", "empty"]),
        (lambda: plots.image_grid(np.zeros((2, 4, 4))), ["images", "(2, 4, 4)"]),
        (lambda: plots.image_grid(np.zeros((2, 4)), columns=0), ["columns", "0"]),
        (lambda: plots.image_grid("cat"), ["images", "str"]),
        (lambda: plots.reconstructions(np.zeros((2, 4)), np.zeros((3, 4))), ["means", "(2, 4)", "(3, 4)"]),
        (lambda: plots.interpolation(np.zeros((2, 1, 4, 4))), ["images", "(rows, steps, D)"]),
        (lambda: plots.traversals(np.zeros((2, 3, 4)), names=["z1"]), ["names", "2", "1"]),
        (lambda: plots.manifold(np.zeros((2, 4))), ["images", "(2, 4)"]),
        (lambda: plots.latent_scatter(np.zeros((4, 3))), ["codes", "(4, 3)"]),
        (lambda: plots.latent_scatter(np.zeros((4, 2)), [1, 2]), ["labels", "(2,)"]),
        (lambda: plots.kl_by_dimension([1.0, 2.0], [True]), ["kl", "active"]),
        (lambda: plots.training_curves([]), ["(none)"]),
        (lambda: plots.training_curves(ROWS, ["kl"]), ["loss, elbo", "kl"]),
        (lambda: plots.log_weights_quality([np.nan]), ["khat", "finite"]),
    ],
)
def test_a_wrong_shape_is_refused_in_one_sentence(make, names):
    with pytest.raises(ValueError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message and all(name in message for name in names), message


@pytest.mark.parametrize("ending, start", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_save_writes_whole_files_and_leaves_nothing_beside(tmp_path, ending, start):
    path = plots.save(plots.samples(RNG.random((4, 1, 3, 3))), tmp_path / f"a.{ending}")
    assert path.read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{ending}"]


def test_save_refuses_another_ending(tmp_path):
    with pytest.raises(ValueError, match="must end in .png, .svg or .pdf, not 'a.bmp'"):
        plots.save(Figure(), tmp_path / "a.bmp")
    assert not list(tmp_path.iterdir())


def test_plots_leave_matplotlib_and_random_numbers_alone():
    settings, state, numpy_state = dict(matplotlib.rcParams), torch.get_rng_state(), np.random.get_state()[1].copy()
    plots.latent_scatter(RNG.normal(size=(20, 2)), np.arange(20) % 3)
    plots.training_curves(ROWS)
    plots.samples(RNG.random((4, 1, 3, 3)))
    assert dict(matplotlib.rcParams) == settings
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()
