import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeConfig
from rich.console import Console

from cl_runner.cli.show import show_place, show_results
from cl_runner.metrics import continual_metrics
from cl_runner.runs.evaluation import Score, Scores
from cl_runner.runs.progress import TerminalProgress
from cl_runner.runs.training import Epoch
from cl_runner.sweeps.jobs import Job
from cl_runner.sweeps.progress import SweepProgress

ZERO = torch.zeros(1)
EPOCH = Epoch(2, (2,), data_loss=torch.tensor([0.25]), terms={}, diverged=ZERO.bool(), samples=10, seconds=0.1)
SCORES = Scores([Score(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([10]))] * 3, None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_plain_line_a_task() -> None:
    console = Console(file=io.StringIO())
    with TerminalProgress(console) as progress:
        progress.epoch(1, 3, EPOCH)
        progress.task(1, 3, SCORES)
    assert written(console) == "task 1/3: loss 0.2500, test scores on the tasks so far 0.500\n"


def test_in_a_terminal_there_is_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with TerminalProgress(console) as progress:
        progress.epoch(2, 3, EPOCH)
        progress.task(2, 3, SCORES)
    shown = written(console)
    assert "task 2/3 epoch 2/2 loss 0.250" in shown
    assert "67%" in shown


def test_no_number_is_cut_off_however_many_tasks() -> None:
    matrix = np.random.default_rng(0).random((31, 30))
    console = Console(file=io.StringIO())
    show_results(console, "title", matrix[1:], continual_metrics(matrix))
    shown = written(console)
    assert all(f" {100 * value:.1f} " in shown for value in matrix[1:].ravel())
    assert "…" not in shown


def test_names_have_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console, name = Console(file=io.StringIO(), width=120), "[/x] [bold]b[/bold] \x1b[2J"
    matrix = np.array([[0.1], [0.9]])
    show_results(console, name, matrix[1:], continual_metrics(matrix))
    show_place(console, tmp_path / name)
    with SweepProgress(console, 1) as progress:
        progress.warn([name])
        progress.failed(0, [name], name)
        progress.finish(tmp_path / name)
    shown = written(console) + capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count(r"[/x] [bold]b[/bold] \x1b[2J") == 6


def test_what_a_single_task_lacks_is_shown_as_such() -> None:
    matrix = np.array([[0.1], [0.9]])
    console = Console(file=io.StringIO())
    show_results(console, "title", matrix[1:], continual_metrics(matrix))
    shown = written(console)
    assert "backward_transfer      needs two tasks" in shown


def test_a_metric_that_says_nothing_is_left_out_with_the_reason() -> None:
    matrix = np.random.default_rng(0).random((4, 3))
    console = Console(file=io.StringIO())
    show_results(console, "title", matrix[1:], continual_metrics(matrix, shared=False))
    (line,) = (line for line in written(console).splitlines() if line.startswith("forward_transfer"))
    assert line.split(maxsplit=2)[1:] == ["–", "left out: a task's own outputs know nothing before it is learned"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_sweep_is_shown_as_a_whole(
    is_terminal: bool, make_config: MakeConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    jobs = [Job(number, make_config(f"seed={number}"), tmp_path) for number in range(5)]
    with SweepProgress(console, 7) as progress:
        progress.composing(3)
        progress.warn(["freeze was set but is not used"])
        progress.warn(["freeze was set but is not used"])
        progress.found(Path("sweep/5"), finished=True)
        progress.failed(6, ["freeze=2"], "freeze: got 2.0")
        progress.computing([jobs[:2], jobs[2:]])
        progress.advance(jobs[:2], 0.5)
        progress.advance(jobs[2:], 1.0)
        for _ in range(5):
            progress.done()
        progress.finish(Path("sweep"))
    shown = written(console)
    assert shown.count("freeze was set but is not used") == 1
    assert "job 6 (freeze=2): freeze: got 2.0" in shown
    assert "5 runs in 2 stacks, 1 finished before" in shown
    assert "found again, finished: 5" in shown
    assert "runs/min" in shown
    # One run's worth of the first stack and all three of the second.
    assert ("80%" if is_terminal else "4 of 5 runs computed, ") in shown
    output = capsys.readouterr().out
    assert output == "6 of 7 runs complete, 1 failed, in sweep\nfor tables and figures: cl-report sweep\n"
