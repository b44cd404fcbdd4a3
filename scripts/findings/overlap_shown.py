"""Figures and tables of how much the masks of two tasks overlap."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cl_runner.report.drawing import (
    INK,
    NARROW,
    Look,
    faint_grid,
    legend_below,
    look,
    new_figure,
    style,
    titled,
    with_intervals,
)
from cl_runner.report.words import runs_in_words
from findings.layers import layer_names
from findings.overlap import at, fall, of_all
from findings.statistics import curve, estimate, paired_difference

_AXIS = "overlap above chance"


def rotation_table(rotated: pd.DataFrame, permuted: pd.DataFrame, distances: Sequence[int]) -> pd.DataFrame:
    """Every layer of every mask; the overlap at these distances, and its fall from the first to the second."""
    step, far = _step(rotated), distances[1]
    rows = []
    for setting in rotated["setting"].unique():
        for layer, name in enumerate(layer_names(rotated["layer"].nunique())):
            own, order = (fall(frame, setting, layer, far) for frame in (rotated, permuted))
            rows.append(
                {
                    "mask": setting,
                    "layer": name,
                    **{
                        f"overlap at {step * apart:g}°": estimate(at(rotated, setting, layer, apart)).number(".2f")
                        for apart in distances
                    },
                    f"fall to {step * far:g}°": estimate(own).number(".2f"),
                    "fall of permuted tasks": estimate(order).number(".2f"),
                    "difference": paired_difference(own, order).number(".2f"),
                    "n": len(own),
                }
            )
    return pd.DataFrame(rows)


def depth_table(permuted: pd.DataFrame) -> pd.DataFrame:
    """Every layer of every mask, over all pairs of tasks."""
    far = int(permuted["apart"].max())
    rows = []
    for setting in permuted["setting"].unique():
        for layer, name in enumerate(layer_names(permuted["layer"].nunique())):
            jaccard, chance, overlap = (
                estimate(of_all(permuted, setting, layer, column)) for column in ("jaccard", "chance", "overlap")
            )
            rows.append(
                {
                    "mask": setting,
                    "layer": name,
                    "Jaccard index": f"{jaccard.mean:.2f}",
                    "by chance": f"{chance.mean:.2f}",
                    _AXIS: overlap.number(".2f"),
                    "of neighbours": estimate(at(permuted, setting, layer, 1)).number(".2f"),
                    f"of tasks {far} apart": estimate(at(permuted, setting, layer, far)).number(".2f"),
                    "n": overlap.n,
                }
            )
    return pd.DataFrame(rows)


def draw_by_distance(rotated: pd.DataFrame, permuted: pd.DataFrame) -> Figure:
    """A panel for each layer and kind of mask, rotated tasks beside permuted ones."""
    methods = list(rotated["method"].unique())
    names, step = layer_names(rotated["layer"].nunique()), _step(rotated)
    farthest = int(rotated["apart"].max())
    with style():
        figure = new_figure(9.6, 2.2 * len(methods) + 1.4)
        grid = figure.subplots(len(methods), len(names), sharex=True, sharey=True, squeeze=False)
        for (row, layer), axes in np.ndenumerate(grid):
            axes.axhline(0, color=INK, lw=0.8)
            for number, (benchmark, frame) in enumerate({"rotated": rotated, "permuted": permuted}.items()):
                panel = frame[(frame["method"] == methods[row]) & (frame["layer"] == layer)]
                for other, (freeze, part) in enumerate(panel.groupby("freeze")):
                    line = curve(part, "apart", "overlap")
                    ends = line["low"].to_numpy(), line["high"].to_numpy()
                    shown_as = Look(look(number).colour, "os"[other % 2], ["-", "--"][other % 2])
                    label = f"{benchmark}, freeze={freeze:g}"
                    with_intervals(axes, line.index.to_numpy(float), line["mean"].to_numpy(), ends, shown_as, 0, label)
            axes.autoscale_view()
            axes.set_xticks(range(1, farthest + 1, 1 + farthest // 6))
            axes.set_title(names[layer] if row == 0 else "")
            faint_grid(axes)
        for row, method in enumerate(methods):
            grid[row, 0].set_ylabel(f"{method}\n{_AXIS}")
        for axes in grid[-1]:
            axes.set_xlabel(f"tasks apart in training\n(rotations: {step:g}° each)", fontsize=9)
        legend_below(figure, grid.flat)
        titled(
            figure,
            "Do masks overlap more the nearer two tasks are? (0: as random sets, 1: the same)",
            f"MNIST, by layer; mean and 95 % interval over {runs_in_words(rotated['seed'].nunique(), 'seed')}",
        )
    return figure


def draw_by_depth(permuted: pd.DataFrame) -> Figure:
    """A line for each mask."""
    settings, names = list(permuted["setting"].unique()), layer_names(permuted["layer"].nunique())
    with style():
        figure = new_figure(1.3 * NARROW, 3.8)
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, lw=0.8)
        for number, setting in enumerate(settings):
            line = curve(permuted[permuted["setting"] == setting], "layer", "overlap")
            ends = line["low"].to_numpy(), line["high"].to_numpy()
            shift = number - (len(settings) - 1) / 2
            with_intervals(
                axes, line.index.to_numpy(float), line["mean"].to_numpy(), ends, look(number), shift, setting
            )
        axes.autoscale_view()
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="layer", ylabel=f"{_AXIS}, all pairs of tasks")
        faint_grid(axes)
        legend_below(figure, [axes])
        titled(
            figure,
            "Do masks of permuted tasks overlap? (0: as random sets, 1: the same)",
            f"permuted MNIST, {int(permuted['other'].max())} tasks; mean and 95 % interval over "
            + runs_in_words(permuted["seed"].nunique(), "seed"),
        )
    return figure


def _step(rotated: pd.DataFrame) -> float:
    """Degrees between neighbours."""
    return 180 / int(rotated["apart"].max())
