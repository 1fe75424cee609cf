"""Bar charts of time / floor: a row of panels for each workload, a panel for each number of threads."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def bars(rows, path):
    """Write a .png with a panel for every workload and number of threads."""
    works = list(dict.fromkeys(row["work"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    most = max(len({row["system"] for row in rows if row["work"] == work}) for work in works)
    size = (5.2 * len(threads) + 1, (0.26 * most + 0.8) * len(works))
    figure, axes = plt.subplots(len(works), len(threads), figsize=size, squeeze=False, layout="constrained")
    for line, work in zip(axes, works, strict=True):
        for axis, count in zip(line, threads, strict=True):
            shown = [row for row in rows if (row["work"], row["threads"]) == (work, count)]
            _panel(axis, shown[::-1])
            axis.set_title(f"{work}, {count} thread{'s' if count > 1 else ''}", fontsize=9)
            if axis is not line[0]:
                axis.set_yticklabels([])
    for axis in axes[-1]:
        axis.set_xlabel("time of a step / time of its matrix products", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis, rows):
    ratios = [row["ratio_to_floor"] for row in rows]
    low = [row["ratio_to_floor"] - row["ratio_spread"][0] for row in rows]
    high = [row["ratio_spread"][1] - row["ratio_to_floor"] for row in rows]
    names = [row["system"] for row in rows]
    places = range(len(rows))
    axis.barh(places, ratios, height=0.7, color=[_colour(name) for name in names])
    axis.errorbar(ratios, places, xerr=[low, high], fmt="none", ecolor="0.25", elinewidth=1)
    axis.axvline(1.0, color="0.25", linewidth=0.8, linestyle=":")
    axis.set_yticks(places, names, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlim(0, 1.15 * max(r + h for r, h in zip(ratios, high, strict=True)))
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for place, ratio, end in zip(places, ratios, high, strict=True):
        words = {"va": "center", "fontsize": 8, "bbox": white}
        axis.annotate(f"{ratio:.2f}", (ratio + end, place), (4, 0), textcoords="offset points", **words)


def _colour(name):
    if name.startswith("floor"):
        return "0.8"
    return "C0" if name.startswith("ppl_vae") else "0.55"
