"""The figures of a run, drawn from what it recorded."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cl_runner.benchmarks.regression import HIGH, LOW, RegressionBenchmark, curve
from cl_runner.metrics import ScoreName
from cl_runner.results.files import write_atomically
from cl_runner.results.plotting import plain_style
from cl_runner.results.run import Run
from cl_runner.results.significance import BIN_WIDTH, LogHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Up to so many, the numbers of a matrix of tasks by tasks can be read.
_NUMBERED_TASKS = 6


def draw_figures(run: Run, title: str) -> None:
    """Draw the matrix of scores, `significance_histograms.png` and `training.png` into the run's directory; of a
    regression that saved its networks `fit.png`, and where there is a table of it `mask_overlap.png`.
    """
    with plain_style({}):
        draw_matrix(run.matrix[1:], run.score, title, run.path / f"{run.score}_matrix.png")
        draw_significance(_histograms(run), title, run.path / "significance_histograms.png")
        draw_learning_curves(_curves(run), run.score, title, run.path / "training.png")
        if run.config.benchmark.family == "regression" and len(run.saved_tasks) == len(run.matrix) - 1:
            draw_fit(run, title, run.path / "fit.png")
        if (run.path / "mask_overlap.csv").exists():
            draw_mask_overlap(run.table("mask_overlap.csv"), title, run.path / "mask_overlap.png")


def draw_matrix(matrix: NDArray[np.float64], score: ScoreName, title: str, path: Path) -> None:
    """Heat map with numbers: rows after task i, columns on task j, `(T, T)`; accuracies from 0 to 1 in percent."""
    from matplotlib.colors import LogNorm, Normalize

    tasks = len(matrix)
    figure = _figure(max(4.2, 2.4 + 0.55 * tasks), 2.3 + 0.42 * tasks)
    axes = figure.add_subplot()
    if score == "accuracy":
        values, scale, form, label = 100 * matrix, Normalize(0, 100), "{:.0f}", "test accuracy in %"
    else:
        # Bright is good here too.
        values, scale, form, label = matrix, LogNorm(), "{:.2g}", "mean squared error on the test set"
    image = axes.imshow(values, norm=scale, cmap="viridis" if score == "accuracy" else "viridis_r", aspect="auto")
    for row in range(tasks):
        for column in range(tasks):
            red, green, blue, _ = image.to_rgba(values[row, column : column + 1])[0]
            axes.text(
                column,
                row,
                form.format(values[row, column]),
                ha="center",
                va="center",
                fontsize=9,
                color="black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white",
                alpha=1.0 if column <= row else 0.6,
            )
    axes.set_xticks(range(tasks), [str(task) for task in range(1, tasks + 1)])
    axes.set_yticks(range(tasks), [str(task) for task in range(1, tasks + 1)])
    axes.set_xlabel("tested on task")
    axes.set_ylabel("after training task")
    figure.suptitle(title.replace(" on ", "\non "), fontsize=9)
    figure.colorbar(image, ax=axes, label=label)
    _save(figure, path)


def _histograms(run: Run) -> list[list[LogHistogram]]:
    """By task and layer, as tables have them."""
    lows: dict[tuple[float, float], list[float]] = {}
    counts: dict[tuple[float, float], list[float]] = {}
    for row in run.table("significance_histograms.csv"):
        lows.setdefault((row["task"], row["layer"]), []).append(row["low"])
        counts.setdefault((row["task"], row["layer"]), []).append(row["count"])
    found: dict[float, list[LogHistogram]] = {}
    for row in run.table("significance.csv"):
        place = row["task"], row["layer"]
        edges = np.array([*lows[place], lows[place][-1] + BIN_WIDTH] if place in lows else [0.0])
        numbers = (row[name] for name in ("mode", "median", "p5", "p95", "zero_share"))
        histogram = LogHistogram(edges, np.array(counts.get(place, []), dtype=np.int64), *numbers)
        found.setdefault(row["task"], []).append(histogram)
    return list(found.values())


def draw_significance(histograms: Sequence[Sequence[LogHistogram]], title: str, path: Path) -> None:
    """Histograms of log10 significance by layer (columns) after each task (rows), on shared axes."""
    from matplotlib.ticker import MaxNLocator

    tasks, layers = len(histograms), len(histograms[0])
    filled = [item for row in histograms for item in row if item.counts.size]
    # The lowest tail of a distribution over many decades would leave no room for the rest.
    low = min((item.p5 for item in filled), default=0.0) - 3
    high = max((item.edges[-1] for item in filled), default=1.0)
    width, height = 1.0 + 2.3 * layers, 1.7 + 1.1 * tasks
    # Laid out by hand: finding a layout for dozens of axes takes longer than drawing them.
    figure = _figure(width, height, layout=None)
    grid = figure.subplots(tasks, layers, sharex=True, sharey=True, squeeze=False)
    for task, row in enumerate(histograms):
        for layer, item in enumerate(row):
            axes = grid[task, layer]
            if item.counts.size:
                heights = item.counts * (1 - item.zero_share) / item.counts.sum()
                axes.stairs(heights, item.edges, fill=True, color=f"C{layer}", alpha=0.7)
                axes.axvline(item.mode, color="black", lw=1.2, label="mode")
                axes.axvline(item.median, color="black", lw=1.2, ls=":", label="median")
            axes.spines[["top", "right"]].set_visible(False)
        grid[task, 0].set_ylabel(f"task {task + 1}", fontsize=9)
    for layer in range(layers):
        grid[0, layer].set_title(f"layer {layer}" + (" (output)" if layer == layers - 1 else ""), fontsize=10)
    grid[0, 0].set_xlim(low, high)
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    if histograms[0][-1].counts.size:
        grid[0, -1].legend(fontsize=7, frameon=False, loc="upper left")
    zeros = [
        f"layer {layer} {100 * np.mean([row[layer].zero_share for row in histograms]):.1f} %" for layer in range(layers)
    ]
    below = sum(int(item.counts[item.edges[:-1] < low].sum()) for item in filled)
    left_out = f"; further left: {below} values" if below else ""
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", fontsize=10)
    figure.text(
        0.5,
        0.45 / height,
        "log10 of significance (Fisher diagonal); upright: share of the layer's parameters in use",
        ha="center",
        fontsize=9,
    )
    figure.text(
        0.5,
        0.18 / height,
        f"exactly zero, not shown (mean over tasks): {', '.join(zeros)}{left_out}",
        ha="center",
        fontsize=8,
        color="0.35",
    )
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.1 / width, bottom=0.95 / height, top=1 - 0.65 / height, wspace=0.08, hspace=0.15
    )
    _save(figure, path)


def _curves(run: Run) -> list[list[tuple[float, float]]]:
    """For each task, points (time, score) from just before it is trained; time is k at the end of task k."""
    points = [[(float(task), score)] for task, score in enumerate(np.diagonal(run.matrix))]
    epochs: dict[float, float] = {}
    for row in run.learning_curves:
        epochs[row["task"]] = max(epochs.get(row["task"], 0), row["epoch"])
    for row in run.learning_curves:
        time = row["task"] - 1 + row["epoch"] / epochs[row["task"]]
        points[int(row["eval_task"]) - 1].append((time, row[run.score]))
    return points


def draw_learning_curves(
    curves: Sequence[Sequence[tuple[float, float]]], score: ScoreName, title: str, path: Path
) -> None:
    """Test score on each task along training: points (time, score), time being k at the end of task k."""
    tasks = len(curves)
    columns = -(-tasks // 12)
    figure = _figure(min(14.0, max(5.6, 2.4 + 0.75 * tasks)) + 0.6 * (columns - 1), 3.6)
    axes = figure.add_subplot()
    colours = _task_colours(tasks)
    for task, points in enumerate(curves, 1):
        times, scores = zip(*points, strict=True)
        axes.plot(times, scores, color=colours[task - 1], marker="o", ms=2.5, lw=1.4, label=str(task))
    for end in range(1, tasks):
        axes.axvline(end, color="0.85", lw=1, zorder=0)
    axes.set_xticks([number + 0.5 for number in range(tasks)], [str(number + 1) for number in range(tasks)])
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(0, tasks), xlabel="training task")
    if score == "accuracy":
        axes.set(ylim=(0, 1.02), ylabel="test accuracy")
    else:
        axes.set(yscale="log", ylabel="mean squared error on the test set")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        title="on task",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        ncols=columns,
    )
    _save(figure, path)


def draw_fit(run: Run, title: str, path: Path) -> None:
    """A regression's training points, coloured by task, and what the network made of the whole curve after each."""
    benchmark = RegressionBenchmark(run.config.benchmark, [run.config.seed])
    tasks = benchmark.tasks
    figure = _figure(1.0 + 3.1 * min(tasks, 4), 0.9 + 2.6 * -(-tasks // 4))
    grid = figure.subplots(-(-tasks // 4), min(tasks, 4), sharex=True, sharey=True, squeeze=False)
    colours = _task_colours(tasks)
    x = torch.linspace(LOW, HIGH, 301)
    for after, axes in enumerate(grid.flat):
        if after >= tasks:
            axes.set_visible(False)
            continue
        for task in range(tasks):
            ids = benchmark.train.samples([task])[0][None]
            points = benchmark.train.inputs_of(ids, [task])[0, 0], benchmark.train.labels_of(ids)[0]
            seen = {"color": colours[task]} if task <= after else {"color": "0.85"}
            axes.scatter(*points, s=3, lw=0, **seen)
        with torch.no_grad():
            axes.plot(x, run.network(after + 1)(x[:, None])[:, 0], color="black", lw=1.6)
        axes.plot(x, curve(x), color="black", lw=1, ls=":")
        axes.set_title(f"after task {after + 1}", fontsize=10)
        axes.set_xlabel("x")
        axes.spines[["top", "right"]].set_visible(False)
    low, high = float(curve(x).min()), float(curve(x).max())
    grid[0, 0].set_ylim(low - 1, high + 1)
    grid[0, 0].set_ylabel("y")
    figure.suptitle(
        f"{title}\nline: what the network learned; dotted: the true curve; points: training data by task, grey ones "
        "still to come",
        fontsize=9,
    )
    _save(figure, path)


def draw_mask_overlap(rows: Sequence[Mapping[str, float]], title: str, path: Path) -> None:
    """A heat map for each layer: the Jaccard index of what every two tasks freeze, on one scale from 0 to 1.

    Args:
        rows: `task`, `other` (from 1), `layer` (from 0), `jaccard`, `chance`; NaN where neither task freezes any.
        title, path: of the figure.
    """
    tasks, layers = int(max(row["other"] for row in rows)), int(max(row["layer"] for row in rows)) + 1
    side = max(1.8, 0.24 * tasks + 0.4)
    width, height = 1.4 + (side + 0.2) * layers, side + 1.6
    # By hand, as above; inches.
    figure = _figure(width, height, layout=None)
    grid = figure.subplots(1, layers, sharex=True, sharey=True, squeeze=False)[0]
    for layer, axes in enumerate(grid):
        matrix, chances = np.full((tasks, tasks), np.nan), []
        for row in rows:
            if row["layer"] == layer:
                pair = int(row["task"]) - 1, int(row["other"]) - 1
                matrix[pair] = matrix[pair[::-1]] = row["jaccard"]
                chances.append(f"{row['chance']:.2f}")
        axes.set_facecolor("0.88")
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
        for place, value in np.ndenumerate(matrix) if tasks <= _NUMBERED_TASKS else ():
            if np.isfinite(value):
                colour = "black" if value > 0.6 else "white"
                axes.text(*place, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        known = sorted(set(chances) - {"nan"})
        by_chance = "–".join(dict.fromkeys((known[0], known[-1]))) if known else "none frozen"
        axes.set_title(f"layer {layer}{' (output)' * (layer == layers - 1)}\nby chance {by_chance}", fontsize=9)
        axes.set_xlabel("task")
    ticks = range(0, tasks, -(-tasks // 20))
    grid[0].set_xticks(ticks, [str(task + 1) for task in ticks])
    grid[0].set_yticks(ticks, [str(task + 1) for task in ticks])
    grid[0].set_ylabel("task")
    figure.text(0.5, 1 - 0.4 / height, title.replace(" on ", "\non "), ha="center", fontsize=9)
    edges = {"bottom": 0.6 / height, "top": 1 - 1.0 / height}
    figure.subplots_adjust(left=0.6 / width, right=1 - 1.0 / width, wspace=0.2 / side, **edges)
    bar = figure.add_axes((1 - 0.85 / width, edges["bottom"], 0.15 / width, edges["top"] - edges["bottom"]))
    figure.colorbar(image, cax=bar, label="overlap (Jaccard)\nof frozen parameters")
    _save(figure, path)


def _task_colours(tasks: int) -> NDArray[np.float64]:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.9, tasks))


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())
