"""`cl-report --status`: where every job of a sweep stands, and the command that runs what is missing."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.errors import HydraException
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cl_runner.directories import led
from cl_runner.errors import ConfigError, WrongCommandError
from cl_runner.overrides import quoted
from cl_runner.status import JobStatus, State, statuses
from cl_runner.submissions import damaged
from cl_runner.terminal import in_ranges, print_whole
from hydra_plugins.cl_runner_plugins import GridSweeper, union_of_grids

_SWEEP = "multirun.yaml"
_COLUMNS = ["job", "state", "array_task", "words"]
_STATES: tuple[State, ...] = get_args(State)
_MISSING: tuple[State, ...] = ("failed", "lost")


def show_status(folders: Sequence[Path], form: str) -> None:
    """Print where the jobs of the sweeps in and below `folders` stand, as a table or in another `form`.

    Raises:
        ConfigError: there is no sweep.
    """
    sweeps = list(dict.fromkeys(file.parent for folder in folders for file in _sweeps(folder)))
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


def _sweeps(folder: Path) -> list[Path]:
    own = folder / _SWEEP
    return [own] if own.exists() else sorted(folder.rglob(_SWEEP))


def _show(console: Console, sweep: Path) -> None:
    jobs, (asked, again) = statuses(sweep), _asked(sweep)
    never = _never_begun(sweep, jobs, asked)
    counts = Counter(job.state for job in jobs)
    words = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
    words += [f"{len(never)} never begun"] if never else []
    heading = f"[bold]{escape(str(sweep))}[/bold]: {len(jobs) + len(never)} jobs, {', '.join(words)}"
    console.print(heading, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("jobs", max_width=60)
    for name in ("state", "array task", ""):
        table.add_column(name, no_wrap=True)
    for (state, task, said), alike in groupby(_in_order(jobs), key=_alike):
        names = in_ranges(str(job.directory.relative_to(sweep)) for job in alike)
        table.add_row(escape(names), state, task, escape(said))
    if never:
        table.add_row(in_ranges(dict.fromkeys(never)), "never begun")
    print_whole(console, table)
    if never or any(counts[state] for state in _MISSING):
        console.print(f"\nto run what is missing:\n  {again}", markup=False, soft_wrap=True)


def _asked(sweep: Path) -> tuple[list[list[str]], str]:
    """The overrides of each job of the sweep that was last started there, and its command line."""
    try:
        asked = yaml.safe_load((sweep / _SWEEP).read_text(encoding="utf-8"))["hydra"]
        return _jobs(asked), command(sweep, asked)
    except (yaml.YAMLError, LookupError, TypeError):
        # Half of it was written, on a disk that was full.
        return [], f"{sweep / _SWEEP} cannot be read: start the sweep by its command, with hydra.sweep.dir={sweep}"


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
    if not sweeper["_target_"].endswith(GridSweeper.__name__):
        return []
    # A `glob` matches what lies where the sweep found its presets.
    places = ConfigSearchPathImpl()
    for source in asked["runtime"]["config_sources"]:
        places.append(source["provider"], f"{source['schema']}://{source['path']}")
    given = asked["overrides"]["task"]
    try:
        return union_of_grids(sweeper["params"] or {}, sweeper["grids"] or {}, given, ConfigLoaderImpl(places))
    except (HydraException, WrongCommandError):
        return []


def command(sweep: Path, asked: Mapping[str, Any]) -> str:
    """The command line of a sweep as Hydra recorded it, into the same directory."""
    given = [text for text in asked["overrides"]["hydra"] if not text.startswith(("hydra.mode=", "hydra.sweep.dir="))]
    added = [source["path"] for source in asked["runtime"]["config_sources"] if source["provider"] == "command-line"]
    folders = [part for path in added for part in ("--config-dir", path)]
    return shlex.join(
        ["cl-run", "-m", *folders, *given, *asked["overrides"]["task"], f"hydra.sweep.dir={quoted(str(sweep))}"],
    )
