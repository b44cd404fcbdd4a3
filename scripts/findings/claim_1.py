"""Claim 1: EWC's pulls pile up, and the newest of many tasks is learned worse and worse."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cl_runner.report.drawing import (
    NARROW,
    faint_grid,
    legend_below,
    looks,
    new_figure,
    style,
    titled,
    with_intervals,
)
from cl_runner.report.words import runs_in_words
from findings.page import Finding, Verdict
from findings.results import average_score, learning_score
from findings.statistics import Estimate, by_seed, curve, estimate, mean_share, paired_difference

NUMBER = 1
PRESETS = ["pile_up"]
QUICK = {"pile_up": ["benchmark.tasks=6", "benchmark.train_samples=2000", "fisher.samples=200"]}

_BASELINE = "finetune"


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """A quarter of the tasks at the start, in the middle and at the end of the sequence are compared.

    Fine-tuning has nothing that pulls, yet need not learn later tasks as well as the first. So what counts is the
    change of learning accuracy beyond fine-tuning's, paired by seed. The claim says that it is below 0 at every
    strength of EWC, and that it goes on after the middle. It is refuted if the change is below 0 at no strength.
    """
    scores = results["pile_up"]
    learned = learning_score(scores)
    tasks = int(learned["task"].max())
    width = max(1, tasks // 4)
    early, middle, late = (range(start, start + width) for start in (1, 1 + (tasks - width) // 2, 1 + tasks - width))
    settings = list(learned["setting"].unique())
    ewc = list(learned.loc[learned["method"] == "ewc", "setting"].unique())
    whole, second_half = (
        {setting: _beyond_baseline(learned, setting, start, late) for setting in settings if setting != _BASELINE}
        for start in (early, middle)
    )
    verdict, words = _verdict([whole[name] for name in ewc], [second_half[name] for name in ewc])
    strengths = [
        f"- {name}: {whole[name].points()} points, of which {second_half[name].points()} after the middle of the tasks"
        for name in ewc
    ]
    others = [f"{name} {change.points()}" for name, change in whole.items() if name not in ewc]
    answer = (
        "Learning accuracy is the test accuracy on a task right after it was learned. Fine-tuning's changes by "
        f"{estimate(_change(learned, _BASELINE, early, late)).points()} percentage points from {_span(early)} to "
        f"{_span(late)}. With EWC it changes by so much more, in the difference to fine-tuning:\n\n"
        + "\n".join(strengths)
        + f"\n\nThe other methods in the same measure: {'; '.join(others)}."
    )
    return [
        Finding(
            name="pile_up",
            title="Do EWC's pulls pile up?",
            claim="EWC's pulls pile up: with more tasks the newest is learned worse and worse.",
            verdict=verdict,
            words=words,
            answer=answer,
            figure=_draw(learned, settings),
            table=_table(scores, learned, early, late, whole),
            advice=_advice(learned, ewc[-1], late),
        )
    ]


def _advice(learned: pd.DataFrame, strongest: str, late: range) -> str:
    ends = {
        name: 100 * _level(learned, setting, late).mean()
        for name, setting in (("ewc", strongest), ("mask", _first(learned, "global_mask")))
    }
    strength = learned.loc[learned["setting"] == strongest, "method.ewc_lambda"].iloc[0]
    return (
        f"With many tasks beware of a strong EWC, whose pulls pile up: at `ewc_lambda={strength:g}` the last of "
        f"{learned['task'].max()} tasks are learned to {ends['ewc']:.0f} %, with a global mask to {ends['mask']:.0f} %."
    )


def _first(learned: pd.DataFrame, method: str) -> str:
    return str(learned.loc[learned["method"] == method, "setting"].iloc[0])


def _beyond_baseline(learned: pd.DataFrame, setting: str, start: range, end: range) -> Estimate:
    return paired_difference(_change(learned, setting, start, end), _change(learned, _BASELINE, start, end))


def _change(learned: pd.DataFrame, setting: str, start: range, end: range) -> pd.Series:
    """Of learning accuracy from the tasks `start` to the tasks `end`, by seed."""
    return _level(learned, setting, end) - _level(learned, setting, start)


def _level(learned: pd.DataFrame, setting: str, tasks: range) -> pd.Series:
    return by_seed(learned[(learned["setting"] == setting) & learned["task"].isin(tasks)])


def _verdict(whole: Sequence[Estimate], second_half: Sequence[Estimate]) -> tuple[Verdict, str]:
    """By the changes at the strengths of EWC; an interval that reaches 0 is no evidence."""
    worse = [change.below(0) for change in whole]
    on = [first and change.below(0) for first, change in zip(worse, second_half, strict=True)]
    if all(on):
        return "confirmed", "beyond fine-tuning learning gets worse at every strength of EWC, and to the end."
    if not any(worse):
        return "refuted", "beyond fine-tuning learning gets worse at no strength of EWC."
    counts = f"{sum(worse)} of {len(whole)} strengths of EWC, to the end at {sum(on)}"
    return "depends", f"beyond fine-tuning learning gets worse at {counts}."


def _span(tasks: range) -> str:
    return f"tasks {tasks[0]} to {tasks[-1]}" if len(tasks) > 1 else f"task {tasks[0]}"


def _table(
    scores: pd.DataFrame, learned: pd.DataFrame, early: range, late: range, whole: Mapping[str, Estimate]
) -> pd.DataFrame:
    ends = average_score(scores)
    rows = []
    for setting in learned["setting"].unique():
        first, last = (mean_share(_level(learned, setting, tasks)) for tasks in (early, late))
        rows.append(
            {
                "setting": setting,
                f"learning accuracy, {_span(early)}, %": first.percent(),
                f"learning accuracy, {_span(late)}, %": last.percent(),
                "change beyond fine-tuning's, points": whole[setting].points() if setting in whole else "–",
                "average accuracy at the end, %": mean_share(by_seed(ends[ends["setting"] == setting])).percent(),
                "n": first.n,
            }
        )
    return pd.DataFrame(rows)


def _draw(learned: pd.DataFrame, settings: Sequence[str]) -> Figure:
    methods = [learned.loc[learned["setting"] == name, "method"].iloc[0] for name in settings]
    with style():
        figure = new_figure(1.4 * NARROW, 4.2)
        axes = figure.add_subplot()
        for number, (name, way) in enumerate(zip(settings, looks(methods, list(dict.fromkeys(methods))), strict=True)):
            line = curve(learned[learned["setting"] == name], "task", least=0, most=1)
            line = 100 * line[["mean", "low", "high"]]
            ends = line["low"].to_numpy(), line["high"].to_numpy()
            shift = (number - (len(settings) - 1) / 2) / 2
            with_intervals(axes, line.index.to_numpy(dtype=float), line["mean"].to_numpy(), ends, way, shift, name)
        axes.autoscale_view()
        axes.set_xticks(np.arange(1, learned["task"].max() + 1))
        axes.set(xlabel="number of the task", ylabel="test accuracy right after learning it, in %")
        faint_grid(axes)
        legend_below(figure, [axes])
        online = learned.loc[learned["method"] == "online_ewc", "method.ewc_lambda"].iloc[0]
        frozen = learned.loc[learned["method"] == "global_mask", "freeze"].iloc[0]
        titled(
            figure,
            "How well is the newest task learned, the more tasks there were before it?",
            f"permuted MNIST; mean and 95 % interval over {runs_in_words(learned['seed'].nunique(), 'seed')}\n"
            f"online_ewc with ewc_lambda={online:g}, masks freeze {100 * frozen:g} %",
        )
    return figure
