"""What came out of a run, shown in the terminal: its scores, its metrics, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cl_runner.metrics import metric_names
from cl_runner.terminal import plain, print_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What one looks at first.
FIGURES = ("accuracy_matrix.png", "mse_matrix.png", "significance_histograms.png", "training.png")
_EXPLAINED = {
    "average_accuracy": "mean accuracy over all tasks at the end",
    "average_mse": "mean squared error over all tasks at the end",
    "learning_accuracy": "mean accuracy on each task right after learning it",
    "learning_mse": "mean squared error on each task right after learning it",
    "backward_transfer": "what later tasks changed on earlier ones (negative: forgetting)",
    "forward_transfer": "what earlier tasks gave to later ones before these were learned",
    "average_forgetting": "mean loss against each task's best earlier score (negative: a gain)",
}


def show_results(
    console: Console,
    title: str,
    matrix: NDArray[np.float64],
    metrics: Mapping[str, Any],
) -> None:
    """The matrix of scores `(T, T)` as a table, and the metrics."""
    score = "mse" if "average_mse" in metrics else "accuracy"
    heading, unit, scale = ("mean squared error", "  ", 1) if score == "mse" else ("test accuracy in %", " %", 100)
    decimals = 3 if score == "mse" else 1
    console.print(f"\n[bold]{plain(title)}[/bold]: {heading}", highlight=False, soft_wrap=True)
    cells = [[f"{scale * value:.{decimals}f}" for value in values] for values in matrix]
    print_whole(console, *_matrix_tables(cells))
    for name in metric_names(score):
        value, explained = f"{'–':>6}  ", _EXPLAINED[name]
        if metrics[name] is not None:
            value = f"{scale * metrics[name]:6.{decimals}f}{unit}"
        elif len(matrix) == 1:
            value = "  needs two tasks"
        else:
            explained = "left out: a task's own outputs know nothing before it is learned"
        line = f"{name:20} {value}"
        if not console.is_terminal or len(line) + 2 + len(explained) <= console.width:
            line += f"  [dim]{explained}[/dim]"
        console.print(line, highlight=False, soft_wrap=True)


def show_place(console: Console, directory: Path) -> None:
    """Where the results lie, and which figures are among them."""
    drawn = [name for name in FIGURES if (directory / name).exists()]
    console.print(
        f"\nresults in [bold]{plain(str(directory))}[/bold]: {', '.join([*drawn, 'metrics.json'])} and more",
        highlight=False,
        soft_wrap=True,
    )


def _matrix_tables(cells: Sequence[Sequence[str]]) -> Iterator[Table]:
    """The scores after each task by the task tested, with lines and without; and when learned and at the end alone."""
    tasks = range(1, len(cells) + 1)
    shown = [
        [cell if column <= row else f"[dim]{cell}[/dim]" for column, cell in enumerate(values)]
        for row, values in enumerate(cells)
    ]
    for table, heading in ((Table(), "task {}" if len(cells) <= 6 else "{}"), (Table(box=None, pad_edge=False), "{}")):
        table.add_column("after")
        for task in tasks:
            table.add_column(heading.format(task), justify="right")
        for task, values in zip(tasks, shown, strict=True):
            table.add_row((f"task {task}" if table.box else f"{task}"), *values)
        yield table
    ends = Table(box=None, pad_edge=False)
    for heading in ("on task", "learned", "at the end"):
        ends.add_column(heading, justify="right")
    for task in tasks:
        ends.add_row(f"{task}", cells[task - 1][task - 1], cells[-1][task - 1])
    yield ends
