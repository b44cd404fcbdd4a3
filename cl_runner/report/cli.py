"""The command line: `cl-report`.

Exit codes: 0 the report is written; 1 it could not be; 2 a bad argument, or no finished run; 130 interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from cl_runner.errors import ConfigError, RunError, from_system
from cl_runner.output import lost_output, shield
from cl_runner.plain_text import printable
from cl_runner.report.protocols import parse
from cl_runner.report.scores import METRICS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parser() -> argparse.ArgumentParser:
    """The options of `cl-report`."""
    options = _Parser("cl-report", description="Compare the finished runs below some folders.", allow_abbrev=False)
    options.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="of runs, of sweeps, or one run")
    options.add_argument("--version", action="version", version=f"cl-runner {version('cl-runner')}")
    options.add_argument("--status", action="store_true", help="tell where each job of a sweep stands, and no more")
    options.add_argument("--metric", choices=METRICS, help="to sort and draw by (average_accuracy, else average_mse)")
    options.add_argument(
        "--select",
        metavar="HOW",
        type=parse,
        help="what chooses, while the test set judges: validation (the default where runs have it), test (the default "
        "else), first_tasks=K, seeds=A,B",
    )
    options.add_argument("--where", metavar="KEY=VALUE[,VALUE]", action="append", default=[], help="only such runs")
    options.add_argument("--group-by", metavar="KEY[,KEY]", help="pool the runs over all other settings")
    options.add_argument(
        "--compare",
        metavar=("A", "B"),
        nargs=2,
        help="paired difference of two conditions, each KEY=VALUE or several in quotes: 'method=ewc freeze=0.5'; "
        "folder=DIR is one, too",
    )
    options.add_argument("--format", choices=["table", "csv", "json", "markdown"], default="table", help="on stdout")
    options.add_argument("--out", metavar="DIR", type=Path, help="where the report goes (the first DIR's report/)")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `cl-report`; returns the exit code."""
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        options = parser().parse_args(given)
        # Imported once the arguments are known to be right: pandas, scipy and matplotlib take seconds.
        if options.status:
            _refuse_all_but_format(options)
            from cl_runner.report.status import show_status

            show_status(options.folders, options.format)
            return 0
        from cl_runner.report.build import build

        build(options, given)
    except KeyboardInterrupt:
        return 130
    except RunError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {printable(str(from_system(error)))}", file=sys.stderr)
        return 1
    return 0


def _refuse_all_but_format(options: argparse.Namespace) -> None:
    for name in ("metric", "select", "where", "group_by", "compare", "out"):
        if getattr(options, name):
            raise ConfigError(f"--status: got --{name.replace('_', '-')} with it, allowed: --format alone")


def entry() -> None:
    """Console script."""
    if hasattr(signal, "SIGPIPE"):
        # `cl-report DIR | head` ends quietly.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    shield()
    code = main()
    if lost := lost_output():
        print(f"error: standard output: {lost.strerror}", file=sys.stderr)
        code = code or 1
    sys.exit(code)
