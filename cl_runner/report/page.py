"""The report as one self-contained HTML page."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined

from cl_runner.plain_text import printable
from cl_runner.report.collect import LeftOut
from cl_runner.report.comparison import Comparison
from cl_runner.report.drawing import IN_A_TAG
from cl_runner.report.gallery import Section
from cl_runner.report.protocols import ORACLE
from cl_runner.report.scores import Score
from cl_runner.report.selection import among_in_words, way_in_words
from cl_runner.report.settings import shown
from cl_runner.report.summary import Summary
from cl_runner.report.words import (
    Verdict,
    choice_in_words,
    comparison_in_words,
    counts_shown,
    difference,
    estimate,
    left_out_in_words,
    runs_in_words,
)
from cl_runner.results.intervals import ENOUGH_SEEDS


@dataclass(frozen=True)
class Cell:
    """A field of the page's table: what it shows, what is smaller beside it, and what it is sorted by."""

    text: str
    note: str
    sort: str


def page(
    summary: Summary,
    verdicts: Sequence[Verdict],
    sections: Sequence[Section],
    left_out: Sequence[LeftOut],
    remarks: Sequence[str],
    comparison: Comparison | None,
    costs: pd.DataFrame,
    facts: dict[str, str],
    fixed: dict[str, str],
) -> str:
    """The page; `facts` are lines on how it was made, `fixed` the settings that all runs have in common.

    `remarks` tell of runs that do not judge, and of versions that differ; `costs` are of `cl_runner.report.selection`.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_plain, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((files("cl_runner.report") / "page.html").read_text(encoding="utf-8"))
    score = summary.score
    others = [name for name in score.metrics if name != summary.metric]
    return template.render(
        title=f"{runs_in_words(len(summary.runs))}, {runs_in_words(len(summary.table), 'setting')}",
        verdicts=verdicts,
        score=score,
        columns=[
            "#",
            *summary.keys,
            *counts_shown(summary.table),
            *([] if summary.protocol == ORACLE else [choice_in_words(summary.protocol, summary.metric)]),
            score.label(summary.metric),
            "lead of the chosen",
            *map(_in_words, others),
        ],
        rows=_rows(summary, verdicts, others),
        sections=[(section, [(drawing, _inline(drawing.svg)) for drawing in section.drawings]) for section in sections],
        left_out=left_out,
        left_out_words=left_out_in_words(left_out),
        remarks=remarks,
        comparison=comparison,
        comparison_lines=comparison_in_words(comparison) if comparison else [],
        costs=_cost_rows(costs, summary),
        ranked_by=choice_in_words(summary.protocol, summary.metric),
        label=score.label(summary.metric),
        halves=(costs["protocol"] == "seeds=halves").any(),
        comparison_rows=_comparison_rows(comparison, score) if comparison else [],
        facts=facts,
        fixed=fixed,
        enough_seeds=ENOUGH_SEEDS,
    )


def _rows(summary: Summary, verdicts: Sequence[Verdict], others: Sequence[str]) -> list[list[Cell]]:
    score = summary.score
    rivals = pd.concat([verdict.rivals for verdict in verdicts])
    counts = counts_shown(summary.table)
    rows = []
    for number, (_, row) in enumerate(summary.table.iterrows()):
        cells = [_number_cell(str(number + 1), number)]
        cells += [_setting_cell(row[key]) for key in summary.keys]
        cells += [_number_cell(str(int(row[count])), row[count]) for count in counts]
        if summary.protocol != ORACLE:
            cells.append(_number_cell(score.number(row["choice"]), row["choice"]))
        cells.append(_estimate_cell(row, summary.metric, score))
        cells.append(
            Cell("chosen", "", "0") if number not in rivals.index else _lead_cell(score, pd.Series(rivals.loc[number]))
        )
        rows.append([*cells, *(_estimate_cell(row, name, score) for name in others)])
    return rows


def _setting_cell(value: object) -> Cell:
    text = shown(value)
    return Cell("", text, "") if text == "null" else Cell(text, "", text)


def _number_cell(text: str, value: float, note: str = "") -> Cell:
    return Cell("–", note, "") if math.isnan(value) else Cell(text, note, repr(float(value)))


def _estimate_cell(row: pd.Series, metric: str, score: Score) -> Cell:
    mean, interval = estimate(row, metric, score)
    return _number_cell(mean, row[metric], interval)


def _lead_cell(score: Score, rival: pd.Series) -> Cell:
    if rival["same"]:
        return Cell("0", "same numbers", "0")
    few = "too few seeds" if rival["seeds"] < ENOUGH_SEEDS else "behind" if rival["high"] < 0 else "not clear"
    text, _, interval = difference(rival["lead"], rival["low"], rival["high"], score).partition(" ")
    return _number_cell(text, rival["lead"], f"{interval or 'no interval'}{'' if rival['clear'] else f', {few}'}")


def _cost_rows(costs: pd.DataFrame, summary: Summary) -> list[tuple[str, list[list[Cell]]]]:
    """The rows of each problem and method, under its name: what chose, how its pick does, what that costs, the pick."""
    found: dict[str, list[list[Cell]]] = {}
    for heading, (_, row) in zip(among_in_words(costs, summary), costs.iterrows(), strict=True):
        name = row["protocol"]
        by = {"validation": "by validation", "test": "on the test set"}[row["samples"]]
        notes = ["" if "=" not in name else by, "used above" if name == summary.protocol.name else ""]
        cost = difference(row["difference"], row["difference_low"], row["difference_high"], summary.score)
        same = "" if name == ORACLE.name else "same setting"
        cells = [
            Cell(way_in_words(name), ", ".join(filter(None, notes)), ""),
            Cell(str(row["seeds"]), "", ""),
            _estimate_cell(row, summary.metric, summary.score),
            Cell("", same, "") if row["same"] else Cell(*cost.partition(" ")[::2], ""),
            Cell(row["setting"], "", ""),
        ]
        found.setdefault(heading, []).append(cells)
    return [*found.items()]


def _comparison_rows(comparison: Comparison, score: Score) -> list[tuple[str, str]]:
    return [
        (_in_words(row["metric"]), difference(row["difference"], row["low"], row["high"], score))
        for _, row in comparison.table.iterrows()
    ]


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")


def _plain(value: object) -> object:
    """What the page's template shows: a figure as it is, all else as text that can be seen, before it is escaped."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _inline(svg: str) -> str:
    """The SVG as a part of HTML, which has no use for its prolog and its addresses of standards."""
    svg = re.sub(f"xlink:href{IN_A_TAG}", "href", svg[svg.index("<svg") :])
    return re.sub(rf' (?:xmlns(?::xlink)?|version)="[^"]*"{IN_A_TAG}', "", svg)
