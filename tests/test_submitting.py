"""The launchers for clusters, by processes of this machine instead of one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeConfig
from submitit import JobEnvironment
from test_cli import Runner, cl_run

from cl_runner.array_tasks import ArrayTask
from cl_runner.errors import StoppedError
from cl_runner.files import COMPLETE, STATE
from cl_runner.status import statuses
from cl_runner.sweeps import Job

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
    monkeypatch.setattr("cl_runner.array_tasks.slurm_state", lambda: state)
    with pytest.raises(SystemExit) as left:
        ArrayTask([[Job(0, make_config(), tmp_path)]])()
    assert left.value.code == 128 + number
    assert requeued == ([number] if again else [])
    assert ("raise hydra.launcher.timeout_min" in capsys.readouterr().err) == (not computes)
