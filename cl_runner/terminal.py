"""What a run shows in the terminal: how far it is, then what came out and where it lies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cl_runner.evaluation import Score
from cl_runner.training import Epoch

_EXPLAINED = {
    "average_accuracy": "mean accuracy over all tasks at the end",
    "learning_accuracy": "mean accuracy on each task right after learning it",
    "backward_transfer": "what later tasks changed on earlier ones (negative: forgetting)",
    "forward_transfer": "what earlier tasks gave to later ones before these were learned",
    "average_forgetting": "mean drop from each task's best earlier accuracy (negative: it rose)",
}


class TerminalProgress:
    """A progress bar over tasks and epochs; where there is no terminal, a plain line a task."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._total = self._bar.add_task("loading", total=None)
        self._loss = float("nan")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

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
            accuracies = " ".join(f"{float(score.accuracy.mean()):.3f}" for score in scores[:task])
            line = f"task {task}/{tasks}: loss {self._loss:.4f}, test accuracy on the tasks so far {accuracies}"
            self._console.print(line, highlight=False, soft_wrap=True)


def show_results(
    console: Console,
    title: str,
    matrix: NDArray[np.float64],
    metrics: Mapping[str, Any],
    directory: Path,
    *,
    drawn: bool,
) -> None:
    """The accuracy matrix `(T, T)` as a table, the metrics and the path; `drawn` is whether there are figures."""
    console.print(f"\n[bold]{title}[/bold]: test accuracy in %", highlight=False, soft_wrap=True)
    # A table wider than the screen is better than one with numbers cut off.
    console.width = max(console.width, 12 + 8 * len(matrix))
    table = Table()
    table.add_column("after")
    for task in range(1, len(matrix) + 1):
        table.add_column(f"task {task}" if len(matrix) <= 6 else str(task), justify="right")
    for row, values in enumerate(matrix):
        cells = [f"{100 * value:.1f}" for value in values]
        shown = [cell if column <= row else f"[dim]{cell}[/dim]" for column, cell in enumerate(cells)]
        table.add_row(f"task {row + 1}", *shown)
    console.print(table)
    for name, meaning in _EXPLAINED.items():
        value = "  needs two tasks" if metrics[name] is None else f"{100 * metrics[name]:6.1f} %"
        console.print(f"{name:20} {value}  [dim]{meaning}[/dim]", highlight=False, soft_wrap=True)
    figures = "accuracy_matrix.png, significance_histograms.png, training.png, " if drawn else ""
    console.print(
        f"\nresults in [bold]{directory}[/bold]: {figures}metrics.json and more", highlight=False, soft_wrap=True
    )
