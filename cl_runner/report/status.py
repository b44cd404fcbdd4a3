"""`cl-report --status`: where every job of a sweep stands, and the command that runs what is missing."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cl_runner.config.hydra_internals import LOADER, SEARCH_PATH
from cl_runner.config.overrides import quoted
from cl_runner.errors import ConfigError, DamagedError, WrongCommandError
from cl_runner.plain_text import in_a_shell, printable
from cl_runner.results.files import JOBS, directories
from cl_runner.results.reading import SETTINGS, parse_yaml, read_bytes
from cl_runner.sweeps.directories import led
from cl_runner.sweeps.grids import union_of_grids
from cl_runner.sweeps.queue import damaged
from cl_runner.sweeps.status import JobStatus, State, statuses
from cl_runner.terminal import in_ranges, print_whole

_SWEEP = "multirun.yaml"
_COLUMNS = ["job", "state", "array_task", "words"]
_STATES: tuple[State, ...] = get_args(State)
_MISSING: tuple[State, ...] = ("failed", "lost")
# More jobs than anybody begins, and fewer than fill the memory.
_MOST_JOBS = 10**6


def show_status(folders: Sequence[Path], form: str) -> None:
    """Print where the jobs of the sweeps in and below `folders` stand, as a table or in another `form`.

    Raises:
        ConfigError: there is no sweep.
    """
    unread: dict[Path, str] = {}
    sweeps = list(dict.fromkeys(sweep for folder in folders for sweep in _sweeps(folder, unread)))
    for place, reason in unread.items():
        print(printable(f"unreadable {place}: {reason}"), file=sys.stderr)
    if not sweeps:
        raise ConfigError(f"--status: {' '.join(map(str, folders))} holds no sweep, allowed: the directory of one")
    for line in (line for sweep in sweeps for line in damaged(sweep)):
        Console(stderr=True, highlight=False).print(f"warning: {line}", markup=False, soft_wrap=True)
    if form != "table":
        # These take longer to import than the table takes.
        import pandas as pd

        from cl_runner.report.terminal import as_text

        rows = [[str(job.directory), job.state, job.task, job.words] for sweep in sweeps for job in statuses(sweep)]
        print(as_text(pd.DataFrame(rows, columns=_COLUMNS), form), end="")
        return
    console = Console(highlight=False)
    for sweep in sweeps:
        _show(console, sweep)


def _sweeps(folder: Path, unread: dict[Path, str]) -> list[Path]:
    # Not every sweeper writes the one, nor every launcher the other.
    either = {_SWEEP, JOBS}
    if any((folder / name).exists() for name in either) or not folder.exists():
        return [folder] if folder.exists() else []
    return sorted(sweep for sweep, names in directories([folder], unread.setdefault) if names & either)


def _show(console: Console, sweep: Path) -> None:
    jobs, (asked, again) = statuses(sweep), _asked(sweep)
    never = _never_begun(sweep, jobs, asked)
    counts = Counter(job.state for job in jobs)
    words = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
    words += [f"{len(never)} never begun"] if never else []
    heading = f"[bold]{escape(printable(str(sweep)))}[/bold]: {len(jobs) + len(never)} jobs, {', '.join(words)}"
    console.print(heading, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("jobs", max_width=60)
    for name in ("state", "array task", ""):
        table.add_column(name, no_wrap=True)
    for (state, task, said), alike in groupby(_in_order(jobs), key=_alike):
        names = in_ranges(str(job.directory.relative_to(sweep)) for job in alike)
        table.add_row(*(escape(printable(text)) for text in (names, state, task, said)))
    if never:
        table.add_row(in_ranges(dict.fromkeys(never)), "never begun")
    print_whole(console, table)
    if never or any(counts[state] for state in _MISSING):
        console.print(f"\nto run what is missing:\n  {again}", markup=False, soft_wrap=True)


def _asked(sweep: Path) -> tuple[list[list[str]], str]:
    """The overrides of each job of the sweep that was last started there, and its command line."""
    try:
        asked = parse_yaml(sweep / _SWEEP, read_bytes(sweep / _SWEEP, SETTINGS))["hydra"]
        return _jobs(asked), command(sweep, asked)
    except (DamagedError, HydraException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        # Half of it was written, on a disk that was full.
        again = in_a_shell(f"hydra.sweep.dir={quoted(str(sweep))}")
        return [], f"{printable(str(sweep / _SWEEP))} cannot be read: start the sweep by its command, with {again}"


def _never_begun(sweep: Path, jobs: Sequence[JobStatus], asked: Sequence[Sequence[str]]) -> list[str]:
    """The numbers of those of a sweep's jobs that have no directory."""
    present = {job.directory for job in jobs}
    # Launchers other than ours name directories by the number.
    places = {frozenset(overrides): directory for overrides, directory in led(sweep)}
    return [
        str(number)
        for number, overrides in enumerate(asked)
        if places.get(frozenset(overrides), sweep / str(number) if not places else None) not in present
    ]


def _alike(job: JobStatus) -> tuple[State, str, str]:
    return job.state, job.task if job.state != "finished" else "", job.words


def _in_order(jobs: Iterable[JobStatus]) -> list[JobStatus]:
    """By state, those alike side by side, otherwise as they came."""
    first: dict[tuple[State, str, str], int] = {}
    for number, job in enumerate(jobs := list(jobs)):
        first.setdefault(_alike(job), number)
    return sorted(jobs, key=lambda job: (_STATES.index(job.state), first[_alike(job)]))


def _jobs(asked: Mapping[str, Any]) -> list[list[str]]:
    """The overrides of each job of a sweep; none if nobody knows: its sweeper is not ours, or its presets are gone."""
    sweeper = asked["sweeper"]
    if not sweeper["_target_"].endswith("GridSweeper"):
        return []
    params, grids, given = sweeper["params"] or {}, sweeper["grids"] or {}, asked["overrides"]["task"]
    zipped = sweeper.get("zipped", [])
    for grid in grids.values() or [{}]:
        if _values([*(f"{key}={value}" for key, value in {**params, **grid}.items()), *given], zipped) > _MOST_JOBS:
            raise ValueError(f"more than {_MOST_JOBS} jobs")
    # A `glob` matches what lies where the sweep found its presets, which plugins of Hydra's look through.
    Plugins.instance()
    places = SEARCH_PATH()
    for source in asked["runtime"]["config_sources"]:
        places.append(source["provider"], f"{source['schema']}://{source['path']}")
    try:
        return union_of_grids(params, grids, given, LOADER(places), zipped)
    except (HydraException, WrongCommandError):
        return []


def _values(overrides: Sequence[str], zipped: Sequence[Sequence[str]]) -> float:
    """The product of how many values each override has, of which none is made; of settings in step they count once."""
    counts: dict[str, float] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value, key = override.value(), override.get_key_element().lstrip("+~")
        name = next((group[0] for group in zipped if key in group), key)
        counts[name] = max(counts.get(name, 1), _count(value))
    return math.prod(counts.values())


def _count(value: Any) -> float:
    if isinstance(value, RangeSweep):
        return max(1, abs(float(value.stop or 0) - float(value.start or 0)) / abs(float(value.step)))
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def command(sweep: Path, asked: Mapping[str, Any]) -> str:
    """The command line of a sweep as Hydra recorded it, into the same directory."""
    given = [text for text in asked["overrides"]["hydra"] if not text.startswith(("hydra.mode=", "hydra.sweep.dir="))]
    added = [source["path"] for source in asked["runtime"]["config_sources"] if source["provider"] == "command-line"]
    folders = [part for path in added for part in ("--config-dir", path)]
    words = ["cl-run", "-m", *folders, *given, *asked["overrides"]["task"], f"hydra.sweep.dir={quoted(str(sweep))}"]
    return " ".join(map(in_a_shell, words))
