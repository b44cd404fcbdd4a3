"""Where each job stands, in sweeps made by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Squeue
from fake_runs import write_config, write_failure, write_run
from safetensors.torch import save

from cl_runner.results.files import FAILED, STATE
from cl_runner.results.locks import locked
from cl_runner.sweeps.queue import FOLDER, log_of, record, submission_of
from cl_runner.sweeps.status import reason_of, statuses


def unfinished(directory: Path) -> Path:
    write_config(directory, "ewc", 0, {})
    return directory


def submitted(sweep: Path, **tasks: str) -> None:
    """A submission whose task `12_3`, here named `t12_3`, computes the runs with these names."""
    (sweep / FOLDER).mkdir(exist_ok=True)
    record(sweep, submission_of("slurm", {task[1:]: names.split() for task, names in tasks.items()}))


def write_state(directory: Path, task: int, epoch: int) -> None:
    """Of a state, as much as tells where it stands; both are counted from 0."""
    header = {"state": json.dumps({"task": task, "epoch": epoch, "step": 0})}
    (directory / STATE).write_bytes(save({"losses": torch.zeros(1)}, header))


def only(sweep: Path) -> tuple[str, str]:
    (job,) = statuses(sweep)
    return job.state, job.words


def test_no_sweep(tmp_path: Path) -> None:
    assert statuses(tmp_path) == []
    assert statuses(tmp_path / "nowhere") == []


def test_finished_and_failed(tmp_path: Path, squeue: Squeue) -> None:
    # What the queue says of them no longer counts.
    squeue("12|0|RUNNING|None")
    write_run(tmp_path / "0", 0.5)
    write_failure(tmp_path / "1", "freeze: got 2,\nallowed: less")
    submitted(tmp_path, t12_0="0 1")
    found = [(job.directory.name, job.state, job.task, job.words) for job in statuses(tmp_path)]
    assert found == [("0", "finished", "12_0", ""), ("1", "failed", "12_0", "freeze: got 2, allowed: less")]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"why": "so"}'])
def test_a_reason_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    (tmp_path / FAILED).write_text(content)
    assert reason_of(tmp_path) == "failed.json cannot be read"


def test_running_where_its_lock_is_held(tmp_path: Path, squeue: Squeue) -> None:
    # Computed on this machine, whatever became of the task that it was once submitted as.
    squeue("12|0|CANCELLED|None")
    run = unfinished(tmp_path / "0")
    submitted(tmp_path, t12_0="0")
    with locked([run]):
        assert only(tmp_path) == ("running", "starting")
        (run / "training.csv").write_text("task,epoch,data_loss\n")
        assert only(tmp_path) == ("running", "starting")
        (run / "training.csv").write_text("task,epoch,data_loss\n1,9,0.3\n2,4,0.5\n")
        assert only(tmp_path) == ("running", "task 2, epoch 4")
    assert only(tmp_path)[0] == "lost"


def test_what_the_queue_says(tmp_path: Path, squeue: Squeue) -> None:
    for name in "01234":
        unfinished(tmp_path / name)
    (tmp_path / "0" / "training.csv").write_text("task,epoch,data_loss\n3,1,0.3\n")
    submitted(tmp_path, t12_0="0 1", t12_1="2", t12_2="3")
    squeue("12|0|RUNNING|None", "12|1|PENDING|Resources", "12|2|TIMEOUT|TimeLimit", "99|0|RUNNING|None")
    found = {job.directory.name: (job.state, job.task, job.words) for job in statuses(tmp_path)}
    assert found == {
        "0": ("running", "12_0", "task 3, epoch 1"),
        "1": ("running", "12_0", "starting"),
        "2": ("waiting", "12_1", "PENDING (Resources)"),
        "3": ("lost", "12_2", "TIMEOUT (TimeLimit); it has no saved state"),
        # Never submitted.
        "4": ("lost", "", "not submitted; it has no saved state"),
    }


def test_a_process_of_this_machine_takes_one_stack_after_the_other(tmp_path: Path) -> None:
    # Its second stack is locked by nobody yet; the process stands for this one.
    for name in "01":
        unfinished(tmp_path / name)
    (tmp_path / FOLDER).mkdir()
    record(tmp_path, submission_of("local", {str(os.getpid()): ["0", "1"]}))
    with locked([tmp_path / "0"]):
        assert [job.state for job in statuses(tmp_path)] == ["running", "waiting"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (None, ""),
        ("", ""),
        ("stopped by SIGTERM\n", "stopped by SIGTERM; "),
        (
            "first\nOSError: no\n\nsrun: error: n1: task 0: Exited with exit code 1\nsrun: Terminating\n",
            "OSError: no; ",
        ),
    ],
)
def test_lost_with_what_its_log_says_last(log: str | None, said: str, tmp_path: Path, squeue: Squeue) -> None:
    squeue()
    run = unfinished(tmp_path / "0")
    submitted(tmp_path, t12_0="0")
    if log is not None:
        log_of(tmp_path, "12_0").write_text(log)
    assert only(tmp_path) == ("lost", f"{said}it has no saved state")
    write_state(run, task=1, epoch=6)
    assert only(tmp_path) == ("lost", f"{said}saved in task 2, epoch 7")
    (run / STATE).write_bytes(b"half a state")
    assert only(tmp_path) == ("lost", f"{said}its saved state cannot be read")


@pytest.mark.usefixtures("no_slurm")
def test_unknown_where_only_another_machine_could_tell(tmp_path: Path) -> None:
    for name in "01":
        unfinished(tmp_path / name)
    submitted(tmp_path, t12_0="0")
    record(tmp_path, replace(submission_of("local", {str(os.getpid()): ["1"]}), host="elsewhere"))
    assert [(job.state, job.words) for job in statuses(tmp_path)] == [
        ("unknown", "this machine has no SLURM to ask"),
        ("unknown", "submitted on elsewhere, to be asked there"),
    ]


def test_the_latest_submission_counts(tmp_path: Path, squeue: Squeue) -> None:
    for name in "01":
        unfinished(tmp_path / name)
    submitted(tmp_path, t12_0="0 1")
    submitted(tmp_path, t15_0="1")
    squeue("12|0|TIMEOUT|None", "15|0|PENDING|None")
    assert [(job.state, job.task) for job in statuses(tmp_path)] == [("lost", "12_0"), ("waiting", "15_0")]
    squeue("12|0|PENDING|None", "15|0|TIMEOUT|None")
    assert [(job.state, job.task) for job in statuses(tmp_path)] == [("waiting", "12_0"), ("lost", "15_0")]


def test_runs_in_folders_of_their_own(tmp_path: Path, squeue: Squeue) -> None:
    unfinished(tmp_path / "ewc" / "seed=1")
    submitted(tmp_path, t12_0="ewc/seed=1")
    squeue("12|0|PENDING|None")
    assert only(tmp_path) == ("waiting", "PENDING")


def test_a_queue_that_does_not_answer(tmp_path: Path, squeue: Squeue) -> None:
    unfinished(tmp_path / "0")
    submitted(tmp_path, t12_0="0")
    squeue(error="slurm_load_jobs error: Unable to contact slurm controller")
    (found,) = statuses(tmp_path)
    assert found.state == "unknown"
    assert "Unable to contact" in found.words
