"""What claims 3 and 4 share: three tasks under a layer-wise mask of the latest task's significance, over `freeze`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
from cl_runner.results import Run, load_run
from findings.results import runs, task_score
from findings.statistics import Estimate, by_seed, curve, estimate, paired_difference

PRESETS = ["latest_mask_regression", "latest_mask_mnist"]
QUICK = {
    "latest_mask_regression": ["train.epochs=100", "train.first_epochs=300"],
    "latest_mask_mnist": ["benchmark.train_samples=1000", "fisher.samples=200"],
}
# A curve is known where its mse is below 2.5 times the noise's variance, which is the least there is. The mean mse says
# how badly the worst seed lost a task; the share of seeds that know it is as robust as an accuracy.
KNOWN = 0.1


@dataclass(frozen=True)
class Sweep:
    """The runs of a preset on one benchmark.

    `scores` has, beside what `findings.results.load` gives, the column `known`: on MNIST the accuracy, on the
    regression 1 where the mse is below `KNOWN`, else 0. Changes of it down to `-tolerance` count as none.
    """

    name: str
    scores: pd.DataFrame
    tolerance: float
    regression: bool

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

    def typical_mse(self, after: int, on: int, freeze: float | None) -> str:
        """The geometric mean over seeds, as text; of accuracies a dash."""
        if not self.regression:
            return "–"
        logarithm = estimate(np.log10(by_seed(task_score(self.of(freeze), after, on))))
        mean, low, high = (10**value for value in (logarithm.mean, logarithm.low, logarithm.high))
        return Estimate(mean, low, high, logarithm.n).number(".2g")

    def known(self, after: int, on: int, freeze: float | None) -> str:
        """How well a task is known, in words."""
        share = estimate(self.level(after, on, freeze))
        return f"known in {100 * share.mean:.0f} % of the seeds" if self.regression else f"{share.percent()} % accuracy"

    def about_same(self, change: Estimate) -> bool | None:
        """Whether nothing was lost but what is tolerated; None where the interval reaches beyond the tolerance."""
        if change.mean >= -self.tolerance:
            return True
        return False if change.high < -self.tolerance else None

    def per_run(self, quantity: Callable[[Run], Mapping[str, float]]) -> pd.DataFrame:
        """Means over the seeds of what `quantity` finds in the files of each run, by freeze."""
        masked = runs(self.scores[self.scores["method"] != "finetune"])
        found = pd.DataFrame([quantity(load_run(directory)) for directory in masked["directory"]])
        return found.groupby(masked["freeze"]).mean()


def sweeps(results: Mapping[str, pd.DataFrame]) -> list[Sweep]:
    """The two of `PRESETS`. Tolerated are 3 points of accuracy, and one in ten seeds."""
    curves, images = (results[preset] for preset in PRESETS)
    return [
        Sweep("regression", curves.assign(known=(curves["score"] < KNOWN).astype(float)), 0.1, True),
        Sweep("permuted MNIST", images.assign(known=images["score"]), 0.03, False),
    ]


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
        title=f"{sweep.name}, {runs_in_words(sweep.scores['seed'].nunique(), 'seed')}",
        xlabel="frozen in each layer, in % (0: fine-tuning)",
        ylabel="test error (mse)" if sweep.regression else "test accuracy in %",
    )
    faint_grid(axes)


def _line(axes: Axes, sweep: Sweep, rows: pd.DataFrame, way: Look, shift: float, name: str) -> None:
    shown = rows.assign(score=np.log10(rows["score"]) if sweep.regression else 100 * rows["score"])
    line = curve(shown, "place")[["mean", "low", "high"]]
    values = 10 ** shown["score"] if sweep.regression else shown["score"]
    line = 10**line if sweep.regression else line
    axes.scatter(rows["place"], values, s=5, color=way.colour, alpha=0.25, lw=0)
    ends = line["low"].to_numpy(), line["high"].to_numpy()
    with_intervals(axes, line.index.to_numpy(dtype=float), line["mean"].to_numpy(), ends, way, shift, name)
