"""Claim 3: a layer-wise mask that freezes 90 % learns task 2 and keeps task 1."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cl_runner.results.run import Run
from findings.latest_mask import PRESETS, QUICK, Sweep, draw, listed, sweeps
from findings.page import Finding, Verdict
from findings.parameters import parameters, trainable
from findings.statistics import mean_share, paired_difference

__all__ = ["NUMBER", "PRESETS", "QUICK", "finding"]

NUMBER = 3

_FREEZE = 0.9


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """The state after task 2 at freeze=0.9 is judged.

    Task 2 counts as learned if it is known about as well as by fine-tuning, task 1 as kept if about as well as right
    after it was learned; `knowledge.Benchmark` says what "known" and "about" mean. The claim is confirmed if both hold
    on both benchmarks, and refuted if on each of them one clearly does not.
    """
    found = sweeps(results)
    verdict, words = _verdict(found)
    travels = [_travels(sweep) for sweep in found]
    ideals = [_ideal(sweep) for sweep in found]
    answer = [
        f"After task 2, at freeze={_FREEZE:g}:\n\n" + "\n".join(map(_measured, found)),
        "The best compromise for a second task, by the mean over both tasks, and so where to start from:\n\n"
        + "\n".join(_told(*item) for item in zip(found, ideals, strict=True)),
        "Significance tells what a small step of a parameter costs the first task, and little of a long one. The fewer "
        "are free, the farther they must go: how far task 2 moves them (root mean square):\n\n"
        + "\n".join(_farther(*item) for item in zip(found, travels, ideals, strict=True)),
    ]
    return [
        Finding(
            name="second_task",
            title="Does a mask that freezes 90 % learn a second task and keep the first?",
            claim="A layer-wise mask from task 1 with freeze=0.9 learns task 2 and keeps task 1.",
            verdict=verdict,
            words=words,
            answer="\n\n".join(answer),
            figure=draw(
                found,
                "What is learned of task 2, and kept of task 1, the more is frozen?",
                {"task 1, after task 2": (2, 1), "task 2, just learned": (2, 2)},
            ),
            table=pd.concat([_table(*item) for item in zip(found, travels, strict=True)]),
        )
    ]


def _verdict(found: Sequence[Sweep]) -> tuple[Verdict, str]:
    changes = [(sweep.learned(2, _FREEZE), sweep.kept(2, _FREEZE)) for sweep in found]
    states = [[sweep.about_same(change) for change in both] for sweep, both in zip(found, changes, strict=True)]
    form = {True: "is", False: "is not", None: "may not be"}
    words = [
        f"on {sweep.name} task 2 {form[learned]} learned as well as by fine-tuning ({100 * gain.mean:+z.1f} points), "
        f"task 1 {form[kept]} kept ({100 * loss.mean:+z.1f})"
        for sweep, (gain, loss), (learned, kept) in zip(found, changes, states, strict=True)
    ]
    verdict: Verdict = "depends"
    if all(state is True for both in states for state in both):
        verdict = "confirmed"
    elif all(False in both for both in states):
        verdict = "refuted"
    return verdict, "; ".join(words) + "."


def _measured(sweep: Sweep) -> str:
    learned, kept = sweep.learned(2, _FREEZE), sweep.kept(2, _FREEZE)
    return (
        f"- {sweep.name}: task 2 is {sweep.told(2, 2, _FREEZE)}, {learned.points()} points against fine-tuning; "
        f"task 1 is {sweep.told(2, 1, _FREEZE)}, {kept.points()} points against right after it was learned "
        f"(fine-tuning: {sweep.kept(2, None).points()})"
    )


def _both(sweep: Sweep, freeze: float | None) -> pd.Series:
    """How well both tasks are known after the second, by seed."""
    return (sweep.level(2, 1, freeze) + sweep.level(2, 2, freeze)) / 2


def _ideal(sweep: Sweep) -> pd.Series:
    """Leads of the freeze at which both tasks are known best, by freeze, in order of what they leave: itself first."""
    levels = {freeze: _both(sweep, freeze) for freeze in sweep.freezes}
    order = sorted(levels, key=lambda freeze: -levels[freeze].mean())
    return pd.Series({freeze: paired_difference(levels[order[0]], levels[freeze]) for freeze in order})


def _told(sweep: Sweep, leads: pd.Series) -> str:
    best, *others = leads.index
    as_good = sorted(freeze for freeze in others if not leads[freeze].above(0))
    above = paired_difference(_both(sweep, best), _both(sweep, None))
    return (
        f"- {sweep.name}: freeze={best:g}, {above.points()} points above fine-tuning, {leads[_FREEZE].points()} above "
        f"freeze={_FREEZE:g}; not clearly worse: {listed(as_good, sweep)}"
    )


def _farther(sweep: Sweep, travels: pd.Series, leads: pd.Series) -> str:
    """How far parameters go at the least and the most that is frozen, the best and the claimed freeze."""
    shown = sorted({sweep.freezes[0], leads.index[0], _FREEZE, sweep.freezes[-1]})
    return f"- {sweep.name}: " + ", ".join(f"{travels[freeze]:.2g} at freeze={freeze:g}" for freeze in shown)


def _travels(sweep: Sweep) -> pd.Series:
    """How far task 2 moves a free parameter, by freeze."""
    return sweep.per_run(_travel)["travel"]


def _travel(run: Run) -> dict[str, float]:
    moved = (parameters(run, 2) - parameters(run, 1))[trainable(run, 2)]
    return {"travel": float(moved.square().mean().sqrt())}


def _table(sweep: Sweep, travels: pd.Series) -> pd.DataFrame:
    rows = []
    for freeze in (None, *sweep.freezes):
        both = mean_share(_both(sweep, freeze))
        rows.append(
            {
                "benchmark": sweep.name,
                "frozen, %": f"{100 * freeze:g}" if freeze else "0 (finetune)",
                "task 2 known, %": mean_share(sweep.level(2, 2, freeze)).percent(),
                "task 1 known after task 2, %": mean_share(sweep.level(2, 1, freeze)).percent(),
                "both, %": both.percent(),
                "task 1 after task 2, mse": sweep.mse(2, 1, freeze),
                "travel": f"{travels[freeze]:.2g}" if freeze else "–",
                "n": both.n,
            }
        )
    return pd.DataFrame(rows)
