"""The rows as bars: time over the floor's, one panel a work."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def bars(rows, path):
    """Write a .png with a panel for every work and number of threads."""
    panels = list(dict.fromkeys((row["work"], row["threads"]) for row in rows))
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 2.6 * len(panels)), squeeze=False, layout="constrained")
    for axis, (work, threads) in zip(axes[:, 0], panels, strict=True):
        shown = [row for row in rows if (row["work"], row["threads"]) == (work, threads)][::-1]
        ratios = [row["ratio_to_floor"] for row in shown]
        spread = [[r["ratio_to_floor"] - r["ratio_spread"][0] for r in shown]]
        spread += [[r["ratio_spread"][1] - r["ratio_to_floor"] for r in shown]]
        names = [row["system"] for row in shown]
        axis.barh(names, ratios, xerr=spread, color=["C1" if n.startswith("ppl_vae") else "C7" for n in names])
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_title(f"{work}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        axis.set_xlabel("time of a step / time of its matrix products")
    figure.savefig(path, dpi=110)
