"""Signals: what is computed is saved, and the process leaves."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import Runner, cl_run

from cl_runner import signals
from cl_runner.errors import StoppedError
from cl_runner.results.files import COMPLETE, FAILED, STATE, position_of
from cl_runner.signals import SIGNALS, Pauses, held_back, leave_if_told, listen

__all__ = ["cl_run"]

SMALL = ["benchmark.tasks=2", "benchmark.train_samples=100", "model.hidden=[9]", "train.curve_points=1", "plots=none"]


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cl_runner", *arguments]
    return subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for(*files: Path) -> None:
    until = time.monotonic() + 120
    while not all(file.exists() and file.stat().st_size > 80 for file in files):
        assert time.monotonic() < until, f"{files} did not come"
        time.sleep(0.02)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    monkeypatch.setattr(signals, "_received", [])
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("listening")
def test_a_signal_ends_at_once_what_saves_no_state() -> None:
    with pytest.raises(StoppedError, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("listening")
def test_a_signal_waits_for_the_next_state() -> None:
    with Pauses(minutes=60) as pauses:
        assert not pauses.due()
        pauses.saved()
        os.kill(os.getpid(), signal.SIGUSR1)
        # A second one changes nothing.
        os.kill(os.getpid(), signal.SIGTERM)
        assert pauses.due()
        with pytest.raises(StoppedError, match="SIGUSR1"):
            pauses.saved()
    # What begins later is not begun.
    with pytest.raises(StoppedError, match="SIGUSR1"), Pauses(minutes=60):
        pass


@pytest.mark.usefixtures("listening")
def test_a_signal_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    with Pauses(minutes=60):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError, match="SIGTERM"):
            time.sleep(60)
    with pytest.raises(StoppedError), Pauses(minutes=60):
        pass
    monkeypatch.setattr(signals, "_received", [])
    with Pauses(minutes=60):
        os.kill(os.getpid(), signal.SIGTERM)
    # What ended in time is not disturbed.
    time.sleep(0.1)


@pytest.mark.usefixtures("listening")
def test_a_signal_is_asked_for_again_where_its_exception_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    leave_if_told()
    with Pauses(minutes=60):
        os.kill(os.getpid(), signal.SIGTERM)
        # The first may be lost, as where a clean-up fails because of it.
        for _ in range(2):
            with pytest.raises(StoppedError):
                time.sleep(60)
    with pytest.raises(StoppedError):
        leave_if_told()


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGTERM, StoppedError), (signal.SIGUSR1, StoppedError), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_is_held_back_and_then_answered(number: int, kind: type[BaseException]) -> None:
    done = []

    def work() -> None:
        with held_back():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            done.append(number)
            # What goes wrong then is not what is told.
            raise ValueError

    with pytest.raises(kind):
        work()
    assert done == [number]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_is_nothing_that_goes_wrong() -> None:
    # OmegaConf makes another exception of each, and Hydra a failed job.
    assert not issubclass(StoppedError, Exception)
    found = pickle.loads(pickle.dumps(StoppedError(signal.SIGUSR1)))
    assert (found.number, found.exit_code, str(found)) == (10, 138, str(StoppedError(10)))


@pytest.mark.parametrize(
    ("number", "launcher", "code"),
    [(signal.SIGTERM, "stacked", 143), (signal.SIGUSR1, "slurm_local", 138), (signal.SIGINT, "stacked", 130)],
)
def test_a_signal_while_jobs_are_composed_is_answered_then(
    number: signal.Signals, launcher: str, code: int, tmp_path: Path
) -> None:
    process = start(tmp_path, "-m", f"hydra/launcher={launcher}", "seed=range(0,500)", *SMALL, "hydra.sweep.dir=s")
    begun = tmp_path / "s" / "3" / ".hydra" / "config.yaml"
    wait_for(begun)
    process.send_signal(number)
    # Nor does a process that was started hold on to what this one writes to.
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert ("interrupted" if number == signal.SIGINT else f"stopped by {number.name}") in error
    assert len(list((tmp_path / "s").glob("*"))) < 500
    assert list(tmp_path.rglob(FAILED)) == []
    assert "error: job" not in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_saves_its_state_and_leaves(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, "hydra.run.dir=run", "train.epochs=100000", *SMALL)
    wait_for(tmp_path / "run" / "training.csv")
    process.send_signal(number)
    told = time.monotonic()
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - told < 10
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in error
    task, epoch, _ = position_of(tmp_path / "run") or ()
    assert (task, epoch) >= (0, 1)
    assert not (tmp_path / "run" / COMPLETE).exists()
    assert not (tmp_path / "run" / FAILED).exists()


def test_a_stacked_sweep_is_stopped_and_goes_on(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["-m", "train.epochs=300", "hydra/launcher=stacked", "hydra.launcher.workers=2", "seed=0,1,2"]
    runs = [tmp_path / "s" / str(job) for job in range(3)]
    process = start(tmp_path, *sweep, *SMALL, "hydra.sweep.dir=s")
    wait_for(*(run / "training.csv" for run in runs))
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, error
    # One may have ended before the other process began.
    unfinished = [run for run in runs if not (run / COMPLETE).exists()]
    assert unfinished
    assert all(position_of(run) and not (run / FAILED).exists() for run in unfinished)
    for folder in ("s", "undisturbed"):
        assert cl_run(*sweep, *SMALL, f"hydra.sweep.dir={folder}")[0] == 0
    for run in runs:
        same = tmp_path / "undisturbed" / run.name / COMPLETE
        assert (run / COMPLETE).read_bytes() == same.read_bytes()
        assert not (run / STATE).exists()


def test_a_stopped_run_goes_on_by_the_same_command(cl_run: Runner, tmp_path: Path) -> None:
    process = start(tmp_path, "hydra.run.dir=run", *SMALL, "train.epochs=200")
    wait_for(tmp_path / "run" / "training.csv")
    process.terminate()
    process.communicate(timeout=60)
    assert (tmp_path / "run" / STATE).exists()
    for name in ("run", "undisturbed"):
        assert cl_run(f"hydra.run.dir={name}", *SMALL, "train.epochs=200")[0] == 0
    metrics = [json.loads((tmp_path / name / COMPLETE).read_text()) for name in ("run", "undisturbed")]
    assert metrics[0] == metrics[1]
    assert not (tmp_path / "run" / STATE).exists()
