"""Claim 8: what nobody tried, masks with EWC, neuron-wise and soft masks, beats tuned EWC over ten tasks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cl_runner.report.drawing import INK, NARROW, faint_grid, legend_below, look, new_figure, style, titled
from cl_runner.report.words import runs_in_words
from findings.page import Finding, Verdict
from findings.results import average_score, learning_score
from findings.statistics import Estimate, by_seed, mean_share, paired_difference

NUMBER = 8
PRESETS = ["ten_tasks"]
QUICK = {"ten_tasks": ["benchmark.tasks=3", "benchmark.train_samples=500", "fisher.samples=100"]}

# Settings are chosen on seeds from here on and judged on the others: the best of many is in part the luckiest.
_CHOOSING = 100
_BOUNDS = ("fine-tuning", "joint training")
_TRIED = ("L2", "EWC", "online EWC", "averaged online EWC", "global mask", "layer-wise mask")


def finding(results: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Of each kind of method the setting that is best on the choosing seeds, judged on the others.

    The claim is confirmed if the best of the kinds that nobody tried leads the best EWC and the best of all other kinds
    that were tried, each by an interval that excludes 0; refuted if it does not lead EWC.
    """
    scores = results["ten_tasks"]
    ends = average_score(scores)
    ends["kind"] = ends.apply(_kind, axis=1)
    ends["setting"] = ends.apply(_settings, axis=1)
    tasks = int(scores["eval_task"].max())
    own_seeds = bool((ends["seed"] >= _CHOOSING).any())
    choosing, judging = (ends[ends["seed"] >= _CHOOSING], ends[ends["seed"] < _CHOOSING]) if own_seeds else (ends, ends)
    chosen = {
        str(kind): str(rows.groupby("setting")["score"].mean().idxmax())
        for kind, rows in choosing.groupby("kind", sort=False)
    }
    values = {kind: by_seed(_of(judging, kind, setting)) for kind, setting in chosen.items()}
    order = sorted(values, key=lambda kind: -values[kind].mean())
    untried = next(kind for kind in order if kind not in (*_BOUNDS, *_TRIED))
    tried = next(kind for kind in order if kind in _TRIED)
    over_ewc = paired_difference(values[untried], values["EWC"])
    over_tried = paired_difference(values[untried], values[tried])
    verdict: Verdict = "depends"
    if over_ewc.above(0) and over_tried.above(0):
        verdict = "confirmed"
    elif not over_ewc.above(0):
        verdict = "refuted"
    words = (
        f"the best of what nobody tried, {untried}, ends at {mean_share(values[untried]).percent()} %, "
        f"{over_ewc.points()} points against the best EWC and {over_tried.points()} against the best that was tried, "
        f"{tried}."
    )
    counts = {kind: ends.loc[ends["kind"] == kind, "setting"].nunique() for kind in chosen}
    learned = (
        learning_score(scores).drop(columns="setting").merge(ends[["directory", "kind", "setting"]], on="directory")
    )
    learned = learned[learned["seed"].isin(judging["seed"])]
    plasticity = {kind: by_seed(_of(learned, kind, setting)) for kind, setting in chosen.items()}
    return [
        Finding(
            name="ten_tasks",
            title=f"What is best over {tasks} tasks?",
            claim="Masks together with EWC, neuron-wise masks or soft masks end at a better average accuracy over ten "
            "tasks than EWC at its best strength.",
            verdict=verdict,
            words=words,
            answer=_answer(chosen, values, plasticity, order, own_seeds, sum(counts.values())),
            figure=_draw(values, plasticity, order, tasks),
            table=_table(chosen, counts, values, plasticity, order),
            advice=_advice(chosen, values, order, tasks),
        )
    ]


def _of(rows: pd.DataFrame, kind: str, setting: str) -> pd.DataFrame:
    return rows[(rows["kind"] == kind) & (rows["setting"] == setting)]


def _kind(run: pd.Series) -> str:
    """What a run's method is made of."""
    if run["method.joint"]:
        return "joint training"
    penalised = run["method.penalty"] != "none" and run["method.ewc_lambda"] > 0
    penalty = {"l2": "L2", "ewc": "EWC", "online_ewc": "online EWC"}.get(run["method.penalty"], "") if penalised else ""
    if penalty == "online EWC" and run["method.update"] == "average":
        penalty = "averaged online EWC"
    mask = {"global": "global", "layerwise": "layer-wise"}.get(run["method.mask"] if run["freeze"] > 0 else "", "")
    if mask:
        mask = f"{'soft ' * bool(run['method.soft'])}{mask}{' neuron' * (run['method.unit'] == 'neuron')} mask"
    sparsity = "L1" if run["method.l1_lambda"] > 0 else ""
    return " + ".join(part for part in (mask, penalty, sparsity) if part) or "fine-tuning"


def _settings(run: pd.Series) -> str:
    """What was searched over, of the method of a run."""
    kind = _kind(run)
    parts = [f"freeze={run['freeze']:g}"] if "mask" in kind else []
    parts += [f"ewc_lambda={run['method.ewc_lambda']:g}"] if "EWC" in kind or "L2" in kind else []
    parts += [f"l1_lambda={run['method.l1_lambda']:g}"] if "L1" in kind else []
    return ", ".join(parts) or "–"


def _answer(
    chosen: Mapping[str, str],
    values: Mapping[str, pd.Series],
    plasticity: Mapping[str, pd.Series],
    order: list[str],
    own_seeds: bool,
    count: int,
) -> str:
    ranked = [kind for kind in order if kind not in _BOUNDS]
    best, ewc = ranked[0], "EWC"
    rivals = [kind for kind in ranked[1:] if not paired_difference(values[best], values[kind]).above(0)]
    even = f"not clearly ahead of {', '.join(rivals)}" if rivals else "clearly ahead of every other kind"
    how = "on two seeds of their own, and judged on the others" if own_seeds else "and judged on the same seeds"
    joint = f"; joint training reaches {mean_share(values['joint training']).percent()} %"
    lost = {kind: plasticity[kind].mean() - values[kind].mean() for kind in (best, ewc)}
    lead = paired_difference(values[best], values[ewc])
    return (
        f"Of {count} settings the best of each kind of method was chosen {how}. The best is {best} "
        f"({chosen[best]}) with {mean_share(values[best]).percent()} %, {even}{joint}. Its lead over EWC "
        f"({chosen[ewc]}) is {lead.points()} percentage points"
        f"{': outside the interval' if lead.above(0) else ', and so not clear'}.\n\n"
        f"It learns a task to {mean_share(plasticity[best]).percent()} % and loses {100 * lost[best]:.1f} points of "
        f"that by the end; EWC learns to {mean_share(plasticity[ewc]).percent()} % and loses {100 * lost[ewc]:.1f}."
    )


def _advice(chosen: Mapping[str, str], values: Mapping[str, pd.Series], order: list[str], tasks: int) -> str:
    ranked = [kind for kind in order if kind not in _BOUNDS]
    best = ranked[0]
    # Of those that cannot be told from the best, what is made of the fewest parts.
    even = [kind for kind in ranked if not paired_difference(values[best], values[kind]).above(0)]
    use = min(even, key=lambda kind: kind.count("+"))
    shares = {kind: f"{100 * values[kind].mean():.0f} %" for kind in (use, "EWC", *_BOUNDS)}
    rank = "the best" if use == best else f"as good as the best ({best}) and simpler"
    return (
        f"Over {tasks} tasks of permuted MNIST use {use} ({chosen[use]}), of {len(ranked)} kinds of methods {rank}: "
        f"{shares[use]} on average at the end, tuned EWC {shares['EWC']}, fine-tuning {shares['fine-tuning']}, "
        f"joint training {shares['joint training']}."
    )


def _table(
    chosen: Mapping[str, str],
    counts: Mapping[str, int],
    values: Mapping[str, pd.Series],
    plasticity: Mapping[str, pd.Series],
    order: list[str],
) -> pd.DataFrame:
    def lead(kind: str) -> Estimate:
        return paired_difference(values[kind], values["EWC"])

    return pd.DataFrame(
        {
            "kind": kind,
            "its best setting": chosen[kind],
            "of": counts[kind],
            "average accuracy, %": mean_share(values[kind]).percent(),
            "learning accuracy, %": mean_share(plasticity[kind]).percent(),
            "lead over EWC, points": "–" if kind == "EWC" else lead(kind).points(),
            "n": len(values[kind]),
        }
        for kind in order
    )


def _draw(values: Mapping[str, pd.Series], plasticity: Mapping[str, pd.Series], order: list[str], tasks: int) -> Figure:
    with style():
        figure = new_figure(1.4 * NARROW, 1.3 + 0.27 * len(order))
        axes = figure.add_subplot()
        places = np.arange(len(order), dtype=float)
        for number, (label, found) in enumerate(
            (("right after learning each task", plasticity), (f"after all {tasks} tasks", values))
        ):
            shown = look(1 - number)
            mean, low, high = 100 * np.array([(e.mean, e.low, e.high) for e in (mean_share(found[k]) for k in order)]).T
            axes.hlines(places, low, high, color=shown.colour, lw=1.8)
            axes.plot(
                mean,
                places,
                shown.marker,
                color=shown.colour,
                ms=6,
                mfc=shown.colour if number else "none",
                label=label,
            )
        axes.axvline(100 * values["EWC"].mean(), color=INK, alpha=0.35, lw=1, ls=":")
        axes.set_yticks(places, order)
        axes.invert_yaxis()
        axes.set_xlabel("accuracy, mean over tasks, in %")
        faint_grid(axes, "x")
        legend_below(figure, [axes])
        titled(
            figure,
            f"What is best over {tasks} tasks, each kind of method at its best setting?",
            f"permuted MNIST; mean and 95 % interval over {runs_in_words(len(values['EWC']), 'seed')}; dotted: EWC",
        )
    return figure
