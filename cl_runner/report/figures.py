"""Figures of the report but for sweeps, each drawn from one problem's part of the summary."""

import math
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from numpy.typing import NDArray

from cl_runner.metrics import METRICS
from cl_runner.report.drawing import (
    INK,
    NARROW,
    Drawing,
    faint_grid,
    finish,
    legend_below,
    look,
    looks,
    lowest_labelled,
    new_figure,
    sample_sizes,
    style,
    with_intervals,
)
from cl_runner.report.summary import Summary, intervals, pareto_front
from cl_runner.significance import BIN_WIDTH

_RANKED, _NUMBERED = 25, 12


def draw_ranking(part: Summary, suffix: str = "") -> Drawing:
    """The best settings, one below the other: mean, interval and the single runs."""
    metric, words = part.metric, part.metric.replace("_", " ")
    table = part.table[part.table[metric].notna()][:_RANKED]
    names = part.labels()
    with style():
        figure = new_figure(min(10.0, 3.4 + 0.08 * max(map(len, names[table.index]))), 1.6 + 0.27 * len(table))
        axes = figure.add_subplot()
        for place, setting in enumerate(table.index):
            as_method = look(part.methods.index(part.method[setting]) if part.methods else 0)
            mean, low, high = 100 * table.loc[setting, [metric, f"{metric}_low", f"{metric}_high"]].to_numpy(
                dtype=float
            )
            values = 100 * part.runs.loc[part.runs["setting"] == setting, metric]
            axes.plot(values, np.full(len(values), place), "|", color=INK, alpha=0.35, ms=8)
            axes.plot([low, high], [place, place], color=as_method.colour, lw=2.2)
            axes.plot(mean, place, as_method.marker, color=as_method.colour, ms=6)
        axes.set_yticks(range(len(table)), [f"{setting + 1}. {names[setting]}" for setting in table.index])
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{words} in %")
        faint_grid(axes, "x")
        subtitle = f"best first; mean and 95 % interval over runs, {sample_sizes(table)}"
        caption = "Small strokes are single runs; numbers are the table's."
        if len(part.table) > len(table):
            caption += f" The best {len(table)} of {len(part.table)} settings."
        return finish(figure, f"ranking{suffix}", f"{words.capitalize()} by setting", subtitle, caption)


def draw_accuracy_over_tasks(part: Summary, matrices: Mapping[int, NDArray[np.float64]], suffix: str = "") -> Drawing:
    """Accuracy on the tasks so far after each task; `matrices` `(n, T, T)` of the runs, by setting."""
    names, ways = part.labels(), looks([part.method[setting] for setting in matrices], part.methods)
    with style():
        figure = new_figure(NARROW, 3.7)
        axes = figure.add_subplot()
        for number, (setting, stack) in enumerate(matrices.items()):
            curves = np.stack([stack[:, k, : k + 1].mean(axis=1) for k in range(stack.shape[1])])
            (low,), (high,) = intervals([curves])
            tasks = np.arange(1.0, len(curves) + 1)
            shift = number - (len(matrices) - 1) / 2
            with_intervals(axes, tasks, curves.mean(axis=1), (low, high), ways[number], shift, names[setting])
        axes.autoscale_view()
        most = max(stack.shape[1] for stack in matrices.values())
        axes.set_xticks(range(1, most + 1, math.ceil(most / 20)))
        axes.set(xlabel="tasks learned", ylabel="test accuracy in %")
        faint_grid(axes)
        legend_below(figure, [axes])
        subtitle = f"mean over tasks so far, 95 % interval over runs, {sample_sizes(part.table)}"
        return finish(
            figure, f"accuracy_over_tasks{suffix}", "Accuracy over the task sequence", subtitle, _of(part, matrices)
        )


def draw_matrices(part: Summary, matrices: Mapping[int, NDArray[np.float64]], suffix: str = "") -> Drawing:
    """Mean accuracy matrix of each setting; `matrices` `(n, T, T)` of the runs, by setting."""
    names = part.labels()
    columns = min(3, len(matrices))
    with style():
        figure = new_figure(1.6 + 2.6 * columns, 1.1 + 2.7 * math.ceil(len(matrices) / columns), "compressed")
        grid = figure.subplots(math.ceil(len(matrices) / columns), columns, squeeze=False).ravel()
        for axes, (setting, stack) in zip(grid, matrices.items(), strict=False):
            mesh = _heat_map(axes, 100 * stack.mean(axis=0))
            axes.set_title(textwrap.fill(f"{names[setting]} (n\u00a0=\u00a0{len(stack)})", 28), fontsize=9)
        for axes in grid[len(matrices) :]:
            axes.set_visible(False)
        figure.colorbar(mesh, ax=list(grid), label="test accuracy in %", shrink=0.8)
        figure.supxlabel("tested on task", fontsize=10)
        figure.supylabel("after training task", fontsize=10)
        caption = "Right of the diagonal lies what was not learned yet. " + _of(part, matrices)
        subtitle = "row: after task i; column: on task j"
        return finish(figure, f"accuracy_matrices{suffix}", "Mean accuracy matrix", subtitle, caption)


def draw_significance(part: Summary, histograms: Mapping[int, pd.DataFrame], suffix: str = "") -> Drawing:
    """Histograms of log10 significance by layer; `histograms` have the counts of all tasks and runs, by setting."""
    names, ways = part.labels(), looks([part.method[setting] for setting in histograms], part.methods)
    layers = sorted({layer for counts in histograms.values() for layer in counts["layer"]})
    columns = min(4, len(layers))
    rows = math.ceil(len(layers) / columns)
    with style():
        figure = new_figure(max(6.0, 2.7 * columns), 1.4 + 2.2 * rows)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        lows = []
        for way, (setting, counts) in zip(ways, histograms.items(), strict=True):
            for axes, layer in zip(grid, layers, strict=False):
                bins = counts[counts["layer"] == layer].groupby("low")["count"].sum()
                if bins.empty:
                    continue
                edges = np.arange(bins.index.min(), bins.index.max() + 1.5 * BIN_WIDTH, BIN_WIDTH)
                shares = (bins.reindex(edges[:-1], fill_value=0) / bins.sum()).to_numpy()
                lows.append(float(edges[shares.cumsum().searchsorted(0.02)]))
                axes.stairs(100 * shares, edges, color=way.colour, ls=way.line, lw=1.5, label=names[setting])
        for axes, layer in zip(grid, layers, strict=False):
            axes.set_title(f"layer {layer}" + (" (output)" if layer == layers[-1] else ""), fontsize=10)
            faint_grid(axes)
        lowest_labelled(grid, len(layers), columns, "log10 of significance")
        # The lowest tail of a distribution over many decades would leave no room for the rest.
        grid[0].set_xlim(left=min(lows, default=-1.0))
        grid[0].set_ylim(bottom=0)
        figure.supylabel("% of the layer's parameters", fontsize=10)
        legend_below(figure, grid)
        subtitle = f"Fisher diagonal after each task, all tasks and runs together, {sample_sizes(part.table)}"
        caption = (
            f"Bins of {BIN_WIDTH} decades; parameters of significance zero are not counted, and up to 2 % lie further "
            f"left. {_of(part, histograms)}"
        )
        return finish(figure, f"significance{suffix}", "Significance of the layers", subtitle, caption)


def draw_tradeoff(part: Summary, suffix: str = "") -> Drawing:
    """Learning accuracy against forgetting, a point per setting, and the front that no setting beats in both."""
    table = part.table.dropna(subset=["learning_accuracy", "average_forgetting"])
    percent = 100 * table[[f"{name}{end}" for name in _TRADED for end in ("", "_low", "_high")]]
    learned, forgotten = percent["learning_accuracy"], percent["average_forgetting"]
    front = table.index[pareto_front(learned.to_numpy(), forgotten.to_numpy())]
    groups = part.methods or [""]
    with style():
        figure = new_figure(NARROW, 4.2)
        axes = figure.add_subplot()
        for number, method in enumerate(groups):
            rows = percent[part.method[table.index] == method]
            if rows.empty:
                continue
            colour, marker = look(number).colour, look(number).marker
            x, y = rows["average_forgetting"], rows["learning_accuracy"]
            low, high = rows["average_forgetting_low"], rows["average_forgetting_high"]
            axes.plot([low, high], [y, y], color=colour, alpha=0.3, lw=1.2)
            low, high = rows["learning_accuracy_low"], rows["learning_accuracy_high"]
            axes.plot([x, x], [low, high], color=colour, alpha=0.3, lw=1.2)
            axes.plot(x, y, marker, color=colour, ms=6, label=method or "a setting")
        order = forgotten[front].sort_values().index
        axes.plot(forgotten[order], learned[order], color=INK, lw=1, ls="--", label="Pareto front", zorder=1)
        # Settings that came out the same have one point, and one label.
        points = percent.loc[order].sort_index().groupby(["average_forgetting", "learning_accuracy"])
        for place, (_, rows) in enumerate(list(points)[:_NUMBERED]):
            numbers = ", ".join(str(setting + 1) for setting in rows.index[:3]) + (" …" if len(rows) > 3 else "")
            x, y = rows["average_forgetting"], rows["learning_accuracy"]
            offset, side = ((-6, 5), "right") if place % 2 else ((6, -12), "left")
            axes.annotate(numbers, (x.iloc[0], y.iloc[0]), offset, textcoords="offset points", ha=side, fontsize=9)
        axes.set(xlabel="average forgetting in % (less is better)", ylabel="learning accuracy in %")
        faint_grid(axes, "both")
        legend_below(figure, [axes])
        subtitle = f"up and left is better; mean and 95 % intervals, {sample_sizes(table)}"
        caption = "Numbers on the front are the table's. A setting off the front is beaten by one on it."
        return finish(figure, f"learned_remembered{suffix}", "Learned against remembered", subtitle, caption)


_TRADED = ("learning_accuracy", "average_forgetting")


def chosen(part: Summary, most: int) -> list[int]:
    """At most `most` rows of the summary: each method's best, then the best; once each of those that came out same."""
    table = part.table[part.table[part.metric].notna()].drop_duplicates(["n", *METRICS])
    first = table.index[~part.method[table.index].duplicated()]
    order = [*first, *(row for row in table.index if row not in first)]
    return sorted(int(row) for row in order[:most])


def _heat_map(axes: Axes, matrix: NDArray[np.float64]) -> QuadMesh:
    tasks = len(matrix)
    # A mesh, as imshow would put a bitmap into the SVG.
    mesh = axes.pcolormesh(matrix, vmin=0, vmax=100, cmap="viridis", edgecolors="face", linewidth=0.3)
    for (row, column), value in np.ndenumerate(matrix) if tasks <= 10 else ():
        axes.text(
            column + 0.5,
            row + 0.5,
            f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=9 if tasks <= 6 else 7,
            color="black" if value > 60 else "white",
        )
    ticks = np.arange(0, tasks, math.ceil(tasks / 10))
    axes.set_xticks(ticks + 0.5, [str(task + 1) for task in ticks])
    axes.set_yticks(ticks + 0.5, [str(task + 1) for task in ticks])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    return mesh


def _of(part: Summary, drawn: Mapping[int, object]) -> str:
    if len(drawn) == len(part.table):
        return ""
    choice = "the best of each method, then the best" if len(part.methods) > 1 else "the best"
    return f"{len(drawn)} of {len(part.table)} settings: {choice}; of those with the very same numbers, one."
