"""One process at a time in a run's directory, and who is there can be asked without getting in its way."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import MakeConfig
from test_runner import Silent

from cl_runner.errors import LockedError, RunError
from cl_runner.results.files import FAILED, LOCK
from cl_runner.results.locks import is_locked, locked, mark_failed_unless_locked
from cl_runner.runs.loop import run_stack


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    holding = (
        "import sys; from pathlib import Path; from cl_runner.results.locks import locked\n"
        "with locked([Path(sys.argv[1])]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holding, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_second_process_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("benchmark.tasks=1", "benchmark.train_samples=100", "train.epochs=1", "model.hidden=[9]")
    with held_by_another_process(tmp_path / "run"):
        with pytest.raises(LockedError, match="another process"):
            run_stack([config], [tmp_path / "run"], Silent())
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    # The lock went with the process.
    run_stack([config], [tmp_path / "run"], Silent())


def test_of_many_directories_none_stays_locked_if_one_is_refused(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "b"):
        with (
            pytest.raises(LockedError, match=f"{tmp_path / 'b'}: another process"),
            locked([tmp_path / "a", tmp_path / "b"]),
        ):
            pass
        assert not is_locked(tmp_path / "a")


def test_whether_a_process_is_there(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nowhere")
    with held_by_another_process(tmp_path) as other:
        assert is_locked(tmp_path)
        other.kill()
        other.wait()
        assert not is_locked(tmp_path)
    assert (tmp_path / LOCK).exists()
    with locked([tmp_path]):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_asking_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    asking = (
        "import sys; from pathlib import Path; from cl_runner.results.locks import is_locked\n"
        "print('asks', flush=True)\nwhile True: is_locked(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", asking, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "asks\n"
        try:
            for _ in range(100):
                with locked([tmp_path]):
                    assert is_locked(tmp_path)
        finally:
            other.kill()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(
    number: int, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    config = make_config("benchmark.tasks=1", "benchmark.train_samples=100", "train.epochs=1", "model.hidden=[9]")
    (tmp_path / LOCK).touch()
    monkeypatch.setattr("fcntl.flock", refuse)
    refused = rf"^{tmp_path}: its file system has no locks \({os.strerror(number)}\).* choose a directory elsewhere"
    with pytest.raises(RunError, match=refused):
        run_stack([config], [tmp_path], Silent())
    # Nothing was begun, and whoever only looks is not in the way.
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert not is_locked(tmp_path)


def test_a_lock_that_fails_otherwise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path / LOCK}'"), locked([tmp_path]):
        pass


def test_a_failure_is_not_written_into_the_work_of_another(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path):
        mark_failed_unless_locked(tmp_path, "its process was killed")
        assert not (tmp_path / FAILED).exists()
    mark_failed_unless_locked(tmp_path, "its process was killed")
    assert json.loads((tmp_path / FAILED).read_text()) == {"reason": "its process was killed"}
