"""What claims 3 and 4 share: three tasks under a layer-wise mask of the latest task's significance, over `freeze`."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_runner.report.drawing import (
    INK,
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
from cl_runner.results.run import Run, load_run
from findings.knowledge import Benchmark
from findings.known import KNOWN
from findings.results import runs, task_score
from findings.statistics import Estimate, by_seed, curve, mean_share, paired_difference

PRESETS = ["latest_mask_regression", "latest_mask_mnist"]
QUICK = {
    "latest_mask_regression": ["train.epochs=100", "train.first_epochs=300"],
    "latest_mask_mnist": ["benchmark.train_samples=1000", "fisher.samples=200"],
}


class Sweep(Benchmark):
    """Masks over `freeze`, and fine-tuning, on one of the benchmarks."""

    @property
    def freezes(self) -> list[float]:
        """The shares that masks freeze, ascending."""
        return sorted(self.scores.loc[self.scores["method"] != "finetune", "freeze"].unique())

    def of(self, freeze: float | None) -> pd.DataFrame:
        """The rows of a mask, or of fine-tuning (None)."""
        tuned = self.scores["method"] == "finetune"
        return self.scores[tuned] if freeze is None else self.scores[~tuned & (self.scores["freeze"] == freeze)]

    def level(self, after: int, on: int, freeze: float | None) -> pd.Series:
        """How well a task is known after so many tasks, by seed."""
        return by_seed(task_score(self.of(freeze), after, on), "known")

    def learned(self, task: int, freeze: float) -> Estimate:
        """How much better than by fine-tuning a task is known right after it was learned."""
        return paired_difference(self.level(task, task, freeze), self.level(task, task, None))

    def kept(self, after: int, freeze: float | None) -> Estimate:
        """How much better task 1 is known after so many tasks than right after it was learned."""
        return paired_difference(self.level(after, 1, freeze), self.level(1, 1, freeze))

    def told(self, after: int, on: int, freeze: float | None) -> str:
        """How well a task is known, in words."""
        share = mean_share(self.level(after, on, freeze))
        if not self.regression:
            return f"known with {share.percent()} % accuracy"
        return f"known in {100 * share.mean:.0f} % of the seeds (typical mse {self.mse(after, on, freeze)})"

    def mse(self, after: int, on: int, freeze: float | None) -> str:
        """The typical one on a task after so many tasks."""
        return self.typical_mse(task_score(self.of(freeze), after, on))

    def per_run(self, quantity: Callable[[Run], Mapping[str, float]]) -> pd.DataFrame:
        """Means over the seeds of what `quantity` finds in the files of each run, by freeze."""
        masked = runs(self.scores[self.scores["method"] != "finetune"])
        found = pd.DataFrame([quantity(load_run(directory)) for directory in masked["directory"]])
        return found.groupby(masked["freeze"]).mean()


def sweeps(results: Mapping[str, pd.DataFrame]) -> list[Sweep]:
    """The two of `PRESETS`."""
    curves, images = (results[preset] for preset in PRESETS)
    return [Sweep.curves(curves), Sweep.images(images)]


def listed(freezes: Sequence[float], sweep: Sweep) -> str:
    """Some of the sweep's freezes, in words."""
    if len(freezes) == len(sweep.freezes):
        return "all freezes"
    return f"freeze={', '.join(f'{freeze:g}' for freeze in freezes)}" if len(freezes) else "no freeze"


def draw(found: Sequence[Sweep], title: str, lines: Mapping[str, tuple[int, int]]) -> Figure:
    """A panel for each benchmark: the scores over freeze, by their names, each after so many tasks on one of them."""
    with style():
        figure = new_figure(9.4, 4.4)
        panels = figure.subplots(1, len(found))
        for axes, sweep in zip(panels, found, strict=True):
            _panel(axes, sweep, lines)
        legend_below(figure, panels)
        titled(
            figure,
            title,
            "a layer-wise mask of the latest task's significance\n"
            "mean (of mse the geometric one) and 95 % interval; dots: single seeds",
        )
    return figure


def _panel(axes: Axes, sweep: Sweep, lines: Mapping[str, tuple[int, int]]) -> None:
    places = [None, *sweep.freezes]
    for number, (name, (after, on)) in enumerate(lines.items()):
        rows = pd.concat(
            [task_score(sweep.of(freeze), after, on).assign(place=place) for place, freeze in enumerate(places)]
        )
        _line(axes, sweep, rows, look(number), (number - (len(lines) - 1) / 2) / 2, name)
    if sweep.regression:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.axhline(KNOWN, color=INK, lw=1, ls=":", label=f"below: counts as known (mse {KNOWN:g})")
    else:
        start = 100 * sweep.level(1, 1, None).mean()
        axes.axhline(start, color=INK, lw=1, ls="--", label="task 1, just learned")
    axes.autoscale_view()
    axes.set_xticks(range(len(places)), ["0", *(f"{100 * freeze:g}" for freeze in sweep.freezes)])
    axes.set(
        title=f"{sweep.name}, {runs_in_words(sweep.seeds, 'seed')}",
        xlabel="frozen in each layer, in % (0: fine-tuning)",
        ylabel="test error (mse)" if sweep.regression else "test accuracy in %",
    )
    faint_grid(axes)


def _line(axes: Axes, sweep: Sweep, rows: pd.DataFrame, way: Look, shift: float, name: str) -> None:
    shown = rows.assign(score=np.log10(rows["score"]) if sweep.regression else 100 * rows["score"])
    line = curve(shown, "place", most=np.inf if sweep.regression else 100)[["mean", "low", "high"]]
    values = 10 ** shown["score"] if sweep.regression else shown["score"]
    line = 10**line if sweep.regression else line
    axes.scatter(rows["place"], values, s=5, color=way.colour, alpha=0.25, lw=0)
    ends = line["low"].to_numpy(), line["high"].to_numpy()
    with_intervals(axes, line.index.to_numpy(dtype=float), line["mean"].to_numpy(), ends, way, shift, name)
