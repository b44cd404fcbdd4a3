"""Claim 7: L1 sparsity lets a small mask protect the old tasks."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_runner.report.drawing import (
    Look,
    faint_grid,
    legend_below,
    look,
    looks,
    new_figure,
    style,
    titled,
    with_intervals,
)
from findings.page import Finding, Verdict
from findings.sparsity import Sweep
from findings.statistics import curve, mean_share, paired_difference

NUMBER = 7
PRESETS = ["sparsity_regression", "sparsity_mnist"]
QUICK = {
    "sparsity_regression": ["train.epochs=100", "train.first_epochs=300", "method.l1_lambda=0,0.01"],
    "sparsity_mnist": [
        "benchmark.train_samples=1000",
        "fisher.samples=200",
        "freeze=0.1,0.5",
        "method.l1_lambda=0,0.1,0.3",
    ],
}

# What of task 1 is shown over the strength of L1, by its name in `sparsity.significance_facts`.
_SHOWN = {
    "zero": "weights that are zero",
    "in_zero": "significance in these",
    "holders": "parameters that hold 90 % of the significance",
    "frozen": "significance that the mask freezes (single parameters)",
}


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Masks of the smallest freeze are compared with and without L1, for each unit that is frozen.

    L1 of a strength helps if with it the old tasks are clearly known better at the end, while tasks are learned about
    as well; `knowledge.Benchmark` says what "known" and "about" mean. The claim is confirmed if on both benchmarks and
    for both units some strength helps, and refuted if none does anywhere.
    """
    found = [Sweep.curves(results[PRESETS[0]]), Sweep.images(results[PRESETS[1]])]
    facts = [sweep.facts() for sweep in found]
    verdict, words = _verdict(found)
    answer = [
        f"Old tasks at the end, at freeze={found[0].freezes[0]:g}, with L1 against none, in points:\n\n"
        + "\n".join(map(_measured, found)),
        "What L1 does to the significance for task 1 (but for EWC's estimate, means over layers):\n\n"
        + "\n".join(_reasons(*item) for item in zip(found, facts, strict=True)),
        "A weight at zero need not be insignificant: its gradient depends on its input and on the signal behind it, "
        "not on its own value. And the L1 step goes on in later tasks, where it draws all that is free towards zero, "
        "whichever task needs it. (The regression's last layer is one neuron, which a mask of neurons leaves free.)",
        "What share of the significance a mask freezes is not all that counts either, as the free parameters go far "
        f"(claim 3). Without L1 it is, at freeze={found[0].freezes[0]:g}, "
        + "; ".join(_covered(*item) for item in zip(found, facts, strict=True))
        + ".",
    ]
    return [
        Finding(
            name="sparsity",
            title="Does L1 sparsity let a small mask protect the old tasks?",
            claim="L1 sparsity lets a small freeze ratio protect old tasks.",
            verdict=verdict,
            words=words,
            answer="\n\n".join(answer),
            figure=_draw(found, facts),
            table=pd.concat([_table(*item) for item in zip(found, facts, strict=True)]),
        )
    ]


def _helps(sweep: Sweep, unit: str, strength: float) -> bool:
    return sweep.gain(unit, strength).above(0) and sweep.about_same(sweep.cost(unit, strength)) is True


def _verdict(found: Sequence[Sweep]) -> tuple[Verdict, str]:
    words = []
    for sweep in found:
        gains = [sweep.gain(*trial) for trial in sweep.trials()]
        better, worse = sum(gain.above(0) for gain in gains), sum(gain.below(0) for gain in gains)
        words.append(f"on {sweep.name} with {better} of {len(gains)} settings of L1, and worse with {worse}")
    helped = [
        [any(_helps(sweep, unit, strength) for strength in sweep.strengths[1:]) for unit in sweep.units]
        for sweep in found
    ]
    verdict: Verdict = "confirmed" if all(map(all, helped)) else "depends" if any(map(any, helped)) else "refuted"
    return verdict, f"at freeze={found[0].freezes[0]:g} old tasks are kept better {'; '.join(words)}."


def _measured(sweep: Sweep) -> str:
    """A line for each unit."""
    small, large = sweep.freezes[0], sweep.freezes[-1]
    lines = []
    for unit in sweep.units:
        gains = {strength: sweep.gain(unit, strength) for strength in sweep.strengths[1:]}
        best, strongest = max(gains, key=lambda strength: gains[strength].mean), sweep.strengths[-1]
        more = paired_difference(sweep.kept(unit, large, 0), sweep.kept(unit, small, 0))
        mse = f", mse times {_factor(sweep, unit, best)}" if sweep.regression else ""
        lines.append(
            f"- {sweep.name}, mask of {unit}s: {gains[best].points()} with the best l1_lambda, {best:g} (tasks just "
            f"learned: {sweep.cost(unit, best).points()}{mse}); {gains[strongest].points()} with the strongest, "
            f"{strongest:g} ({sweep.cost(unit, strongest).points()}); {more.points()} by freezing {large:g} instead, "
            "without L1"
        )
    return "\n".join(lines)


def _reasons(sweep: Sweep, facts: pd.DataFrame) -> str:
    strength = sweep.strengths[-1]
    losses = facts[facts["unit"] == "parameter"].groupby("strength")["losses"].mean()
    mean = facts[facts["unit"] == "parameter"].groupby("strength")[[*_SHOWN, "shrunk", "regrown"]].mean()
    none, strong = (mean.loc[value].mul(100).round().astype(int) for value in (0, strength))
    return (
        f"- {sweep.name}: with l1_lambda={strength:g} {strong['zero']} % of the weights are zero, and these hold "
        f"{strong['in_zero']} % of the weights' significance. 90 % of all significance lie in {strong['holders']} % of "
        f"the parameters (without L1: {none['holders']} %), and the mask of parameters freezes {strong['frozen']} % of "
        f"it ({none['frozen']} %). EWC's estimate of what task 2 costs task 1 is "
        f"{losses[strength] / losses[0]:.2g} times that without L1; {strong['shrunk']} % of it "
        f"come from weights that task 2 draws towards zero ({none['shrunk']} %), {strong['regrown']} % from zeros that "
        "grow again"
    )


def _covered(sweep: Sweep, facts: pd.DataFrame) -> str:
    share = facts[(facts["unit"] == "parameter") & (facts["strength"] == 0)]["frozen"].mean()
    setting = "parameter", sweep.freezes[0], 0
    old, new = (100 * quantity(*setting).mean() for quantity in (sweep.kept, sweep.learned))
    measure = "by {:.0f} % of the seeds" if sweep.regression else "with {:.0f} % accuracy"
    return (
        f"{100 * share:.0f} % on {sweep.name}, where tasks are known {measure.format(new)} when just learned, and old "
        f"ones {measure.format(old)} at the end"
    )


def _factor(sweep: Sweep, unit: str, strength: float) -> str:
    """The typical mse on the old tasks, relative to that without L1."""
    small = sweep.freezes[0]
    return sweep.mse_ratio(sweep.old(unit, small, strength), sweep.old(unit, small, 0))


def _table(sweep: Sweep, facts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for unit in sweep.units:
        for strength in sweep.strengths:
            setting = unit, sweep.freezes[0], strength
            kept = mean_share(sweep.kept(*setting))
            shares = facts[(facts["unit"] == unit) & (facts["strength"] == strength)].mean(numeric_only=True)
            rows.append(
                {
                    "benchmark": sweep.name,
                    "unit": unit,
                    "L1": f"{strength:g}",
                    "old tasks kept, %": kept.percent(),
                    "against no L1": sweep.gain(unit, strength).points() if strength else "–",
                    "old tasks, mse": sweep.typical_mse(sweep.old(*setting)),
                    "times that without L1": _factor(sweep, unit, strength) if strength else "–",
                    "learned, %": mean_share(sweep.learned(*setting)).percent(),
                    "zero weights after the first, last task, %": f"{100 * shares['zero']:.0f}, "
                    f"{100 * shares['zero_end']:.0f}",
                    "significance in zero weights, %": f"{100 * shares['in_zero']:.0f}",
                    "90 % of it in, %": f"{100 * shares['holders']:.0f}",
                    "frozen of it, %": f"{100 * shares['frozen']:.0f}",
                    "n": kept.n,
                }
            )
    return pd.DataFrame(rows)


def _draw(found: Sequence[Sweep], facts: Sequence[pd.DataFrame]) -> Figure:
    with style():
        figure = new_figure(11, 6.4)
        panels = figure.subplots(len(found), 3)
        seeds = " and ".join(str(sweep.seeds) for sweep in found)
        for row, sweep, known in zip(panels, found, facts, strict=True):
            _performance(row[:2], sweep)
            _significance(row[2], known, max(len(other.freezes) for other in found))
            for axes in row:
                axes.set_xticks(range(len(sweep.strengths)), [f"{strength:g}" for strength in sweep.strengths])
                axes.set_xlabel("strength of L1")
                faint_grid(axes)
        legend_below(figure, panels[::-1].flat)
        titled(
            figure,
            "What is kept and learned, and where the significance lies, the stronger L1 is",
            f"mean and 95 % interval over {seeds} seeds; significance: of task 1, mean over layers",
        )
    return figure


def _performance(panels: Sequence[Axes], sweep: Sweep) -> None:
    """What is kept of old tasks, and learned, by share and unit frozen."""
    settings = [(freeze, unit) for freeze in sweep.freezes for unit in sweep.units]
    names = [f"{freeze:g}" for freeze, _ in settings]
    for number, ((freeze, unit), way) in enumerate(
        zip(settings, looks(names, list(dict.fromkeys(names))), strict=True)
    ):
        shift = (number - (len(settings) - 1) / 2) / 2
        for axes, quantity in zip(panels, (sweep.kept, sweep.learned), strict=True):
            values = [quantity(unit, freeze, strength) for strength in sweep.strengths]
            rows = pd.concat([value.reset_index().assign(place=place) for place, value in enumerate(values)])
            _line(axes, rows, "known", way, shift, f"freeze={freeze:g}, {unit}")
    measure = "seeds that know it, in %" if sweep.regression else "test accuracy in %"
    for axes, title in zip(panels, ("old tasks, at the end", "each task, just learned"), strict=True):
        axes.set(title=f"{sweep.name}: {title}", ylabel=measure)
        axes.autoscale_view()
    panels[1].sharey(panels[0])
    panels[0].set_ylim(top=102)


def _significance(axes: Axes, facts: pd.DataFrame, taken: int) -> None:
    """Where the first task's significance lies, in colours that are not `taken`."""
    places = facts[facts["unit"] == "parameter"].assign(place=facts["strength"].rank(method="dense") - 1)
    for number, (quantity, name) in enumerate(_SHOWN.items(), taken):
        _line(axes, places, quantity, look(number), 0, name)
    axes.set(title="significance", ylabel="share in %", ylim=(0, 100))


def _line(axes: Axes, rows: pd.DataFrame, column: str, way: Look, shift: float, name: str) -> None:
    line = 100 * curve(rows, "place", column, 0, 1)[["mean", "low", "high"]]
    ends = line["low"].to_numpy(), line["high"].to_numpy()
    with_intervals(axes, line.index.to_numpy(dtype=float), line["mean"].to_numpy(), ends, way, shift, name)
