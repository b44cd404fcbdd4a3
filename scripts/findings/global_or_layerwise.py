"""A global mask against a layer-wise one in one condition after the other: the differences, and where each freezes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_runner.report.drawing import COLOURS, INK, MARKERS, faint_grid, legend_below, new_figure, style, titled
from findings.layers import layer_names
from findings.results import average_score, learning_score, table
from findings.statistics import Estimate, estimate

# From this share on a layer, or what a task has of it, counts as frozen whole.
WHOLE = 0.99

# By preset, its benchmark and the setting that makes several problems of it.
_BENCHMARKS = {
    "global_or_layerwise_permuted": ("permuted MNIST", "model.activation"),
    "global_or_layerwise_split": ("split MNIST", "benchmark.scenario"),
    "global_or_layerwise_digits": ("permuted digits", None),
}


@dataclass(frozen=True)
class Condition:
    """One freeze of one problem, after so many tasks.

    `ahead` is by how much the global mask's average accuracy is above the layer-wise one's, paired by seed. It is the
    sum of two parts: `learned`, the difference right after learning each task, and `kept`, that in what was lost since.
    `frozen` is the share of each layer, of the last one without outputs of tasks to come, that the global mask froze
    while the last of the tasks was trained; the layer-wise mask froze the share `freeze` of each. `shared`: the tasks
    share their outputs.
    """

    problem: str
    shared: bool
    freeze: float
    tasks: int
    ahead: Estimate
    learned: Estimate
    kept: Estimate
    frozen: Sequence[float]

    @property
    def winner(self) -> int:
        """1 where the global mask is ahead, -1 where the layer-wise one is, 0 where the interval reaches 0."""
        return clear(self.ahead)

    @property
    def freer(self) -> bool:
        """Whether the global mask freezes less of the first layer, and so more of those after it."""
        return bool(self.frozen[0] < self.freeze)

    @property
    def whole(self) -> bool:
        """Whether the global mask leaves no room in one of the layers."""
        return bool(max(self.frozen) >= WHOLE)


def clear(difference: Estimate) -> int:
    """The sign of a difference, 0 if its interval reaches 0."""
    return int(difference.above(0)) - int(difference.below(0))


def problems(results: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The results by what is learned, by which network, of masks that leave outputs of tasks to come alone."""
    return {name: rows[rows["method.unused"] != "counted"] for name, rows in _by_problem(results).items()}


def counted(results: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """`problems` in which tasks have outputs of their own, with layer-wise masks that count those of tasks to come."""
    found = {}
    for name, rows in _by_problem(results).items():
        old = rows["method.unused"] == "counted"
        if old.any() and (rows["benchmark.scenario"] != "domain").all():
            found[name] = rows[old | (rows["method"] == "global_mask")]
    return found


def _by_problem(results: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = {}
    for preset, (benchmark, key) in _BENCHMARKS.items():
        rows = results[preset]
        if key:
            found |= {f"{benchmark}, {value}": rows[rows[key] == value] for value in rows[key].unique()}
        else:
            found[benchmark] = rows
    return found


def conditions(problem: str, results: pd.DataFrame) -> Iterator[Condition]:
    """Every freeze after 2, 3, ... tasks: the first is trained without a mask."""
    learning, layers = learning_score(results), table(results[results["method"] == "global_mask"], "layers.csv")
    counts = range(2, int(results["after_task"].max()) + 1)
    average = _global_ahead(pd.concat([average_score(results, count).assign(tasks=count) for count in counts]))
    learned = _global_ahead(pd.concat([learning[learning["task"] <= count].assign(tasks=count) for count in counts]))
    shared = bool((results["benchmark.scenario"] == "domain").all())
    # The mask used while a task is trained was made when the tasks before it had had their outputs.
    own = (layers["layer"] == layers["layer"].max()) & (not shared)
    ranked = layers["parameters"] * ((layers["task"] - 1) / layers["task"].max()).where(own, 1)
    shares = (layers["frozen"] / ranked).groupby([layers["freeze"], layers["task"], layers["layer"]]).mean()
    for freeze in sorted(results["freeze"].unique()):
        for count in counts:
            ahead, fresh = average[freeze, count], learned[freeze, count]
            gaps = estimate(ahead), estimate(fresh), estimate(ahead - fresh)
            yield Condition(problem, shared, freeze, count, *gaps, shares[freeze, count].to_list())


def _global_ahead(scores: pd.DataFrame) -> pd.Series:
    """Global minus layer-wise by freeze, tasks and seed."""
    sides = scores.pivot_table(index=["freeze", "tasks", "seed"], columns="method", values="score")
    return (sides["global_mask"] - sides["layerwise_mask"]).dropna()


def draw(found: Sequence[Condition], seeds: str) -> Figure:
    """Above the differences, below where the global mask freezes; a column for each freeze."""
    names = list(dict.fromkeys(condition.problem for condition in found))
    freezes = sorted({condition.freeze for condition in found})
    with style():
        figure = new_figure(2.4 + 2.1 * len(freezes), 2.2 + 0.9 * len(names))
        grid = figure.subplots(2, len(freezes), sharex="row", sharey=True, squeeze=False)
        for freeze, (above, below) in zip(freezes, grid.T, strict=True):
            of_freeze = [condition for condition in found if condition.freeze == freeze]
            _draw_differences(above, of_freeze, names)
            _draw_shares(below, of_freeze, names)
            above.set_title(f"freeze = {freeze:g}")
            for axes in (above, below):
                faint_grid(axes, "x")
                between = np.arange(1, len(names)) - 0.5
                axes.hlines(between, 0, 1, INK, lw=0.8, alpha=0.12, transform=axes.get_yaxis_transform())
                axes.tick_params(axis="y", length=0)
        grid[0, 0].set_yticks(range(len(names)), names)
        grid[0, 0].set_ylim(len(names) - 0.5, -0.5)
        legend_below(figure, grid.ravel())
        titled(
            figure,
            "Which mask has the higher average accuracy at equal freeze, and which layers does the global one freeze?",
            f"above: global − layer-wise, mean and 95 % interval over {seeds}, paired; filled if the interval omits 0\n"
            "below: share of each layer that the global mask froze while the last task was trained",
        )
    return figure


def _draw_differences(axes: Axes, found: Sequence[Condition], names: Sequence[str]) -> None:
    counts = sorted({condition.tasks for condition in found})
    axes.axvline(0, color=INK, lw=0.8)
    for condition in found:
        nth = counts.index(condition.tasks)
        place = _place(names.index(condition.problem), nth, len(counts))
        colour = {1: COLOURS[0], -1: COLOURS[1], 0: "grey"}[condition.winner]
        ahead, filled = condition.ahead, colour if condition.winner else "white"
        axes.plot([100 * ahead.low, 100 * ahead.high], [place, place], color=colour, lw=1.6, alpha=0.75)
        axes.plot(100 * ahead.mean, place, MARKERS[nth], color=colour, mfc=filled, ms=4)
    # For the legend: the colour is the winner's.
    for nth, count in enumerate(counts):
        axes.plot([], [], MARKERS[nth], color="grey", ms=4, label=f"after {count} tasks")
    for colour, name in ((COLOURS[0], "global ahead"), (COLOURS[1], "layer-wise ahead")):
        axes.plot([], [], "-", color=colour, lw=2, label=name)
    axes.set_xlabel("difference in points\n← layer-wise | global →")


def _draw_shares(axes: Axes, found: Sequence[Condition], names: Sequence[str]) -> None:
    last = max(condition.tasks for condition in found)
    axes.axvline(100 * found[0].freeze, color=INK, lw=1.2, ls="--", label="layer-wise mask")
    for condition in (condition for condition in found if condition.tasks == last):
        for layer, share in enumerate(condition.frozen):
            place = _place(names.index(condition.problem), layer, len(condition.frozen))
            axes.plot([0, 100 * share], [place, place], color=_layer_colour(layer), lw=3.5, solid_capstyle="butt")
    for layer, name in enumerate(layer_names(len(found[0].frozen))):
        axes.plot([], [], color=_layer_colour(layer), lw=3.5, label=f"{name} layer")
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layer, %")


def _place(row: int, nth: int, of: int) -> float:
    return row + 0.18 * (nth - (of - 1) / 2)


def _layer_colour(layer: int) -> str:
    # Others than those of the two masks above.
    return COLOURS[2 + layer % (len(COLOURS) - 2)]
