"""The launchers for clusters, by processes of this machine instead of one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import MakeConfig, Squeue
from submitit import JobEnvironment
from test_cli import Runner, cl_run

from cl_runner.errors import StoppedError
from cl_runner.results.files import COMPLETE, STATE
from cl_runner.sweeps.array_task import ArrayTask
from cl_runner.sweeps.detaching import outside_of_jobs
from cl_runner.sweeps.jobs import Job
from cl_runner.sweeps.queue import recorded
from cl_runner.sweeps.status import statuses

__all__ = ["cl_run"]

SMALL = ["benchmark.tasks=2", "benchmark.train_samples=100", "model.hidden=[9]", "train.curve_points=1", "method=ewc"]


def start(place: Path, launcher: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cl_runner", "-m", f"hydra/launcher={launcher}", *SMALL, *arguments]
    return subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_jobs_outlive_the_command_and_its_terminal(cl_run: Runner, tmp_path: Path) -> None:
    runs = ["seed=0,1,2", "train.epochs=300", "hydra.launcher.array_parallelism=2", "hydra.launcher.size=1"]
    process = start(tmp_path, "slurm_local", *runs, "hydra.sweep.dir=s")
    training = tmp_path / "s" / "0" / "training.csv"
    until = time.monotonic() + 120
    while not training.exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    # As Ctrl-C and a lost terminal do, to all that was started from it.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 runs in 3 stacks\nsubmitted as 2 tasks" in output
    assert "how far the others are: cl-report --status s" in output
    os.killpg(process.pid, signal.SIGHUP)
    assert {job.state for job in statuses(tmp_path / "s")} <= {"running", "waiting", "finished"}
    # The same command looks on again.
    process = start(tmp_path, "slurm_local", *runs, "hydra.sweep.dir=s")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "3 of 3 runs complete, in s" in output
    assert "submitted as" not in output
    here = ["hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.launcher.size=1", "hydra.sweep.dir=here"]
    assert cl_run("-m", *here, *SMALL, *runs[:2])[0] == 0
    for run in "012":
        assert (tmp_path / "s" / run / COMPLETE).read_bytes() == (tmp_path / "here" / run / COMPLETE).read_bytes()


def test_a_command_that_does_not_wait_lets_go_of_its_output(tmp_path: Path) -> None:
    # What a sweep before has left is no obstacle.
    (tmp_path / "s" / ".submitit").mkdir(parents=True)
    (tmp_path / "s" / ".submitit" / "submission_0001.json").touch()
    endless = ["seed=0,1", "train.epochs=100000", "hydra.launcher.array_parallelism=1", "hydra.launcher.wait=false"]
    process = start(tmp_path, "slurm_local", *endless, "hydra.launcher.setup=[echo hello]", "hydra.sweep.dir=s")
    # Until nobody has the pipe open any more.
    output, _ = process.communicate(timeout=120)
    (submission,) = recorded(tmp_path / "s")
    tasks = [psutil.Process(int(task)) for task in submission.tasks]
    ends = [child for task in tasks for child in (task, *task.children(recursive=True))]
    try:
        assert process.returncode == 0, output
        assert "s/.submitit/submission_0001.json is damaged" in output
        assert "submitted as 1 task" in output
        assert all(task.is_running() for task in tasks)
        assert {job.state for job in statuses(tmp_path / "s")} <= {"running", "waiting"}
        assert (tmp_path / "s" / ".submitit" / "setup.log").read_text().startswith("hello")
    finally:
        for task in ends:
            task.kill()


def test_a_run_that_finishes_while_jobs_are_composed_counts(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = [*SMALL, "seed=0,1", "hydra.sweep.dir=s"]
    assert cl_run("-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", *sweep)[0] == 0
    # As the look at what is at work found them, before.
    monkeypatch.setattr("cl_runner.sweeps.slurm._at_work", lambda _: {Path("s") / run for run in "01"})
    code, output, error = cl_run("-m", "hydra/launcher=slurm_local", *sweep)
    assert code == 0, error
    assert "2 of 2 runs complete, in s" in output
    assert not recorded(tmp_path / "s")


@pytest.mark.parametrize("name", ["100%", "%j", "back\\slash", "two\nlines"])
def test_a_name_that_submitted_jobs_would_not_find_is_refused(name: str, cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    code, _, error = cl_run("-m", "hydra/launcher=slurm_local", *SMALL, "seed=0,1", "hydra.sweep.dir=link/s")
    assert code == 2
    assert "hydra.sweep.dir: got '" in error
    assert "allowed: a path without %, backslashes and ends of lines" in error
    assert list((tmp_path / name).iterdir()) == []


def test_what_a_job_submits_is_outside_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "SRUN", "SALLOC"))]:
        monkeypatch.delenv(name)
    kept = {"SLURM_CONF": "slurm.conf", "SBATCH_ACCOUNT": "mine", "SBATCH_QOS": "long", "SLURMY": "1", "HOME": "/root"}
    left = {
        "SLURM_JOB_ID": "7",
        "SLURM_MEM_PER_CPU": "100",
        "SLURM_EXPORT_ENV": "NONE",
        "SRUN_CPUS_PER_TASK": "3",
        "SBATCH_EXPORT": "NONE",
        "SBATCH_MEM_PER_NODE": "9",
        "SBATCH_PARTITION": "other",
        "SBATCH_RESERVATION": "other",
    }
    for name, value in (kept | left).items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    options = {"partition": "given", "account": None, "additional_parameters": {"reservation": "given"}}
    with outside_of_jobs(options):
        assert dict(os.environ) == {name: value for name, value in before.items() if name not in left}
    assert dict(os.environ) == before


@pytest.mark.parametrize(("code", "again"), [(138, True), (143, True), (130, False), (1, False), (0, False)])
def test_the_batch_file_of_ones_own_has_itself_requeued_after_a_signal(
    code: int, again: bool, squeue: Squeue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = squeue("RUNNING").parent
    for name, lines in {"srun": f"env\necho $@\nexit {code}", "scontrol": f"echo $@ > {tmp_path}/asked"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
    for name, value in {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_MEM_PER_CPU": "9"}.items():
        monkeypatch.setenv(name, value)
    batch = Path(__file__).parents[1] / "scripts" / "slurm" / "sweep.sbatch"
    ended = subprocess.run(["bash", batch], capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert (tmp_path / "asked").exists() == again
    assert not again or (tmp_path / "asked").read_text() == "requeue 7_2\n"
    # Of the job from within which it was submitted.
    assert "SLURM_MEM_PER" not in ended.stdout
    assert "--export=ALL cl-run" in ended.stdout


@pytest.fixture
def requeued() -> Iterator[list[int]]:
    """Stands in for submitit's handler, which requeues a task, and restores those of the signals."""
    calls: list[int] = []
    asks = signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]
    before = {number: signal.getsignal(number) for number in (asks, signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(asks, lambda number, _: calls.append(number))
    yield calls
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "computes", "state", "again"),
    [
        (signal.SIGUSR1, True, "RUNNING", True),
        # It would end at the limit once more, and once more.
        (signal.SIGUSR1, False, "RUNNING", False),
        (signal.SIGTERM, True, "RUNNING", True),
        (signal.SIGTERM, True, "CANCELLED", False),
        (signal.SIGTERM, True, "COMPLETING", False),
        (signal.SIGTERM, True, "", False),
    ],
)
def test_when_a_task_is_requeued(
    number: signal.Signals,
    computes: bool,
    state: str,
    again: bool,
    requeued: list[int],
    tmp_path: Path,
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def compute(_: ArrayTask) -> None:
        if computes:
            (tmp_path / STATE).write_bytes(bytes(10))
        raise StoppedError(number)

    monkeypatch.setattr(ArrayTask, "_compute", compute)
    monkeypatch.setattr("cl_runner.sweeps.array_task.slurm_state", lambda: state)
    with pytest.raises(SystemExit) as left:
        ArrayTask([[Job(0, make_config(), tmp_path)]], tmp_path)()
    assert left.value.code == 128 + number
    assert requeued == ([number] if again else [])
    assert ("raise hydra.launcher.timeout_min" in capsys.readouterr().err) == (not computes)
