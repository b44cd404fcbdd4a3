"""The report from the runs to the files, and what the terminal shows."""

import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from cl_runner.errors import ConfigError
from cl_runner.plain_text import printable
from cl_runner.report.collect import Runs, collect
from cl_runner.report.comparison import compare
from cl_runner.report.gallery import Section, draw_sections
from cl_runner.report.page import page
from cl_runner.report.protocols import Protocol, resolved
from cl_runner.report.scores import judged, with_validation
from cl_runner.report.selection import costs_of, picks
from cl_runner.report.settings import FOLDER, distinguishing, known, select, varying
from cl_runner.report.summary import summarise
from cl_runner.report.terminal import as_text, show, show_left_out
from cl_runner.report.versions import recorded_sessions, versions_in_words
from cl_runner.report.words import in_common, only_choosing, pooled_over, repeats_in_words, runs_in_words, verdict
from cl_runner.results.files import write_atomically


def build(options: Namespace, arguments: Sequence[str]) -> None:
    """Write the report and show it.

    Args:
        options: as `cl_runner.report.cli.parser` gives them.
        arguments: of the command line, to name the command in the report.

    Raises:
        ConfigError: a bad value of an option, or there is no finished run.
        OSError: the report cannot be written.
    """
    console, notes = Console(), Console(stderr=True)
    by_folder = _names_folder(options)
    found = _found(options.folders, by_folder, notes)
    runs = found.table
    for condition in options.where:
        runs = select(runs, found.settings, condition, "--where")
    runs, metric, note = judged(runs, options.metric)
    keys, follows = distinguishing(runs, found.settings)
    if options.group_by is not None:
        if "seed" in options.group_by.split(","):
            raise ConfigError("--group-by: got seed, over which means are taken, allowed: any other setting")
        keys = [known(key, found.settings, "--group-by") for key in dict.fromkeys(options.group_by.split(","))]
    protocol, lacking = resolved(options.select or Protocol(), runs, metric)
    summary = summarise(runs, keys, metric, protocol)
    comparison = compare(protocol.judging(runs), found.settings, *options.compare) if options.compare else None
    selection = costs_of(picks(runs, keys, metric, protocol), runs, metric)
    verdicts = [verdict(problem, part) for problem, part in summary.parts()]
    pooled = pooled_over(runs, found.settings, keys, follows)
    sections = draw_sections(summary)
    repeated = repeats_in_words(found.repeats)
    remarks = [note, lacking, only_choosing(runs, summary)]
    remarks = [*filter(None, remarks), *versions_in_words(recorded_sessions(runs["directory"].tolist()))]
    facts = {
        "command": shlex.join(["cl-report", *arguments]),
        "runs": f"{runs_in_words(len(runs))} of seeds {_listed(sorted(runs['seed'].unique()))}",
        "only runs with": " and ".join(options.where),
        "counted once": " ".join(repeated),
        "pooled over": ", ".join(pooled),
        "set by another setting": ", ".join(f"{key} (by {choice})" for key, choice in follows.items()),
    }
    facts = {name: text for name, text in facts.items() if text}
    fixed = in_common(runs, found.settings)
    html = page(summary, verdicts, sections, found.left_out, remarks, comparison, selection, facts, fixed)
    out = options.out or _beside(options.folders[0])
    swept = varying(runs, [key for key in found.settings if key != "seed"])
    results = with_validation(runs, summary.score.metrics)
    tables = {"runs": runs[["directory", "seed", *swept, *results]], "summary": summary.table}
    if not selection.empty:
        tables["selection"] = selection.drop(columns="same")
    if comparison:
        tables["comparison"] = comparison.table
    _write(out, html, tables, sections)
    if options.format == "table":
        show(console, summary, verdicts, comparison, selection, f", pooled over {', '.join(pooled)}" if pooled else "")
    else:
        console.file.write(as_text(tables["comparison" if comparison else "summary"], options.format))
        if pooled:
            notes.print(f"pooled over {', '.join(pooled)}", markup=False, highlight=False, soft_wrap=True)
    said = console if options.format == "table" else notes
    show_left_out(said, found.left_out, [*repeated, *remarks])
    said.print(
        f"\nreport in [bold]{escape(printable(str(out)))}[/bold]: report.html, summary.csv, runs.csv and more",
        soft_wrap=True,
    )


def _names_folder(options: Namespace) -> bool:
    """Whether an option makes a setting of the folder that a run lies in."""
    conditions = [*options.where, *(options.compare or [])]
    keys = [*re.split(r"[,\s]", options.group_by or ""), *(word for text in conditions for word in text.split())]
    return any(key.partition("=")[0] == FOLDER for key in keys)


def _beside(folder: Path) -> Path:
    """The folder for the report of what is in `folder`.

    Raises:
        ConfigError: it leads elsewhere, where whoever made the folder may not be meant to write.
    """
    out = folder / "report"
    if out.is_symlink():
        raise ConfigError(f"{out}: got a link to {out.readlink()}, allowed: a folder; --out writes anywhere")
    return out


def _found(folders: Sequence[Path], by_folder: bool, notes: Console) -> Runs:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
    found = collect(folders, by_folder)
    if found.table.empty:
        show_left_out(notes, found.left_out, [])
        raise ConfigError(f"{', '.join(map(str, folders))}: no finished run (one with metrics.json) in or below it")
    return found


def _write(out: Path, html: str, tables: dict[str, pd.DataFrame], sections: Sequence[Section]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_atomically(out / f"{name}.csv", as_text(table, "csv").encode())
    runs = tables["runs"].map(lambda value: printable(value) if isinstance(value, str) else value)
    write_atomically(out / "runs.parquet", runs.to_parquet(index=False))
    for drawing in (drawing for section in sections for drawing in section.drawings):
        write_atomically(out / f"{drawing.name}.svg", drawing.svg.encode())
        write_atomically(out / f"{drawing.name}.png", drawing.png)
    write_atomically(out / "report.html", html.encode())


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:20])) + (" …" if len(seeds) > 20 else "")
