"""What goes wrong with one run of a sweep costs that run, at every start, and what goes wrong with none costs none."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import MakeConfig
from test_cli import Runner, cl_run
from test_launching import HERE, contents, reason

from cl_runner.config.schema import Config
from cl_runner.errors import StoppedError, UnforeseenError, explained, unforeseen
from cl_runner.results.files import COMPLETE, FAILED, STATE, position_of
from cl_runner.runs import loop
from cl_runner.runs.recorder import Recorder
from cl_runner.sweeps.jobs import Job
from cl_runner.sweeps.workers import Workers

__all__ = ["cl_run"]

TWO = "hydra.launcher.workers=2"


def complete(sweep: Path) -> str:
    return " ".join(sorted(file.parent.name for file in sweep.glob(f"*/{COMPLETE}")))


def test_an_unforeseen_error_costs_the_run_that_it_is_of(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tried = loop.run_stack, []

    def faulty(configs: list[Config], *arguments: Any, **named: Any) -> Any:
        tried.append(len(configs))
        if any(config.seed == 3 for config in configs):
            raise KeyError(3)
        return whole(configs, *arguments, **named)

    monkeypatch.setattr("cl_runner.runs.loop.run_stack", faulty)
    code, output, error = cl_run(*HERE, "seed=range(0,5)")
    assert code == 1
    assert "4 of 5 runs complete, 1 failed" in output
    assert complete(tmp_path / "sweep") == "0 1 2 4"
    assert tried == [5, 2, 3, 1, 2, 1, 1]
    assert "Traceback" not in error
    assert re.fullmatch(
        rf"KeyError: 3 \({re.escape(__file__)}, line \d+\) \(its traceback is in cl_runner.log\)",
        reason(tmp_path / "sweep" / "3"),
    )
    log = (tmp_path / "sweep" / "3" / "cl_runner.log").read_text()
    assert log.startswith("Traceback")
    assert "in faulty" in log
    assert "Traceback" not in (tmp_path / "sweep" / "2" / "cl_runner.log").read_text()


@pytest.mark.parametrize("sweep", [[], ["-m", "hydra.sweep.dir=.", "hydra.sweep.subdir=run", "seed=0"]])
def test_so_it_is_with_a_run_on_its_own(
    sweep: list[str], cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_runner.runs.loop.run_stack", lambda *_, **__: 1 // 0)
    code, _, error = cl_run(*(sweep or ["hydra.run.dir=run"]), *HERE[4:])
    assert code == 1
    assert f"error: ZeroDivisionError: integer division or modulo by zero ({__file__}, line " in error
    assert "Traceback" not in error
    assert "ZeroDivisionError" in reason(tmp_path / "run")
    assert "Traceback" in (tmp_path / "run" / "cl_runner.log").read_text()


def test_a_damaged_file_costs_its_run_at_every_start(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise StoppedError(signal.SIGTERM)

    runs = [*HERE, "method=global_mask", "freeze=0.5", "seed=range(0,5)"]
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "finish", stop)
        assert cl_run(*runs)[0] == 128 + signal.SIGTERM
    folder = tmp_path / "sweep"
    damaged = folder / "1" / "significance" / "task_1.safetensors"
    damaged.write_bytes(b"")
    lost = folder / "3" / "masks" / "task_1.safetensors"
    lost.unlink()
    for _ in range(2):
        code, output, _ = cl_run(*runs)
        assert code == 1
        assert "3 of 5 runs complete, 2 failed" in output
        for run, file in ((folder / "1", damaged), (folder / "3", lost)):
            assert reason(run).startswith(f"{file.relative_to(tmp_path)} is damaged or gone")
            # It can be mended from outside.
            assert position_of(run)
    (folder / "1" / STATE).unlink()
    (folder / "3" / STATE).unlink()
    assert cl_run(*runs)[0] == 0


def test_a_folder_that_cannot_be_written_costs_its_run_at_every_start(cl_run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    # A file where a run's folder, one of its tables, or its lock is to be.
    folder.mkdir()
    (folder / "1").write_text("mine")
    (folder / "2" / "layers.csv").mkdir(parents=True)
    (folder / "3" / ".lock").mkdir(parents=True)
    for _ in range(2):
        code, output, _ = cl_run(*HERE, TWO, "seed=range(0,6)")
        assert code != 0
        assert "4 of 6 runs complete, 2 failed" in output
        assert "sweep/2/layers.csv: Is a directory" in reason(folder / "2")
        assert "sweep/3/.lock" in reason(folder / "3")
    # Another directory is found for the one.
    assert complete(folder) == "0 4 5 6"
    assert (folder / "1").read_text() == "mine"


def test_what_is_wrong_with_one_job_while_all_are_composed_costs_that_job(cl_run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert cl_run(*HERE, "seed=0,1")[0] == 0
    shutil.rmtree(folder / "0" / ".hydra")
    (folder / "0" / "run.json").unlink()
    before = contents(folder / "0")
    code, output, error = cl_run(*HERE, "seed=0,1,2")
    assert code == 0
    assert "3 of 3 runs complete" in output
    assert "sweep/0: nothing says whose it is" in error
    assert contents(folder / "0") == before
    # A folder by the settings of its job, of which one is too long for a name.
    long = [*HERE[:3], "hydra.sweep.dir=long", "hydra.sweep.subdir=${method.name}", *HERE[4:]]
    long.append(f"method.name=a,{'b' * 300},c")
    code, output, error = cl_run(*long)
    assert code != 0
    assert "2 of 3 runs complete, 1 failed" in output
    assert "File name too long" in error
    assert complete(tmp_path / "long") == "a c"


@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_failed_job_keeps_no_batch_from_being_begun(launcher: str, cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep", *HERE[4:], "hydra.sweeper.max_batch_size=2"]
    sweep += ["hydra.launcher.workers=1"] if launcher == "stacked" else []
    fails = ["train.optimizer=sgd", "train.learning_rate=0.1,1e30", "seed=0,1,2"]
    # The first and the third batch have one that diverges.
    code, _, _ = cl_run(*sweep, *fails)
    assert code == 1
    assert complete(tmp_path / "sweep") == "0 1 2"
    assert all((tmp_path / "sweep" / job / FAILED).exists() for job in "345")
    if launcher == "basic":
        return
    # All of a batch are wrong; and all of all, which leaves the record of the sweep before.
    record = tmp_path / "sweep" / "multirun.yaml"
    before = record.read_bytes()
    assert cl_run(*sweep, "freeze=3,2")[0] == 2
    assert record.read_bytes() == before
    assert cl_run(*sweep, "hydra.sweep.dir=other", "freeze=3,2,0.5")[0] == 2
    assert complete(tmp_path / "other") == "2"


def test_an_error_that_cannot_leave_its_process_is_told_by_its_text(tmp_path: Path) -> None:
    class LocalError(Exception):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one}\n{other}")

    found = unforeseen(LocalError(1, 2))
    assert type(found) is UnforeseenError
    line = str(explained(found, tmp_path / "log"))
    assert line.endswith("LocalError: 1 2 (its traceback is in log)")
    assert "LocalError: 1\n2" in (tmp_path / "log").read_text()
    # Where the log cannot be written, it is told all the same.
    assert str(explained(found, tmp_path / "none" / "log")) == line


@pytest.fixture
def job(make_config: MakeConfig, tmp_path: Path) -> Job:
    return Job(0, make_config(*HERE[4:]), tmp_path / "run")


def died(processes: Callable[[], list[psutil.Process]]) -> None:
    for process in (killed := processes()):
        process.kill()
    psutil.wait_procs(killed)


def workers_of(pool: Workers) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pool._pool._processes]  # type: ignore[attr-defined]


def test_processes_that_were_killed_while_idle_are_replaced(job: Job) -> None:
    handler = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with Workers(2) as pool:
            pool.free_memory()
            died(lambda: workers_of(pool))
            # Nor does the pipe that they read end this process.
            assert list(pool.run([[job]], 2, lambda *_: None)) == [(job, None)]
    finally:
        signal.signal(signal.SIGPIPE, handler)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)


FAILING = """
import os, signal, sys
from cl_runner.sweeps import workers
from cl_runner.errors import LaunchError
from multiprocessing import forkserver
if __name__ == "__main__":
    {before}
    try:
        with workers.Workers(2) as pool:
            {then}
            pool.free_memory()
    except LaunchError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("before", "then", "told"),
    [
        # As the system does where there is no memory; it is importing.
        ("", "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP);"
         "__import__('threading').Timer(1, os.kill, [forkserver._forkserver._forkserver_pid, signal.SIGKILL]).start()",
         "a process that was to compute was killed, most likely for want of memory"),
        ("import tempfile; tempfile.tempdir = os.path.realpath('t' * 90); os.mkdir(tempfile.tempdir)", "",
         "AF_UNIX path too long, and TMPDIR says where such are"),
        ("import multiprocessing.synchronize as s; s.SemLock.__init__ = lambda *_, **__: (_ for _ in ()).throw("
         "OSError(28, 'No space left on device'))", "", "no process can be started: /dev/shm: No space left on device"),
    ],
    ids=["killed", "path", "shm"],
)  # fmt: skip
def test_processes_that_cannot_be_started_are_told_in_a_line(before: str, then: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(FAILING.format(before=before or "pass", then=then or "pass"))
    command = [sys.executable, "start.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert told in found.stdout
    assert "Traceback" not in found.stderr
