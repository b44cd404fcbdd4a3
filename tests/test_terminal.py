import io
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from cl_runner.evaluation import Score
from cl_runner.metrics import continual_metrics
from cl_runner.terminal import TerminalProgress, show_results
from cl_runner.training import Epoch

ZERO = torch.zeros(1)
EPOCH = Epoch(
    2, 2, data_loss=torch.tensor([0.25]), penalty=ZERO, l1=ZERO, diverged=ZERO.bool(), samples=10, seconds=0.1
)
SCORES = [Score(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([10]))] * 3


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_plain_line_a_task() -> None:
    console = Console(file=io.StringIO())
    with TerminalProgress(console) as progress:
        progress.epoch(1, 3, EPOCH)
        progress.task(1, 3, SCORES)
    assert written(console) == "task 1/3: loss 0.2500, test accuracy on the tasks so far 0.500\n"


def test_in_a_terminal_there_is_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with TerminalProgress(console) as progress:
        progress.epoch(2, 3, EPOCH)
        progress.task(2, 3, SCORES)
    shown = written(console)
    assert "task 2/3 epoch 2/2 loss 0.250" in shown
    assert "67%" in shown


def test_no_number_is_cut_off_however_many_tasks(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((31, 30))
    console = Console(file=io.StringIO())
    show_results(console, "title", matrix[1:], continual_metrics(matrix), tmp_path, drawn=True)
    shown = written(console)
    assert all(f" {100 * value:.1f} " in shown for value in matrix[1:].ravel())
    assert "…" not in shown


def test_what_a_single_task_lacks_is_shown_as_such(tmp_path: Path) -> None:
    matrix = np.array([[0.1], [0.9]])
    console = Console(file=io.StringIO())
    show_results(console, "title", matrix[1:], continual_metrics(matrix), tmp_path, drawn=True)
    shown = written(console)
    assert "backward_transfer      needs two tasks" in shown
