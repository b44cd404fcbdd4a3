"""How far a search is, shown in the terminal."""

from collections.abc import Sequence

from rich.console import Console

from cl_runner.sweeps.jobs import Job
from cl_runner.sweeps.progress import JobsProgress
from cl_runner.sweeps.search.record import Record, Trial
from cl_runner.sweeps.search.space import Value
from cl_runner.terminal import counted, plain


class SearchProgress(JobsProgress):
    """A bar over what is trained at the time, and a line for each batch; where there is no terminal, one for each task
    of it too.
    """

    def __init__(self, console: Console, record: Record, trials: int, words: str) -> None:
        super().__init__(console, "search", trials)
        self._trials, self._what = trials, ""
        self._work: dict[int, float] = {}
        self._print(f"search for the best of {counted(trials, 'trial')}, {words}")
        if record.trials:
            self._print(f"goes on: {len(record.told)} of {trials} trials are told")

    def at(self, what: str) -> None:
        """What is done from now on, in a word or two."""
        self._what = what
        self._bar.update(self._total, description=what)

    def composes(self, jobs: int) -> None:
        """So many jobs are composed from now on."""
        self._bar.reset(self._total, total=jobs, description=f"{self._what}, composing", speed="")

    def trains(self, runs: int) -> None:
        """So many runs are trained from now on."""
        self._work.clear()
        self._bar.reset(self._total, total=runs, description=self._what, speed=counted(runs, "run"))

    def advance(self, stack: Sequence[Job], fraction: float) -> None:
        """So much of a stack is trained."""
        self._work[stack[0].number] = fraction * len(stack)
        self._bar.update(self._total, completed=sum(self._work.values()))

    def decided(self, stay: int, dropped: int) -> None:
        """How many runs stay after what was trained, and how many do not."""
        if not self._console.is_terminal:
            self._print(f"{self._what}: {stay} stay, {dropped} dropped")

    def told(self, record: Record, batch: Sequence[Trial]) -> None:
        """A batch is told."""
        counts = {state: sum(trial.state == state for trial in batch) for state in ("complete", "dropped", "failed")}
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        best = record.best
        leader = f"; trial {best.number} leads by {in_words(best.values)}" if best else ""
        self._print(f"{len(record.told)} of {self._trials} trials: {words}{plain(leader)}")


def in_words(values: dict[str, Value]) -> str:
    """`freeze=0.612 method.mask_source=sum`, numbers with four digits."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in values.items()}
    return " ".join(f"{key}={value}" for key, value in shown.items())
