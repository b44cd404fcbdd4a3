"""The report in the terminal: a table for people, or the plain data for programs."""

import json
import math
import re
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cl_runner.plain_text import cell, printable
from cl_runner.report.collect import LeftOut
from cl_runner.report.comparison import Comparison
from cl_runner.report.protocols import ORACLE
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
)
from cl_runner.terminal import print_whole


def as_text(data: pd.DataFrame, form: str) -> str:
    """`data` as csv, json or markdown, at full precision; what is missing is empty, null in JSON.

    No field of a CSV file is a formula, and none of Markdown is markup.
    """
    if form == "csv":
        fields = data.map(lambda value: cell(value) if isinstance(value, str) else value)
        return fields.set_axis([*map(cell, data.columns)], axis=1).to_csv(index=False)
    if form == "json":
        records = data.astype(object).where(data.notna(), None).to_dict("records")
        return json.dumps(records, indent=2, allow_nan=False) + "\n"
    cells = data.map(lambda value: "" if pd.isna(value) else _unmarked(shown(value)))
    rows: list[list[str]] = [[*map(_unmarked, data.columns)], ["---"] * len(data.columns), *cells.to_numpy().tolist()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def show(
    console: Console,
    summary: Summary,
    verdicts: Sequence[Verdict],
    comparison: Comparison | None,
    costs: pd.DataFrame,
    pooled: str,
) -> None:
    """The summary as a table, the verdicts, what honesty costs, and the comparison if there is one."""
    score = summary.score
    others = [name for name in score.metrics if name != summary.metric]
    title = f"{score.label(summary.metric)}, 95 % interval over seeds{pooled}"
    print_whole(console, *(_table(summary, title, names) for names in (others, [])))
    for verdict in verdicts:
        lines = [verdict.lead, *verdict.cautions]
        heading = f"{verdict.problem}: " if verdict.problem else ""
        _say(console, f"\n{heading}{verdict.answer}", "bold")
        for line in filter(None, lines):
            _say(console, line)
    if not costs.empty:
        _say(
            console,
            "\nWhat honesty costs: the test score of what each way of choosing picks, and its difference",
            "bold",
        )
        print_whole(console, _costs_table(costs, summary))
    if comparison:
        _say(console, f"\n{comparison.first} minus {comparison.second}, in {score.steps}:", "bold")
        for _, row in comparison.table.iterrows():
            _say(console, f"{row['metric']:20} {difference(row['difference'], row['low'], row['high'], score)}")
        for line in comparison_in_words(comparison):
            _say(console, line)


def _table(summary: Summary, title: str, others: Sequence[str]) -> Table:
    """A row for each setting, with its metric and `others`, for which a narrow screen may have no room."""
    score = summary.score
    table = Table(title=escape(title), title_justify="left")
    for key in ["", *summary.keys]:
        table.add_column(escape(key))
    counts = counts_shown(summary.table)
    for count in counts:
        table.add_column(count, justify="right")
    if summary.protocol != ORACLE:
        table.add_column(choice_in_words(summary.protocol, summary.metric).replace(" ", "\n"), justify="right")
    for name in [summary.metric, *others]:
        table.add_column(name.replace("_", "\n"), justify="right")
    for number, (_, row) in enumerate(summary.table.iterrows(), 1):
        values = [str(number), *(_setting(row[key]) for key in summary.keys)]
        values += [str(int(row[count])) for count in counts]
        if summary.protocol != ORACLE:
            values.append("–" if math.isnan(row["choice"]) else score.number(row["choice"]))
        best = " ".join(filter(None, estimate(row, summary.metric, score)))
        table.add_row(*values, f"[bold]{escape(best)}[/bold]", *(estimate(row, name, score)[0] for name in others))
    return table


def _costs_table(costs: pd.DataFrame, summary: Summary) -> Table:
    """What each way of choosing picks, by its test score, and in brackets its difference to the test set's own pick."""
    score = summary.score
    table = Table()
    table.add_column(f"{score.label(summary.metric)}")
    ways = list(dict.fromkeys(costs["protocol"]))
    for way in ways:
        table.add_column(way_in_words(way), justify="right")
    for heading, rows in costs.groupby(pd.Series(among_in_words(costs, summary), index=costs.index), sort=False):
        cells = {}
        for _, row in rows.iterrows():
            cost = " (same)" if row["same"] else f" ({score.signed(row['difference'])})"
            own = row["protocol"] == ORACLE.name
            cells[row["protocol"]] = score.number(row[summary.metric]) + ("" if own else cost)
        table.add_row(escape(str(heading)), *(cells.get(way, "") for way in ways))
    return table


def _setting(value: object) -> str:
    text = shown(value)
    return "[dim]null[/dim]" if text == "null" else escape(text)


def show_left_out(console: Console, left_out: Sequence[LeftOut], notes: Sequence[str]) -> None:
    """Which runs are in no number, and why; `notes` tell of repeats, and of runs of another score."""
    if left_out:
        _say(console, f"\nnot in any number: {left_out_in_words(left_out)}", "yellow")
    # A search drops most of its runs, which is no news of any one of them.
    for item in (item for item in left_out if item.state != "dropped"):
        _say(console, f"  {item.state} {item.directory}: {item.reason}")
    for note in notes:
        _say(console, f"\n{note}")


def _say(console: Console, line: str, style: str = "") -> None:
    text = "\n".join(map(printable, line.split("\n")))
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


def _unmarked(text: str) -> str:
    return re.sub(r"[|<`]|\](?=\()", r"\\\g<0>", text)
