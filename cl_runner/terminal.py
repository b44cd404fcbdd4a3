"""What a run or a sweep shows in the terminal: how far it is, then what came out and where it lies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cl_runner.plain_text import printable

if TYPE_CHECKING:
    from cl_runner.evaluation import Score
    from cl_runner.sweeps import Job
    from cl_runner.training import Epoch


class _Bar:
    """A progress bar that is there while entered; none where there is no terminal."""

    def __init__(self, console: Console, description: str, total: int | None) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total = self._bar.add_task(description, total=total, speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


class TerminalProgress(_Bar):
    """A progress bar over tasks and epochs; where there is no terminal, a plain line a task."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "loading", None)
        self._loss = float("nan")

    def epoch(self, task: int, tasks: int, epoch: Epoch) -> None:
        """Move the bar."""
        self._loss = float(epoch.data_loss.mean())
        self._bar.update(
            self._total,
            description=f"task {task}/{tasks} epoch {epoch.number}/{epoch.count} loss {self._loss:.3f}",
            total=tasks * epoch.count,
            completed=(task - 1) * epoch.count + epoch.number,
        )

    def task(self, task: int, tasks: int, scores: Sequence[Score]) -> None:
        """Without a terminal, print a line."""
        if not self._console.is_terminal:
            values = " ".join(f"{float(score.score.mean()):.3f}" for score in scores[:task])
            line = f"task {task}/{tasks}: loss {self._loss:.4f}, test scores on the tasks so far {values}"
            self._print(line)


class SweepProgress(_Bar):
    """One bar over a whole sweep, with runs per minute; where there is no terminal, a plain line a stack.

    What came out goes to standard output, all else to `console`.
    """

    def __init__(self, console: Console, jobs: int) -> None:
        super().__init__(console, "composing", jobs)
        self._jobs, self._runs = jobs, 0
        if not console.is_terminal:
            self._print(f"composing {jobs} jobs")
        self._work: dict[int, float] = {}
        self._done = self._same = 0
        self._finished: list[str] = []
        self._begun: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._started = time.perf_counter()

    def composing(self, number: int) -> None:
        """So many jobs are composed."""
        self._bar.update(self._total, completed=number)

    def loading(self) -> None:
        """All jobs are composed, and what computes them is being loaded."""
        self._bar.update(self._total, completed=self._jobs, description="loading")

    def warn(self, lines: Iterable[str]) -> None:
        """Print each line once, however many jobs it is about."""
        for line in lines:
            if line not in self._warned:
                self._print(f"[yellow]warning:[/yellow] {plain(line)}")
            self._warned.add(line)

    def found(self, directory: Path, *, finished: bool) -> None:
        """A job was begun before, and finished perhaps."""
        (self._finished if finished else self._begun).append(directory.name)

    def same(self) -> None:
        """A job differs from an earlier one in nothing that acts."""
        self._same += 1

    def failed(self, number: int, overrides: Sequence[str], reason: str) -> None:
        """A job has failed."""
        self._reasons[reason] += 1
        if self._reasons[reason] == 1:
            self._print(f"[red]error:[/red] job {number} ({plain(' '.join(overrides))}): {plain(reason)}")

    def done(self) -> None:
        """A job is complete."""
        self._done += 1

    def computing(self, stacks: Sequence[Sequence[Job]]) -> None:
        """From now on stacks are computed."""
        self._runs = sum(map(len, stacks))
        self._started = time.perf_counter()
        self._bar.reset(self._total, total=self._runs, description="training", speed="")
        finished = f", {len(self._finished)} finished before" if self._finished else ""
        self._print(f"{_counted(self._runs, 'run')} in {_counted(len(stacks), 'stack')}{finished}")
        for names, words in ((self._finished, "finished"), (self._begun, "goes on")):
            if names:
                self._print(f"found again, {words}: {in_ranges(names)}")
        if self._same:
            self._print(
                f"{_counted(self._same, 'job')} that would repeat others, as what they differ in is not used, "
                f"{'is' if self._same == 1 else 'are'} left out"
            )

    def submitted(self, stacks: Sequence[Sequence[Job]], ids: Sequence[str]) -> None:
        """Stacks were submitted, as array tasks by these ids."""
        self.computing(stacks)
        jobs = list(dict.fromkeys(task.partition("_")[0] for task in ids))
        self._print(f"submitted as {_counted(len(ids), 'task')}: {' '.join(jobs)}")

    def elsewhere(self, count: int) -> None:
        """So many jobs were submitted before and are not finished."""
        if count:
            self._runs += count
            self._bar.reset(self._total, total=self._runs, description="training", speed="")
            are = "is" if count == 1 else "are"
            self._print(f"{_counted(count, 'run')} submitted before {are} waiting or being computed")

    def waiting(self, states: Mapping[str, int]) -> None:
        """What was submitted stands so, by number of jobs."""
        words = ", ".join(f"{count} {state}" for state, count in states.items())
        self._bar.update(self._total, completed=self._done, speed=words)

    def advance(self, stack: Sequence[Job], fraction: float) -> None:
        """So much of a stack is computed."""
        before = self._work.get(stack[0].number)
        self._work[stack[0].number] = fraction * len(stack)
        work = sum(self._work.values())
        speed = f"{60 * work / (time.perf_counter() - self._started):.0f} runs/min"
        self._bar.update(self._total, completed=work, speed=speed)
        if fraction == 1 and before != len(stack) and not self._console.is_terminal:
            self._print(f"{int(work + 1e-6)} of {self._runs} runs computed, {speed}")

    def finish(self, directory: Path) -> None:
        """Say what came out and where it lies."""
        self._bar.stop()
        for reason, count in self._reasons.items():
            if count > 1:
                self._print(f"[red]error:[/red] {_counted(count - 1, 'more job')}: {plain(reason)}")
        complete, failures = self._done + len(self._finished), sum(self._reasons.values())
        jobs = self._jobs - self._same
        failed = f", [red]{failures} failed[/red]" if failures else ""
        place = plain(str(directory))
        said = f"{complete} of {jobs} runs complete{failed}, in [bold]{place}[/bold]"
        following = f"\nfor tables and figures: cl-report {place}" if complete else ""
        if complete + failures < jobs:
            following = f"\nhow far the others are: cl-report --status {place}"
        Console().print(said + following, highlight=False, soft_wrap=True)


def print_whole(console: Console, *tables: Table) -> None:
    """The first of some forms of a table that fits the screen; where none does, a line for each cell.

    Where there is no screen, the first: a table wider than that is better than one with numbers cut off.
    """
    unbounded = console.options.update(max_width=10_000)
    widths = [console.measure(table, options=unbounded).maximum for table in tables]
    if not console.is_terminal:
        console.width = max(console.width, widths[0])
    fitting = [table for table, width in zip(tables, widths, strict=True) if width <= console.width]
    if fitting:
        console.print(fitting[0])
        return
    headings = [" ".join(str(column.header).split()) for column in tables[0].columns]
    for row in zip(*(column.cells for column in tables[0].columns), strict=True):
        for heading, cell in zip(headings, row, strict=True):
            if cell:
                console.print(f"{heading}: {cell}" if heading else cell, highlight=False)
        console.print()


def in_ranges(names: Iterable[str]) -> str:
    """`0-3, 7` for the names 0, 1, 2, 3 and 7; other names as they are."""
    return ", ".join(_ranges(list(names)))


def _ranges(names: Sequence[str]) -> Iterator[str]:
    numbers = sorted(int(name) for name in names if name.isdecimal())
    # Neighbours have the same distance from their place in the list.
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        numbered = [number for _, number in run]
        yield str(numbered[0]) if len(numbered) == 1 else f"{numbered[0]}-{numbered[-1]}"
    yield from (name for name in names if not name.isdecimal())


def plain(text: str) -> str:
    """Text that is not ours, without markup."""
    return escape(printable(text))


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
