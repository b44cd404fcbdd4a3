"""How far a sweep is, shown in the terminal, and at its end what came out and where it lies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from cl_runner.sweeps.jobs import Job
from cl_runner.terminal import Bar, counted, in_ranges, plain


class JobsProgress(Bar):
    """Told of every job that is composed, and what comes of it."""

    def __init__(self, console: Console, description: str, total: int) -> None:
        super().__init__(console, description, total)
        self._done = self._same = 0
        self._finished: list[str] = []
        self._begun: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._warned: set[str] = set()

    def composing(self, number: int) -> None:
        """So many jobs are composed."""
        self._bar.update(self._total, completed=number)

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


class SweepProgress(JobsProgress):
    """One bar over a whole sweep, with runs per minute; where there is no terminal, a plain line a stack.

    What came out goes to standard output, all else to `console`.
    """

    def __init__(self, console: Console, jobs: int) -> None:
        super().__init__(console, "composing", jobs)
        self._jobs, self._runs = jobs, 0
        if not console.is_terminal:
            self._print(f"composing {jobs} jobs")
        self._work: dict[int, float] = {}
        self._started = time.perf_counter()

    def loading(self) -> None:
        """All jobs are composed, and what computes them is being loaded."""
        self._bar.update(self._total, completed=self._jobs, description="loading")

    def computing(self, stacks: Sequence[Sequence[Job]]) -> None:
        """From now on stacks are computed."""
        self._runs = sum(map(len, stacks))
        self._started = time.perf_counter()
        self._bar.reset(self._total, total=self._runs, description="training", speed="")
        finished = f", {len(self._finished)} finished before" if self._finished else ""
        self._print(f"{counted(self._runs, 'run')} in {counted(len(stacks), 'stack')}{finished}")
        for names, words in ((self._finished, "finished"), (self._begun, "goes on")):
            if names:
                self._print(f"found again, {words}: {in_ranges(names)}")
        if self._same:
            self._print(
                f"{counted(self._same, 'job')} that would repeat others, as what they differ in is not used, "
                f"{'is' if self._same == 1 else 'are'} left out"
            )

    def submitted(self, stacks: Sequence[Sequence[Job]], ids: Sequence[str]) -> None:
        """Stacks were submitted, as array tasks by these ids."""
        self.computing(stacks)
        jobs = list(dict.fromkeys(task.partition("_")[0] for task in ids))
        self._print(f"submitted as {counted(len(ids), 'task')}: {' '.join(jobs)}")

    def elsewhere(self, count: int) -> None:
        """So many jobs were submitted before and are not finished."""
        if count:
            self._runs += count
            self._bar.reset(self._total, total=self._runs, description="training", speed="")
            are = "is" if count == 1 else "are"
            self._print(f"{counted(count, 'run')} submitted before {are} waiting or being computed")

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

    def left(self) -> None:
        """A job has failed, and the others were left for that."""
        self._print("stopped at the first failure; the same command goes on with the others")

    def finish(self, directory: Path) -> None:
        """Say what came out and where it lies."""
        self._bar.stop()
        for reason, count in self._reasons.items():
            if count > 1:
                self._print(f"[red]error:[/red] {counted(count - 1, 'more job')}: {plain(reason)}")
        complete, failures = self._done + len(self._finished), sum(self._reasons.values())
        jobs = self._jobs - self._same
        failed = f", [red]{failures} failed[/red]" if failures else ""
        place = plain(str(directory))
        said = f"{complete} of {jobs} runs complete{failed}, in [bold]{place}[/bold]"
        following = f"\nfor tables and figures: cl-report {place}" if complete else ""
        if complete + failures < jobs:
            following = f"\nhow far the others are: cl-report --status {place}"
        Console().print(said + following, highlight=False, soft_wrap=True)
