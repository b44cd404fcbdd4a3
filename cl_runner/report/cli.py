"""The command line: `cl-report`.

Exit codes: 0 the report is written; 1 it could not be; 2 a bad argument, or no finished run; 130 interrupted.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd
from rich.console import Console
from rich.markup import escape

from cl_runner.errors import ConfigError, RunError
from cl_runner.files import write_atomically
from cl_runner.report.collect import METRICS, Runs, collect
from cl_runner.report.comparison import compare
from cl_runner.report.gallery import Section, draw_sections
from cl_runner.report.page import page
from cl_runner.report.settings import distinguishing, known, select, varying
from cl_runner.report.summary import summarise
from cl_runner.report.terminal import as_text, show, show_left_out
from cl_runner.report.words import in_common, pooled_over, runs_in_words, verdict


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parser() -> argparse.ArgumentParser:
    """The options of `cl-report`."""
    options = _Parser("cl-report", description="Compare the finished runs below some folders.", allow_abbrev=False)
    options.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="of runs, of sweeps, or one run")
    options.add_argument("--metric", choices=METRICS, default=METRICS[0], help="to sort and draw by (%(default)s)")
    options.add_argument("--where", metavar="KEY=VALUE[,VALUE]", action="append", default=[], help="only such runs")
    options.add_argument("--group-by", metavar="KEY[,KEY]", help="pool the runs over all other settings")
    options.add_argument(
        "--compare",
        metavar=("A", "B"),
        nargs=2,
        help="paired difference of two conditions, each KEY=VALUE or several in quotes: 'method=ewc freeze=0.5'",
    )
    options.add_argument("--format", choices=["table", "csv", "json", "markdown"], default="table", help="on stdout")
    options.add_argument("--out", metavar="DIR", type=Path, help="where the report goes (the first DIR's report/)")
    return options


def report(arguments: Sequence[str]) -> None:
    """Write the report and show it.

    Raises:
        ConfigError: a bad argument, or there is no finished run.
        OSError: the report cannot be written.
    """
    options = parser().parse_args(arguments)
    console, notes = Console(), Console(stderr=True)
    found = _found(options.folders, notes)
    runs = found.table
    for condition in options.where:
        runs = select(runs, found.settings, condition, "--where")
    keys, follows = distinguishing(runs, found.settings)
    if options.group_by is not None:
        keys = [known(key, found.settings, "--group-by") for key in dict.fromkeys(options.group_by.split(","))]
    comparison = compare(runs, found.settings, *options.compare) if options.compare else None
    summary = summarise(runs, keys, options.metric)
    verdicts = [verdict(problem, part) for problem, part in summary.parts()]
    pooled = pooled_over(runs, found.settings, keys, follows)
    sections = draw_sections(summary)
    facts = {
        "command": shlex.join(["cl-report", *arguments]),
        "runs": f"{runs_in_words(len(runs))} of seeds {_listed(sorted(runs['seed'].unique()))}",
        "only runs with": " and ".join(options.where),
        "pooled over": ", ".join(pooled),
        "set by another setting": ", ".join(f"{key} (by {choice})" for key, choice in follows.items()),
    }
    facts = {name: text for name, text in facts.items() if text}
    fixed = in_common(runs, found.settings)
    html = page(summary, verdicts, sections, found.left_out, comparison, facts, fixed)
    out = options.out or options.folders[0] / "report"
    tables = {
        "runs": runs[["directory", "seed", *varying(runs, [k for k in found.settings if k != "seed"]), *METRICS]],
        "summary": summary.table,
    }
    if comparison:
        tables["comparison"] = comparison.table
    _write(out, html, tables, sections)
    if options.format == "table":
        show(console, summary, verdicts, comparison, f", pooled over {', '.join(pooled)}" if pooled else "")
    else:
        console.file.write(as_text(tables["comparison" if comparison else "summary"], options.format))
        if pooled:
            notes.print(f"pooled over {', '.join(pooled)}", markup=False, highlight=False, soft_wrap=True)
    said = console if options.format == "table" else notes
    show_left_out(said, found.left_out)
    said.print(
        f"\nreport in [bold]{escape(str(out))}[/bold]: report.html, summary.csv, runs.csv and more", soft_wrap=True
    )


def _found(folders: Sequence[Path], notes: Console) -> Runs:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
    found = collect(folders)
    if found.table.empty:
        show_left_out(notes, found.left_out)
        raise ConfigError(f"{', '.join(map(str, folders))}: no finished run (one with metrics.json) in or below it")
    return found


def _write(out: Path, html: str, tables: dict[str, pd.DataFrame], sections: Sequence[Section]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_atomically(out / f"{name}.csv", table.to_csv(index=False).encode())
    write_atomically(out / "runs.parquet", tables["runs"].to_parquet(index=False))
    for drawing in (drawing for section in sections for drawing in section.drawings):
        write_atomically(out / f"{drawing.name}.svg", drawing.svg.encode())
        write_atomically(out / f"{drawing.name}.png", drawing.png)
    write_atomically(out / "report.html", html.encode())


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:20])) + (" …" if len(seeds) > 20 else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `cl-report`; returns the exit code."""
    try:
        report(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return 130
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def entry() -> None:
    """Console script."""
    if hasattr(signal, "SIGPIPE"):
        # `cl-report DIR | head` ends quietly.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
