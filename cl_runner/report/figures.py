"""Figures of the report but for sweeps, each drawn from one problem's part of the summary."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

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
    plain,
    sample_sizes,
    shortened,
    style,
    with_intervals,
    without_formulas,
)
from cl_runner.report.protocols import ORACLE
from cl_runner.report.scores import Score
from cl_runner.report.summary import Summary, pareto_front
from cl_runner.report.words import choice_in_words, runs_in_words
from cl_runner.results.intervals import intervals, seed_means
from cl_runner.results.significance import BIN_WIDTH

_RANKED, _NUMBERED = 25, 12


def draw_ranking(part: Summary, suffix: str = "") -> Drawing:
    """The best settings, one below the other: mean, interval and the single seeds."""
    metric, score, words = part.metric, part.score, part.metric.replace("_", " ")
    table = part.table[part.table[metric].notna()][:_RANKED]
    names, seeds = part.labels().map(shortened).map(without_formulas), seed_means(part.runs, ["setting"], [metric])
    with style():
        figure = new_figure(min(10.0, 3.4 + 0.08 * max(map(len, names[table.index]))), 1.6 + 0.27 * len(table))
        axes = figure.add_subplot()
        for place, setting in enumerate(table.index):
            as_method = look(part.methods.index(part.method[setting]) if part.methods else 0)
            estimate = table.loc[setting, [metric, f"{metric}_low", f"{metric}_high"]]
            mean, low, high = score.scale * estimate.to_numpy(dtype=float)
            values = score.scale * seeds.loc[setting, metric]
            axes.plot(values, np.full(len(values), place), "|", color=INK, alpha=0.35, ms=8)
            axes.plot([low, high], [place, place], color=as_method.colour, lw=2.2)
            axes.plot(mean, place, as_method.marker, color=as_method.colour, ms=6)
        axes.set_yticks(range(len(table)), [f"{setting + 1}. {names[setting]}" for setting in table.index])
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(score.label(metric))
        faint_grid(axes, "x")
        by = "best" if part.protocol == ORACLE else f"best {choice_in_words(part.protocol, metric)}"
        subtitle = f"{by} first; mean and 95 % interval over {sample_sizes(table)}"
        caption = "Small strokes are single seeds; numbers are the table's."
        if len(part.table) > len(table):
            caption += f" The best {len(table)} of {len(part.table)} settings."
        return finish(figure, f"ranking{suffix}", f"{words.capitalize()} by setting", subtitle, caption)


def draw_over_tasks(part: Summary, matrices: Mapping[int, NDArray[np.float64]], suffix: str = "") -> Drawing:
    """The score on the tasks so far after each task; `matrices` `(n, T, T)` of the seeds, by setting."""
    names, ways = part.labels().map(plain), looks([part.method[setting] for setting in matrices], part.methods)
    score = part.score
    with style():
        figure = new_figure(NARROW, 3.7)
        axes = figure.add_subplot()
        for number, (setting, stack) in enumerate(matrices.items()):
            curves = np.stack([stack[:, k, : k + 1].mean(axis=1) for k in range(stack.shape[1])])
            (low,), (high,) = score.scale * np.stack(intervals([curves], *score.range_of([score.average])))
            tasks = np.arange(1.0, len(curves) + 1)
            shift = number - (len(matrices) - 1) / 2
            mean = score.scale * curves.mean(axis=1)
            with_intervals(axes, tasks, mean, (low, high), ways[number], shift, names[setting])
        axes.autoscale_view()
        most = max(stack.shape[1] for stack in matrices.values())
        axes.set_xticks(range(1, most + 1, math.ceil(most / 20)))
        axes.set(xlabel="tasks learned", ylabel=f"test {score.label(score.name)}")
        faint_grid(axes)
        legend_below(figure, [axes])
        subtitle = f"mean over tasks so far, 95 % interval over {sample_sizes(part.table)}"
        title = f"{score.words.capitalize()} over the task sequence"
        return finish(figure, f"{score.name}_over_tasks{suffix}", title, subtitle, _of(part, matrices))


def draw_matrices(part: Summary, matrices: Mapping[int, NDArray[np.float64]], suffix: str = "") -> Drawing:
    """Mean matrix of each setting; `matrices` `(n, T, T)` of the seeds, by setting."""
    names, score = part.labels(), part.score
    means = [score.scale * stack.mean(axis=0) for stack in matrices.values()]
    norm = colour_scale(score, means)
    columns = min(3, len(matrices))
    with style():
        figure = new_figure(1.6 + 2.6 * columns, 1.1 + 2.7 * math.ceil(len(matrices) / columns), "compressed")
        grid = figure.subplots(math.ceil(len(matrices) / columns), columns, squeeze=False).ravel()
        for axes, mean, (setting, stack) in zip(grid, means, matrices.items(), strict=False):
            mesh = _heat_map(axes, mean, score, norm)
            count = runs_in_words(len(stack), "seed").replace(" ", "\u00a0")
            axes.set_title(without_formulas(textwrap.fill(f"{shortened(names[setting])} ({count})", 28)), fontsize=9)
        for axes in grid[len(matrices) :]:
            axes.set_visible(False)
        figure.colorbar(mesh, ax=list(grid), label=f"test {score.label(score.name)}", shrink=0.8)
        figure.supxlabel("tested on task", fontsize=10)
        figure.supylabel("after training task", fontsize=10)
        caption = "Right of the diagonal lies what was not learned yet. " + _of(part, matrices)
        subtitle = "row: after task i; column: on task j"
        return finish(figure, f"{score.name}_matrices{suffix}", f"Mean {score.name} matrix", subtitle, caption)


def draw_significance(part: Summary, histograms: Mapping[int, pd.DataFrame], suffix: str = "") -> Drawing:
    """Histograms of log10 significance by layer; `histograms` have the counts of all tasks and runs, by setting."""
    names, ways = part.labels().map(plain), looks([part.method[setting] for setting in histograms], part.methods)
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
        subtitle = f"Fisher diagonal after each task, all tasks and runs together, {sample_sizes(part.table, 'runs')}"
        caption = (
            f"Bins of {BIN_WIDTH} decades; parameters of significance zero are not counted, and up to 2 % lie further "
            f"left. {_of(part, histograms)}"
        )
        return finish(figure, f"significance{suffix}", "Significance of the layers", subtitle, caption)


def draw_tradeoff(part: Summary, suffix: str = "") -> Drawing:
    """How well tasks were learned against forgetting, a point per setting, and the front that none beats in both."""
    score = part.score
    up, right = score.learned, "average_forgetting"
    table = part.table.dropna(subset=[up, right])
    values = score.scale * table[[f"{name}{end}" for name in (up, right) for end in ("", "_low", "_high")]]
    learned, forgotten = values[up], values[right]
    gains = -learned if score.less_is_better else learned
    front = table.index[pareto_front(gains.to_numpy(), forgotten.to_numpy())]
    groups = part.methods or [""]
    with style():
        figure = new_figure(NARROW, 4.2)
        axes = figure.add_subplot()
        for number, method in enumerate(groups):
            rows = values[part.method[table.index] == method]
            if rows.empty:
                continue
            colour, marker = look(number).colour, look(number).marker
            x, y = rows[right], rows[up]
            axes.plot([rows[f"{right}_low"], rows[f"{right}_high"]], [y, y], color=colour, alpha=0.3, lw=1.2)
            axes.plot([x, x], [rows[f"{up}_low"], rows[f"{up}_high"]], color=colour, alpha=0.3, lw=1.2)
            axes.plot(x, y, marker, color=colour, ms=6, label=plain(method) or "a setting")
        order = forgotten[front].sort_values().index
        axes.plot(forgotten[order], learned[order], color=INK, lw=1, ls="--", label="Pareto front", zorder=1)
        # Settings that came out the same have one point, and one label.
        points = values.loc[order].sort_index().groupby([right, up])
        for place, (_, rows) in enumerate(list(points)[:_NUMBERED]):
            numbers = ", ".join(str(setting + 1) for setting in rows.index[:3]) + (" …" if len(rows) > 3 else "")
            x, y = rows[right], rows[up]
            offset, side = ((-6, 5), "right") if place % 2 else ((6, -12), "left")
            axes.annotate(numbers, (x.iloc[0], y.iloc[0]), offset, textcoords="offset points", ha=side, fontsize=9)
        axes.set(xlabel=f"{score.label(right)} (less is better)", ylabel=score.label(up))
        faint_grid(axes, "both")
        legend_below(figure, [axes])
        better = "down" if score.less_is_better else "up"
        subtitle = f"{better} and left is better; mean and 95 % intervals over {sample_sizes(table)}"
        caption = "Numbers on the front are the table's. By its means a setting off the front is beaten by one on it."
        return finish(figure, f"learned_remembered{suffix}", "Learned against remembered", subtitle, caption)


def chosen(part: Summary, most: int) -> list[int]:
    """At most `most` rows of the summary: each method's best, then the best; once each of those that came out same."""
    table = part.table[part.table[part.metric].notna()].drop_duplicates(["seeds", *part.score.metrics])
    first = table.index[~part.method[table.index].duplicated()]
    order = [*first, *(row for row in table.index if row not in first)]
    return sorted(int(row) for row in order[:most])


def colour_scale(score: Score, matrices: Sequence[NDArray[np.float64]]) -> Normalize:
    """The colour scale that all of `matrices` share."""
    least, most = min(matrix.min() for matrix in matrices), max(matrix.max() for matrix in matrices)
    if score.highest is not None:
        return Normalize(0, score.highest)
    return LogNorm(least, most) if 0 < 10 * least < most else Normalize(0, most)


def _heat_map(axes: Axes, matrix: NDArray[np.float64], score: Score, norm: Normalize) -> QuadMesh:
    tasks = len(matrix)
    # Bright is good.
    colours = "viridis_r" if score.less_is_better else "viridis"
    numbers = [f"{value:{score.short}}" for value in matrix.flat]
    # Characters in a row: an accuracy has up to three.
    width = tasks * max(3, *map(len, numbers))
    # A mesh, as imshow would put a bitmap into the SVG.
    mesh = axes.pcolormesh(matrix, norm=norm, cmap=colours, edgecolors="face", linewidth=0.3)
    for ((row, column), value), number in zip(np.ndenumerate(matrix), numbers, strict=True) if width <= 30 else ():
        share = 1 - norm(value) if score.less_is_better else norm(value)
        axes.text(
            column + 0.5,
            row + 0.5,
            number,
            ha="center",
            va="center",
            fontsize=9 if width <= 18 else 7,
            color="black" if share > 0.6 else "white",
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
