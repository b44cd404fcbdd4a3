"""How far a run is, shown in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from cl_runner.terminal import Bar

if TYPE_CHECKING:
    from cl_runner.runs.evaluation import Scores
    from cl_runner.runs.training import Epoch


class TerminalProgress(Bar):
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

    def task(self, task: int, tasks: int, scores: Scores) -> None:
        """Without a terminal, print a line."""
        if not self._console.is_terminal:
            values = " ".join(f"{float(score.score.mean()):.3f}" for score in scores.test[:task])
            line = f"task {task}/{tasks}: loss {self._loss:.4f}, test scores on the tasks so far {values}"
            self._print(line)
