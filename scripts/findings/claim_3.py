"""Claim 3: a layer-wise mask that freezes 90 % learns task 2 and keeps task 1."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cl_runner.results import Run
from findings.latest_mask import PRESETS, QUICK, Sweep, draw, sweeps
from findings.page import Finding, Verdict
from findings.parameters import parameters, trainable
from findings.statistics import estimate, paired_difference

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
    states = {sweep.name: _state(sweep, _FREEZE) for sweep in found}
    verdict, words = _verdict(states)
    travels = [_travels(sweep) for sweep in found]
    return [
        Finding(
            name="second_task",
            title="Does a mask that freezes 90 % learn a second task and keep the first?",
            claim="A layer-wise mask from task 1 with freeze=0.9 learns task 2 and keeps task 1.",
            verdict=verdict,
            words=words,
            answer="\n\n".join(
                [
                    f"After task 2, at freeze={_FREEZE:g}:\n\n" + "\n".join(map(_measured, found)),
                    "The best compromise for a second task, by the mean over both tasks:\n\n"
                    + "\n".join(map(_ideal, found)),
                    "Significance tells what a small step of a parameter costs the first task, and little of a long "
                    "one. The fewer are free, the farther they must go: how far task 2 moves them (root mean square):"
                    "\n\n" + "\n".join(_told(*item) for item in zip(found, travels, strict=True)),
                ]
            ),
            figure=draw(
                found,
                "What is learned of task 2, and kept of task 1, the more is frozen?",
                {"task 1, after task 2": (2, 1), "task 2, just learned": (2, 2)},
            ),
            table=pd.concat([_table(*item) for item in zip(found, travels, strict=True)]),
        )
    ]


def _state(sweep: Sweep, freeze: float) -> tuple[bool | None, bool | None]:
    """Whether task 2 is learned and task 1 is kept."""
    return sweep.about_same(sweep.learned(2, freeze)), sweep.about_same(sweep.kept(2, freeze))


def _verdict(states: Mapping[str, tuple[bool | None, bool | None]]) -> tuple[Verdict, str]:
    """By benchmark, whether task 2 is learned and task 1 kept."""
    form = {True: "is {}", False: "is not {}", None: "may not be {}"}
    words = (
        "; ".join(
            f"on {name} task 2 {form[learned].format('learned')}, task 1 {form[kept].format('kept')}"
            for name, (learned, kept) in states.items()
        )
        + "."
    )
    if all(state == (True, True) for state in states.values()):
        return "confirmed", words
    return ("refuted" if all(False in state for state in states.values()) else "depends"), words


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


def _best(sweep: Sweep) -> tuple[float, list[float]]:
    """The freeze at which both tasks are known best, and those of which it is not clear that they are worse."""
    best = max(sweep.freezes, key=lambda freeze: _both(sweep, freeze).mean())
    leads = {freeze: paired_difference(_both(sweep, best), _both(sweep, freeze)) for freeze in sweep.freezes}
    return best, [freeze for freeze, lead in leads.items() if freeze != best and not lead.low > 0]


def _ideal(sweep: Sweep) -> str:
    best, as_good = _best(sweep)
    lead, behind = (paired_difference(_both(sweep, best), _both(sweep, other)).points() for other in (None, _FREEZE))
    others = f"; not clearly worse: {_listed(as_good)}" if as_good else ""
    return (
        f"- {sweep.name}: freeze={best:g}, {lead} points above fine-tuning, {behind} above freeze={_FREEZE:g}{others}"
    )


def _listed(freezes: Sequence[float]) -> str:
    return ", ".join(f"{freeze:g}" for freeze in freezes)


def _travels(sweep: Sweep) -> pd.Series:
    """How far task 2 moves a free parameter, by freeze."""
    return sweep.per_run(_travel)["travel"]


def _travel(run: Run) -> dict[str, float]:
    moved = (parameters(run, 2) - parameters(run, 1))[trainable(run, 2)]
    return {"travel": float(moved.square().mean().sqrt())}


def _told(sweep: Sweep, travels: pd.Series) -> str:
    steps = ", ".join(f"{travels[freeze]:.2g} at freeze={freeze:g}" for freeze in _landmarks(sweep))
    return f"- {sweep.name}: {steps}"


def _landmarks(sweep: Sweep) -> list[float]:
    """The least and the most that is frozen, the best and the claimed freeze."""
    return sorted({sweep.freezes[0], _best(sweep)[0], _FREEZE, sweep.freezes[-1]})


def _table(sweep: Sweep, travels: pd.Series) -> pd.DataFrame:
    rows = []
    for freeze in (None, *sweep.freezes):
        both = estimate(_both(sweep, freeze))
        rows.append(
            {
                "benchmark": sweep.name,
                "frozen, %": f"{100 * freeze:g}" if freeze else "0 (finetune)",
                "task 2 known, %": estimate(sweep.level(2, 2, freeze)).percent(),
                "task 1 known after task 2, %": estimate(sweep.level(2, 1, freeze)).percent(),
                "both, %": both.percent(),
                "task 1 after task 2, mse": sweep.mse(2, 1, freeze),
                "travel": f"{travels[freeze]:.2g}" if freeze else "–",
                "n": both.n,
            }
        )
    return pd.DataFrame(rows)
