"""Sweeps on a real SLURM."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from local_slurm import (
    CLUSTER,
    LONG,
    MEMORY,
    SMALL,
    Sweep,
    cluster,
    is_training,
    same,
    sweep,
    task_of,
    undisturbed,
    until,
)
from test_cli import cl_run

from cl_runner.results.files import FAILED, STATE
from cl_runner.sweeps.status import statuses

__all__ = ["cl_run", "cluster", "sweep", "undisturbed"]


@pytest.mark.usefixtures("cluster")
def test_a_sweep_is_an_array_and_the_same_as_on_this_machine(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As from within another job, and a folder whose name the batch file must quote.
    other = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "100", "SLURM_NTASKS": "9", "SBATCH_EXPORT": "NONE"}
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / 'it\'s "q"'
    place.mkdir()
    (tmp_path / "s").symlink_to(place)
    runs = ["method=ewc,global_mask", "seed=0,1", "train.epochs=2", *SMALL[:-1]]
    options = ["hydra.launcher.size=2", "hydra.launcher.gpus_per_node=1", MEMORY]
    output = sweep(*runs, *options, "hydra.sweep.dir=s")
    assert "4 runs in 2 stacks\nsubmitted as 2 tasks: " in output
    assert "4 of 4 runs complete, in s" in output
    sweep(*runs, "hydra.launcher.size=2", "hydra.sweep.dir=here", "hydra.launcher.workers=1", launcher="stacked")
    assert all(same(tmp_path / "s" / str(run), tmp_path / "here" / str(run)) for run in range(4))
    script = next((tmp_path / "s" / ".submitit").glob("*_submission.sh")).read_text()
    assert "--array=0-1%" in script
    assert "#SBATCH --gpus-per-node=1" in script
    assert "#SBATCH --mem=1024M" in script
    assert "#SBATCH --signal=USR1@90" in script
    again = sweep(*runs, MEMORY, "hydra.sweep.dir=s")
    assert "submitted" not in again
    assert "4 of 4 runs complete" in again


@pytest.mark.usefixtures("cluster")
def test_the_first_failure_cancels_the_others(sweep: Sweep, tmp_path: Path) -> None:
    # The weights of the second grow by a twentieth a step; the third has to wait for a node.
    decay = ["seed=0,1,2", "train.weight_decay=0,20.5,0", "hydra.sweeper.zipped=[[seed,train.weight_decay]]"]
    runs = [
        *SMALL,
        *decay,
        "train.optimizer=sgd",
        "train.learning_rate=0.1",
        "train.epochs=1000000",
        MEMORY,
        "hydra.launcher.size=1",
        "hydra.sweep.dir=s",
    ]
    output = sweep(*runs, "hydra.sweeper.fail_fast=true", "hydra.launcher.array_parallelism=2", code=1)
    assert "stopped at the first failure; the same command goes on with the others" in output
    assert "0 of 3 runs complete, 1 failed, in s" in output
    assert {status.directory.name: status.state for status in statuses(tmp_path / "s")} == {
        "0": "lost",
        "1": "failed",
        "2": "lost",
    }
    assert "saved in task 1" in statuses(tmp_path / "s")[0].words


@pytest.mark.usefixtures("cluster")
def test_a_cancelled_job_is_lost_until_the_sweep_is_started_again(sweep: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    runs = [*LONG, "seed=7,8", MEMORY, "hydra.launcher.size=1", "hydra.sweep.dir=s"]
    output = sweep(*runs, "hydra.launcher.wait=false")
    assert "how far the others are: cl-report --status s" in output
    until(lambda: is_training(folder / "0") and is_training(folder / "1"))
    subprocess.run(["scancel", task_of(folder, 0)], check=True)
    # What a site sends that gives some seconds of grace before it preempts. This task has the id of the whole array.
    subprocess.run(["scancel", "--signal=TERM", task_of(folder, 1)], check=True)
    until(lambda: statuses(folder)[0].words.startswith("CANCELLED; stopped by SIGTERM"))
    until(lambda: statuses(folder)[1].state == "waiting")
    lost = statuses(folder)[0]
    assert "saved in task" in lost.words
    assert (folder / "0" / STATE).exists()
    output = sweep(*runs)
    assert "1 run in 1 stack" in output
    assert "2 of 2 runs complete" in output


@pytest.mark.usefixtures("cluster")
def test_a_batch_file_of_ones_own(tmp_path: Path, undisturbed: Callable[[int], Path]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    options = ["--array=0-1", "--mem=1G", "--signal=USR1@30", f"--export=ALL,SWEEP=s,PATH={path}"]
    submit = ["sbatch", *options, str(CLUSTER.parent / "sweep.sbatch"), *LONG]
    subprocess.run(submit, cwd=tmp_path, check=True)
    runs = [tmp_path / "s" / f"seed-{seed}" / "0" for seed in (0, 1)]
    until(lambda: all(is_training(run) for run in runs))
    subprocess.run(["scancel", "--signal=USR1", "--name=cl_runner"], check=True)
    logs = list(tmp_path.glob("slurm-*.out"))
    assert len(logs) == 2
    until(lambda: all("1 of 1 runs complete" in log.read_text() for log in logs))
    # Each of them once, and by itself.
    assert all(log.read_text().count("stopped by") == log.read_text().count("stopped by SIGUSR1") == 1 for log in logs)
    assert same(runs[0], undisturbed(0))


@pytest.mark.usefixtures("cluster")
def test_what_fails_says_why(sweep: Sweep, tmp_path: Path) -> None:
    diverging = ["method.ewc_lambda=1,1e30", "train.optimizer=sgd", "train.learning_rate=0.1", "train.epochs=2"]
    output = sweep(*SMALL, *diverging, MEMORY, "hydra.sweep.dir=s", code=1)
    assert "1 of 2 runs complete, 1 failed" in output
    assert "the loss became infinite or not a number in task 2" in output
    assert (tmp_path / "s" / "1" / FAILED).exists()
    output = sweep(*SMALL, "hydra.launcher.partition=none", MEMORY, "hydra.sweep.dir=t", code=1)
    assert "error: nothing was submitted: sbatch: error: " in output
    assert "Traceback" not in output
    output = sweep(*SMALL, "hydra.launcher.timeout_min=0", "hydra.sweep.dir=u", code=2)
    assert "hydra.launcher.timeout_min: got 0, allowed: an integer from 1 to 525600" in output
    assert not (tmp_path / "u").exists()
