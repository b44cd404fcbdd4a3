"""Claim 5: whose significance the mask is made of decides what is kept, by which estimator matters less."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_runner.report.drawing import NARROW, faint_grid, legend_below, look, new_figure, style, titled, with_intervals
from cl_runner.report.words import runs_in_words
from cl_runner.results.run import load_run
from findings.known import KNOWN
from findings.page import Finding, Verdict
from findings.results import runs, table
from findings.statistics import Estimate, by_seed, estimate, mean_share, paired_difference

NUMBER = 5
PRESETS = ["mask_sources_regression", "mask_sources_mnist"]
QUICK = {
    "mask_sources_regression": ["train.epochs=200", "train.first_epochs=250", "fisher.estimator=empirical"],
    "mask_sources_mnist": ["benchmark.train_samples=2000", "fisher.samples=200", "freeze=0.5"],
}

SOURCES = ["latest", "max", "sum", "union"]
MASKS = ["global_mask", "layerwise_mask"]
# A setting keeps and learns all tasks if so many seeds do.
RELIABLE = 0.8
_KEYS = ["method", "freeze", "fisher.estimator", "method.mask_source"]
Key = tuple[str, float, str, str]


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What an independent trial found on the regression, and whether it holds on MNIST."""
    return [_regression(results["mask_sources_regression"]), _mnist(results["mask_sources_mnist"])]


def _regression(scores: pd.DataFrame) -> Finding:
    """The trial's three statements, each judged by the share of seeds that know all tasks at the end.

    At freeze=0.5 with the empirical Fisher: global masks by `sum` and by `union` keep and learn all tasks, which means
    `RELIABLE` of the seeds; `latest` knows them in fewer, by intervals that exclude 0; so do layer-wise masks by `sum`
    and `union`. Confirmed if all three hold, refuted if none does.
    """
    ends, tasks = _ends(scores)
    shares = _by_setting(ends.assign(score=(ends[tasks] < KNOWN).all(axis=1).astype(float)))
    trial = {(mask, source): shares[(mask, 0.5, "empirical", source)] for mask in MASKS for source in SOURCES}
    counted = ("sum", "union")
    reliable = all(trial["global_mask", source].mean() >= RELIABLE for source in counted)
    over_latest, over_layers = (
        {source: paired_difference(trial["global_mask", source], trial[other]) for source, other in rivals.items()}
        for rivals in (
            dict.fromkeys(counted, ("global_mask", "latest")),
            {source: ("layerwise_mask", source) for source in counted},
        )
    )
    ahead, above = (all(lead.above(0) for lead in leads.values()) for leads in (over_latest, over_layers))
    said = {key: f"{100 * values.mean():.0f} %" for key, values in trial.items()}
    words = (
        f"all tasks are known to {said['global_mask', 'sum']} of the seeds by `sum` and to "
        f"{said['global_mask', 'union']} by `union`, which is {'' if reliable else 'not '}reliable; by `latest` to "
        f"{said['global_mask', 'latest']}, {'clearly' if ahead else 'not clearly'} fewer; with layer-wise masks to "
        f"{said['layerwise_mask', 'sum']} and {said['layerwise_mask', 'union']}, "
        f"{'clearly' if above else 'not clearly'} fewer."
    )
    parts = (reliable, ahead, above)
    verdict: Verdict = "confirmed" if all(parts) else "depends" if any(parts) else "refuted"
    kept = _kept_of_the_first_mask(ends)
    best = max(shares, key=lambda key: (shares[key].mean(), -ends.loc[_is(ends, key), tasks].to_numpy().mean()))
    answer = (
        f"A task counts as known where its mean squared error is below {KNOWN:g}, two and a half times the variance of "
        f"the noise. Of all settings here the most reliable is a {_mask(best[0])} mask at freeze={best[1]:g} by "
        f"`{best[3]}` with the {best[2]} Fisher: {100 * shares[best].mean():.0f} % of the seeds know all tasks.\n\n"
        "Why the source matters: of what the mask of task 1 had frozen, there was still frozen while the last task was "
        f"trained (global mask, freeze=0.5, empirical) {_listed(kept)}.\n\n"
        f"`sum` is ahead of `latest` by {over_latest['sum'].points()} percentage points. By estimator, global mask at "
        f"freeze=0.5 by `sum`: {_by_estimator(shares)} of the seeds know all tasks. Here `batched` takes the whole set "
        "as one batch, as the posts did. It squares the mean gradient, which training has brought close to zero, so "
        "that much of what is left is chance."
    )
    return Finding(
        name="mask_sources_regression",
        title="Whose significance should a mask protect? The regression",
        claim="On the regression a global mask at freeze=0.5 by `sum` or `union` with the empirical Fisher keeps and "
        "learns all three tasks, where `latest` loses the first; layer-wise masks do not.",
        verdict=verdict,
        words=words,
        answer=answer,
        figure=_draw_regression(ends, tasks, shares),
        table=_table_of_errors(ends, tasks, shares),
    )


def _mnist(scores: pd.DataFrame) -> Finding:
    """Each source's lead over `latest` in average accuracy, paired by seed, by mask, freeze and estimator.

    Confirmed if `max`, `sum` and `union` are ahead in every condition, by an interval that excludes 0; refuted if in
    none.
    """
    ends, tasks = _ends(scores)
    means = _by_setting(ends.assign(score=ends[tasks].mean(axis=1)))
    leads = {
        source: [
            paired_difference(values, means[(*key[:3], "latest")]) for key, values in means.items() if key[3] == source
        ]
        for source in SOURCES
        if source != "latest"
    }
    ahead, behind = (
        {source: sum(test(lead) for lead in found) for source, found in leads.items()}
        for test in (lambda lead: lead.above(0), lambda lead: lead.below(0))
    )
    conditions = list(dict.fromkeys(key[:3] for key in means))
    total = len(conditions)
    compared = [
        f"`{name}` is clearly ahead of `latest` in {ahead[name]} and behind in {behind[name]}" for name in leads
    ]
    words = f"in {total} conditions of mask, freeze and estimator {', '.join(compared)}."
    verdict: Verdict = "depends"
    if all(count == total for count in ahead.values()):
        verdict = "confirmed"
    elif not any(ahead.values()):
        verdict = "refuted"
    gains = [
        f"- `{source}`: {_span([lead.mean for lead in found])} percentage points" for source, found in leads.items()
    ]
    spread = [
        max(found) - min(found)
        for key in means
        if (found := [values.mean() for other, values in means.items() if _but_estimator(other) == _but_estimator(key)])
    ]
    frozen = {source: _frozen_at_the_end(ends, source) for source in ("sum", "union")}
    answer = (
        f"Against `latest`, in average accuracy after {len(tasks)} tasks:\n\n"
        + "\n".join(gains)
        + "\n\nA union never gives back what was frozen, and so freezes more with every task: while the last one was "
        f"trained, {frozen['union']} of the parameters at freeze=0.5, where `sum` has {frozen['sum']}. The estimator "
        f"moves the average accuracy by at most {100 * max(spread):.1f} points at the same mask, freeze and source."
    )
    return Finding(
        name="mask_sources_mnist",
        title="Whose significance should a mask protect? MNIST",
        claim="On MNIST too a mask that counts all old tasks keeps more than the latest task's, by every source.",
        verdict=verdict,
        words=words,
        answer=answer,
        figure=_draw_mnist(ends, len(tasks), means),
        table=_table_of_accuracies(means),
        advice="Let masks count every old task by `method.mask_source=sum`: on permuted MNIST that gives "
        f"{_span([lead.mean for lead in leads['sum']])} percentage points against the latest task's mask, a union "
        f"{_span([lead.mean for lead in leads['union']])}.",
    )


def _ends(scores: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A row per run, with its scores on each task at the end in the columns named in the second value."""
    last = scores[scores["after_task"] == scores["after_task"].max()]
    tasks = last.pivot_table(index="directory", columns="eval_task", values="score").add_prefix("task ")
    return runs(scores).merge(tasks, left_on="directory", right_index=True), list(tasks.columns)


def _by_setting(rows: pd.DataFrame) -> dict[Key, pd.Series]:
    """The scores of each setting by seed."""
    keys = rows[_KEYS].drop_duplicates().to_numpy().tolist()
    return {(a, b, c, d): by_seed(rows[_is(rows, (a, b, c, d))]) for a, b, c, d in keys}


def _frozen_at_the_end(ends: pd.DataFrame, source: str) -> str:
    """Share of parameters frozen in the last task at freeze=0.5, over masks and estimators."""
    layers = table(ends[(ends["method.mask_source"] == source) & (ends["freeze"] == 0.5)], "layers.csv")
    last = layers[layers["task"] == layers["task"].max()]
    return f"{100 * last['frozen'].sum() / last['parameters'].sum():.0f} %"


def _kept_of_the_first_mask(ends: pd.DataFrame) -> dict[str, Estimate]:
    """By source, the share of task 1's mask that is still frozen in the last task, of global masks at freeze=0.5."""
    found = {}
    for source in SOURCES:
        rows = ends[_is(ends, ("global_mask", 0.5, "empirical", source))]
        shares = [_still_frozen(Path(directory)) for directory in rows["directory"]]
        found[source] = mean_share(pd.Series(shares, index=rows["seed"]))
    return found


def _still_frozen(directory: Path) -> float:
    masks = load_run(directory).masks
    first, last = ([mask == 0 for mask in masks[task].values()] for task in (2, max(masks)))
    both = sum(int((one & other).sum()) for one, other in zip(first, last, strict=True))
    return both / sum(int(one.sum()) for one in first)


def _is(rows: pd.DataFrame, key: Sequence[object]) -> pd.Series:
    return pd.concat([rows[name] == value for name, value in zip(_KEYS, key, strict=True)], axis=1).all(axis=1)


def _listed(kept: Mapping[str, Estimate]) -> str:
    return ", ".join(f"{share.percent()} % by `{source}`" for source, share in kept.items())


def _by_estimator(shares: Mapping[Key, pd.Series]) -> str:
    found = {key[2]: values for key, values in shares.items() if key[:2] == ("global_mask", 0.5) and key[3] == "sum"}
    return ", ".join(f"{name} {100 * values.mean():.0f} %" for name, values in found.items())


def _but_estimator(key: Key) -> tuple[str, float, str]:
    return key[0], key[1], key[3]


def _span(values: Sequence[float]) -> str:
    return f"{100 * min(values):+.1f} to {100 * max(values):+.1f}"


def _mask(method: str) -> str:
    return {"global_mask": "global", "layerwise_mask": "layer-wise"}[method]


def _table_of_errors(ends: pd.DataFrame, tasks: Sequence[str], shares: Mapping[Key, pd.Series]) -> pd.DataFrame:
    rows = []
    for key, values in shares.items():
        own = ends[_is(ends, key)]
        errors = {f"mse, {task}": f"{own[task].mean():.2g}" for task in tasks}
        known = f"{100 * values.mean():.0f}"
        rows.append({**dict(zip(_KEYS, key, strict=True)), **errors, "know all, %": known, "n": len(values)})
    return pd.DataFrame(rows)


def _table_of_accuracies(means: Mapping[Key, pd.Series]) -> pd.DataFrame:
    rows: dict[tuple[str, float, str], dict[str, object]] = {}
    for (method, freeze, estimator, source), values in means.items():
        row = rows.setdefault(
            (method, freeze, estimator), {"method": method, "freeze": freeze, "fisher.estimator": estimator}
        )
        row[f"{source}, %"] = mean_share(values).percent()
        row["n"] = len(values)
    table = pd.DataFrame(rows.values())
    return table[[*(name for name in table.columns if name != "n"), "n"]]


def _draw_regression(ends: pd.DataFrame, tasks: Sequence[str], shares: Mapping[Key, pd.Series]) -> Figure:
    seeds = runs_in_words(ends["seed"].nunique(), "seed")
    with style():
        figure = new_figure(1.5 * NARROW, 5.6)
        grid = figure.subplots(2, 2, sharex=True, sharey="row")
        errors = {key: by_seed(ends[_is(ends, key)].assign(score=ends[list(tasks)].mean(axis=1))) for key in shares}
        for column, mask in enumerate(MASKS):
            _points(grid[0, column], {key: values for key, values in shares.items() if key[0] == mask}, 100, 1)
            _points(grid[1, column], {key: values for key, values in errors.items() if key[0] == mask}, 1, np.inf)
            grid[0, column].set_title(f"{_mask(mask)} mask")
            grid[0, column].set_ylim(-4, 104)
            grid[1, column].set_yscale("log")
            grid[1, column].axhline(0.04, color="0.6", lw=1, ls=":")
            grid[1, column].set_xlabel("mask_source")
        grid[0, 0].set_ylabel("seeds that know\nall tasks, in %")
        grid[1, 0].set_ylabel("mean squared error,\nmean over tasks")
        legend_below(figure, grid.ravel())
        titled(
            figure,
            f"Which tasks' significance must a mask count, for all {len(tasks)} tasks to be known at the end?",
            f"regression on adjoining intervals; mean and 95 % interval over {seeds}; dotted: the noise's variance",
        )
    return figure


def _draw_mnist(ends: pd.DataFrame, tasks: int, means: Mapping[Key, pd.Series]) -> Figure:
    seeds = runs_in_words(ends["seed"].nunique(), "seed")
    with style():
        figure = new_figure(1.5 * NARROW, 3.9)
        grid = figure.subplots(1, 2, sharey=True)
        for column, mask in enumerate(MASKS):
            _points(grid[column], {key: values for key, values in means.items() if key[0] == mask}, 100, 1)
            grid[column].set_title(f"{_mask(mask)} mask")
            grid[column].set_xlabel("mask_source")
        grid[0].set_ylabel(f"average accuracy after {tasks} tasks, in %")
        legend_below(figure, grid)
        titled(
            figure,
            "Which tasks' significance should a mask count?",
            f"permuted MNIST; mean and 95 % interval over {seeds}",
        )
    return figure


def _points(axes: Axes, values: Mapping[Key, pd.Series], scale: float, most: float) -> None:
    """A line over the sources for each freeze and estimator; no value is above `most`."""
    lines = list(dict.fromkeys(key[1:3] for key in values))
    mask = next(iter(values))[0]
    for number, (freeze, estimator) in enumerate(lines):
        found = [estimate(values[(mask, freeze, estimator, source)], 0, most) for source in SOURCES]
        mean, low, high = scale * np.array([(item.mean, item.low, item.high) for item in found]).T
        shift = 2 * (number - (len(lines) - 1) / 2)
        label = f"freeze={freeze:g}, {estimator}"
        with_intervals(axes, np.arange(len(SOURCES), dtype=float), mean, (low, high), look(number), shift, label)
    axes.set_xticks(range(len(SOURCES)), SOURCES)
    axes.margins(x=0.1)
    axes.autoscale_view()
    faint_grid(axes)
