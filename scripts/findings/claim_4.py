"""Claim 4: with a mask of task 2's significance alone, task 3 destroys task 1 unless more than 95 % is frozen."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cl_runner.results.run import Run
from findings.latest_mask import PRESETS, QUICK, Sweep, draw, listed, sweeps
from findings.page import Finding, Verdict
from findings.parameters import parameters, trainable
from findings.statistics import mean_share, paired_difference

__all__ = ["NUMBER", "PRESETS", "QUICK", "finding"]

NUMBER = 4

_LIMIT = 0.95


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Task 1 is judged after task 3, at every freeze.

    It counts as kept if it is known about as well as right after it was learned, and as destroyed if at least half of
    what learning it had gained over the untrained network is gone; `knowledge.Benchmark` says what "known" and "about"
    mean. The claim holds on a benchmark if task 1 is destroyed at every freeze up to 0.95 and kept at every one above.
    It fails there if task 1 is clearly not destroyed at some freeze up to 0.95, or clearly not kept at any above.
    It is confirmed if it holds on both benchmarks, and refuted if it fails on both.
    """
    found = sweeps(results)
    verdict, words = _verdict(found)
    paths = [sweep.per_run(_path) for sweep in found]
    return [
        Finding(
            name="third_task",
            title="Does a mask of the latest task alone keep the task before that?",
            claim="With the mask taken from task 2 alone, task 3 destroys task 1 unless more than 95 % is frozen.",
            verdict=verdict,
            words=words,
            answer="\n\n".join(
                [
                    "\n".join(map(_measured, found)),
                    "The mask moves on: what task 1 needed is free again while task 3 is trained, as far as task 2 "
                    "does not need it too. Of what was frozen for task 1, how much is set free for task 3, and "
                    "its share of the (squared) way that the whole network goes in task 3:\n\n"
                    + "\n".join(_told(*item) for item in zip(found, paths, strict=True)),
                    "With `method.mask_source=union` nothing is set free again; claim 5 compares the sources.",
                ]
            ),
            figure=draw(
                found,
                "What is learned of task 3, and kept of task 1, the more is frozen for task 2?",
                {"task 1, after task 3": (3, 1), "task 3, just learned": (3, 3)},
            ),
            table=pd.concat([_table(*item) for item in zip(found, paths, strict=True)]),
        )
    ]


def _destroyed(sweep: Sweep, freeze: float) -> bool | None:
    """Whether half of task 1 is lost or more; None where it is less, but the interval reaches there."""
    gained = sweep.level(1, 1, freeze) - sweep.level(0, 1, freeze)
    left = paired_difference(sweep.level(3, 1, freeze) - sweep.level(0, 1, freeze), gained / 2)
    if left.mean <= 0:
        return True
    return False if left.above(0) else None


def _states(sweep: Sweep) -> pd.DataFrame:
    """Whether task 1 is `destroyed` or `kept` after task 3, by freeze."""
    found = {
        freeze: {"destroyed": _destroyed(sweep, freeze), "kept": sweep.about_same(sweep.kept(3, freeze))}
        for freeze in sweep.freezes
    }
    return pd.DataFrame.from_dict(found, orient="index", dtype=object)


def _verdict(found: Sequence[Sweep]) -> tuple[Verdict, str]:
    holds, fails, words = [], [], []
    for sweep in found:
        states = _states(sweep)
        below, above = states.loc[:_LIMIT, "destroyed"], states.loc[states.index > _LIMIT, "kept"]
        holds.append(bool(below.eq(True).all() and above.eq(True).all()))
        fails.append(bool(below.eq(False).any() or above.eq(False).all()))
        destroyed, kept = (listed(_where(states, column), sweep) for column in ("destroyed", "kept"))
        words.append(f"on {sweep.name} it is destroyed at {destroyed}, and kept at {kept}")
    verdict: Verdict = "confirmed" if all(holds) else "refuted" if all(fails) else "depends"
    return verdict, f"task 1 after task 3: {'; '.join(words)}."


def _where(states: pd.DataFrame, column: str) -> list[float]:
    return list(states.index[states[column].eq(True)])


def _measured(sweep: Sweep) -> str:
    lines = [f"- {sweep.name}: after task 3 by fine-tuning, task 1 is {sweep.told(3, 1, None)}."]
    # Where nothing else is learned, there is nothing to forget: the best of what does learn is more telling.
    able = [freeze for freeze in sweep.freezes if sweep.about_same(sweep.learned(3, freeze))]
    if able:
        best = max(able, key=lambda freeze: sweep.level(3, 1, freeze).mean())
        lines.append(
            f"Under the best mask that still learns task 3, freeze={best:g}, it is {sweep.told(3, 1, best)}: "
            f"{sweep.kept(3, best).points()} points against right after it was learned, "
            f"{sweep.kept(2, best).points()} of them in task 2."
        )
    kept = _where(_states(sweep), "kept")
    if kept:
        lines.append(
            f"freeze={kept[0]:g} is the least that keeps it, and changes how well task 3 is learned by "
            f"{sweep.learned(3, kept[0]).points()} points."
        )
    both = [freeze for freeze in kept if freeze in able]
    lines.append(f"Task 1 is kept and task 3 learned at {listed(both, sweep)}.")
    return " ".join(lines)


def _path(run: Run) -> dict[str, float]:
    """Of the parameters frozen for task 1 the share set free for task 3, and these ones' share of its squared way."""
    frozen, free = ~trainable(run, 2), trainable(run, 3)
    way = (parameters(run, 3) - parameters(run, 2)).square()
    return {"freed": float((frozen & free).sum() / frozen.sum()), "way": float(way[frozen & free].sum() / way.sum())}


def _told(sweep: Sweep, paths: pd.DataFrame) -> str:
    shares = ", ".join(
        f"{100 * row['freed']:.0f} % and {100 * row['way']:.0f} % at freeze={freeze:g}"
        for freeze, row in paths.iterrows()
        if freeze in (0.5, 0.9, 0.97)
    )
    return f"- {sweep.name}: {shares}"


def _table(sweep: Sweep, paths: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for freeze in (None, *sweep.freezes):
        old = mean_share(sweep.level(3, 1, freeze))
        rows.append(
            {
                "benchmark": sweep.name,
                "frozen, %": f"{100 * freeze:g}" if freeze else "0 (finetune)",
                "task 1 known after task 2, %": mean_share(sweep.level(2, 1, freeze)).percent(),
                "after task 3, %": old.percent(),
                "task 3 just learned, %": mean_share(sweep.level(3, 3, freeze)).percent(),
                "after task 3, mse": sweep.mse(3, 1, freeze),
                "frozen for task 1, free for task 3, %": f"{100 * paths['freed'][freeze]:.1f}" if freeze else "–",
                "their share of the way, %": f"{100 * paths['way'][freeze]:.0f}" if freeze else "–",
                "n": old.n,
            }
        )
    return pd.DataFrame(rows)
