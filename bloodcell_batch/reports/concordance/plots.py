"""Scatter and Bland-Altman plots of one class, as an SVG picture."""

import base64
import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bloodcell_batch.reports.concordance.pairs import ClassComparison, Pair

_BLUE, _RED, _GREY = "#2f6fab", "#a61b1b", "#8796a5"


def comparison_plot(name: str, pairs: Sequence[Pair], figures: ClassComparison) -> str:
    """A data: URI of the two plots side by side; points outside our exact limits are red."""
    with mpl.rc_context({"svg.hashsalt": "bloodcell-batch", "font.size": 9}):
        figure = Figure(figsize=(9.2, 3.7), layout="constrained")
        scatter, differences = figure.subplots(1, 2)
        colours = [_BLUE if pair.within else _RED for pair in pairs]
        _scatter(scatter, pairs, figures, colours)
        _bland_altman(differences, pairs, figures, colours)
        figure.suptitle(name, fontweight="bold")
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _scatter(axes: Axes, pairs: Sequence[Pair], figures: ClassComparison, colours: list[str]) -> None:
    highest = max(1.0, *(max(pair.high, pair.theirs) for pair in pairs)) * 1.03
    axes.plot([0, highest], [0, highest], color=_GREY, linewidth=0.9, linestyle="--", label="identity")
    line = figures.regression
    if line is not None:
        x = np.array([0, highest])
        label = f"Passing-Bablok: {line.slope:.2f} x {line.intercept:+.2f}"
        axes.plot(x, line.slope * x + line.intercept, color="#b45309", linewidth=1.2, label=label)
    for pair, colour in zip(pairs, colours, strict=True):
        axes.plot([pair.theirs, pair.theirs], [pair.low, pair.high], color=colour, linewidth=0.8, alpha=0.6)
    axes.scatter([pair.theirs for pair in pairs], [pair.ours for pair in pairs], s=18, c=colours, zorder=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlim=(0, highest), ylim=(0, highest), xlabel="manual or analyser, %", ylabel="preclassification, %")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _bland_altman(axes: Axes, pairs: Sequence[Pair], figures: ClassComparison, colours: list[str]) -> None:
    means = [(pair.ours + pair.theirs) / 2 for pair in pairs]
    axes.scatter(means, [pair.ours - pair.theirs for pair in pairs], s=18, c=colours, zorder=3)
    axes.axhline(0, color=_GREY, linewidth=0.9, linestyle="--")
    found = figures.difference
    if found is not None:
        for value, width, style in ((found.bias, 1.2, "-"), (found.low, 0.9, ":"), (found.high, 0.9, ":")):
            axes.axhline(value, color=_BLUE, linewidth=width, linestyle=style)
            axes.annotate(
                f"{value:+.1f}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=_BLUE
            )
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(
        xlabel="mean of the two, %", ylabel="difference, percentage points", title="bias and 95 % limits of agreement"
    )
