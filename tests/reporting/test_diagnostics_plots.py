import numpy as np
import pytest
from matplotlib.figure import Figure

from ppl_vae.reporting import diagnostics_plots, save


def rows(ks=(1, 4, 16), encoder=-0.5, decoder=0.5, scale=2.0):
    """Signal-to-noise ratios that are powers of K."""
    return [
        {
            "num_particles": k,
            "group": group,
            "snr": scale * k**power,
            "snr_stderr": 0.1,
            "bound": -90 - 1 / k,
            "bound_stderr": 0.2,
        }
        for k in ks
        for group, power in (("encoder", encoder), ("decoder", decoder))
    ]


def line(axes, i):
    return np.asarray(axes.containers[i].lines[0].get_xydata())


def test_a_panel_for_each_group_on_axes_of_powers():
    figure = diagnostics_plots.gradient_snr({"IWAE": rows(), "DReG": rows(encoder=0.5)[::-1]})
    assert isinstance(figure, Figure) and len(figure.axes) == 2
    for axes, powers in zip(figure.axes, ((-0.5, 0.5), (0.5, 0.5)), strict=True):
        assert axes.get_xscale() == axes.get_yscale() == "log"
        for i, power in enumerate(powers):
            np.testing.assert_allclose(line(axes, i), [(k, 2 * k**power) for k in (1, 4, 16)])
        dotted = [np.asarray(drawn.get_ydata()) for drawn in axes.lines if drawn.get_linestyle() == ":"]
        np.testing.assert_allclose(dotted, [[2, 8], [2, 0.5]])  # from the middle at K = 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["IWAE", "DReG"]


def test_bars_are_one_standard_error_and_stay_above_0():
    noisy = [{**row, "snr_stderr": 5.0} for row in rows()]
    (bars,) = diagnostics_plots.gradient_snr({"IWAE": noisy}).axes[0].containers[0].lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.2, 7.0])
    (bars,) = diagnostics_plots.gradient_snr({"IWAE": rows()}).axes[0].containers[0].lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [1.9, 2.1])


def test_a_ratio_of_0_is_left_out(tmp_path):
    lost = [{**row, "snr": 0.0} if row["group"] == "encoder" and row["num_particles"] > 1 else row for row in rows()]
    figure = diagnostics_plots.gradient_snr({"IWAE": lost})
    assert len(line(figure.axes[0], 0)) == 1 and len(line(figure.axes[1], 0)) == 3
    nothing = [{**row, "snr": 0.0} for row in rows()]
    for curves in ({"IWAE": lost}, {"IWAE": nothing}, {"one K": rows(ks=(5,))}, {"$": rows(), "b": rows()}):
        assert save(diagnostics_plots.gradient_snr(curves), tmp_path / "snr.png").stat().st_size > 1000


def test_the_bound():
    axes = diagnostics_plots.bound({"IWAE": rows(), "MIWAE": rows(ks=(4,))}).axes[0]
    np.testing.assert_allclose(line(axes, 0), [(1, -91), (4, -90.25), (16, -90.0625)])
    np.testing.assert_allclose(line(axes, 1), [(4, -90.25)])
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16"]


@pytest.mark.parametrize("draw", [diagnostics_plots.gradient_snr, diagnostics_plots.bound])
def test_refusals(draw):
    with pytest.raises(ValueError, match="curves must hold 1 to 10 estimators, not 0"):
        draw({})
    with pytest.raises(ValueError, match="not 11"):
        draw({str(i): rows() for i in range(11)})
    with pytest.raises(ValueError, match="rows of IWAE must hold .* is missing"):
        draw({"IWAE": [{"num_particles": 1}]})
    with pytest.raises(ValueError, match="rows of IWAE"):
        draw({"IWAE": []})
