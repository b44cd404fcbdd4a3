"""A disk that is full or cannot be written to: one line says so, and what is there stays and can be gone on from."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import Runner, cl_run
from test_launching import contents

from cl_runner.errors import from_system
from cl_runner.results.files import COMPLETE, STATE, naming

__all__ = ["cl_run"]

QUICK = ["benchmark.tasks=2", "benchmark.train_samples=60", "train.epochs=1", "plots=none"]
# A run of so many units needs some hundred kilobytes a task.
RUN = [*QUICK, "model.hidden=[200]", "hydra.run.dir=disk/run"]
SWEEP = ["-m", *QUICK, "model.hidden=[8]", "hydra/launcher=stacked", "hydra.launcher.size=2", "hydra.sweep.dir=disk/s"]


def mount(*arguments: str) -> str:
    """Gives why it is not possible; empty if it is."""
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False).stderr.strip()
    except OSError as error:
        return str(error)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB, in the folder `disk` of the test's directory."""
    place = tmp_path / "disk"
    place.mkdir()
    refused = mount("-t", "tmpfs", "-o", "size=300k", "none", str(place))
    if refused:
        pytest.skip(f"no disk can be mounted here: {refused}")
    try:
        yield place
    finally:
        # Lazily: log files are still open.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(disk: Path, options: str) -> None:
    assert mount("-o", f"remount,{options}", str(disk)) == ""


def lines_of(error: str) -> list[str]:
    """Those of standard error that tell an error or more."""
    told = ("compos", " runs ", "found again")
    return [line for line in error.splitlines() if not any(word in line for word in told)]


def left_over(disk: Path) -> list[Path]:
    return [*disk.rglob("*.tmp"), *disk.rglob(COMPLETE)]


def test_a_run_on_a_full_disk_goes_on_where_there_is_room(disk: Path, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*RUN)
    assert code == 1
    (line,) = lines_of(error)
    assert line.startswith(f"error: {disk / 'run'}/")
    assert line.endswith(": No space left on device")
    assert left_over(disk) == []
    # It is known where it stood.
    assert (disk / "run" / STATE).exists()
    remount(disk, "size=3m")
    assert cl_run(*RUN)[0] == 0
    assert cl_run(*RUN, "hydra.run.dir=undisturbed")[0] == 0
    assert (disk / "run" / COMPLETE).read_bytes() == (tmp_path / "undisturbed" / COMPLETE).read_bytes()


def test_a_sweep_on_a_full_disk_is_completed_where_there_is_room(disk: Path, cl_run: Runner) -> None:
    sweep = [*SWEEP, "hydra.launcher.workers=2"]
    assert cl_run(*sweep, "seed=0")[0] == 0
    finished = contents(disk / "s" / "0")
    code, _, error = cl_run(*sweep, "seed=range(0,6)")
    assert code == 1
    (line,) = lines_of(error)
    assert line.startswith("error: disk/s/")
    assert line.endswith(": No space left on device")
    assert contents(disk / "s" / "0") == finished
    complete = {path.parent.name for path in disk.rglob(COMPLETE)}
    assert len(complete) < 6
    assert all((disk / "s" / name / "run.json").exists() for name in complete)
    assert list(disk.rglob("*.tmp")) == []
    remount(disk, "size=3m")
    code, _, error = cl_run(*sweep, "seed=range(0,6)")
    assert (code, lines_of(error)) == (0, [])
    assert f"{len(complete)} finished before" in error
    assert contents(disk / "s" / "0") == finished
    assert {path.parent.name for path in disk.rglob(COMPLETE)} == set("012345")


@pytest.mark.parametrize(("arguments", "named"), [(RUN, "disk/run"), ([*SWEEP, "seed=0,1"], "disk/s")])
def test_a_disk_that_is_full_from_the_start(arguments: list[str], named: str, disk: Path, cl_run: Runner) -> None:
    with pytest.raises(OSError, match="No space left"):
        (disk / "full").write_bytes(bytes(400_000))
    code, _, error = cl_run(*arguments)
    assert code == 1
    (line,) = lines_of(error)
    assert line == f"error: {named}: No space left on device"


def test_a_disk_that_cannot_be_written_to(disk: Path, cl_run: Runner) -> None:
    remount(disk, "size=3m")
    sweep = [*SWEEP, "hydra.launcher.workers=1", "seed=0,1"]
    assert cl_run(*sweep)[0] == 0
    (disk / "s" / "1" / COMPLETE).unlink()
    (disk / "unfinished").mkdir()
    before = contents(disk)
    remount(disk, "ro")
    for arguments, named in [
        (RUN, "disk/run"),
        ([*RUN, "hydra.run.dir=disk/unfinished"], "disk/unfinished"),
        (sweep, "disk/s"),
        ([*sweep, "hydra.sweep.dir=disk/t"], "disk/t"),
    ]:
        code, _, error = cl_run(*arguments)
        assert code == 1
        assert lines_of(error) == [f"error: {named}: Read-only file system"]
    assert contents(disk) == before
    remount(disk, "rw")
    assert cl_run(*sweep)[0] == 0
    assert contents(disk)[Path("s/0") / COMPLETE] == before[Path("s/0") / COMPLETE]
    assert (disk / "s" / "1" / COMPLETE).exists()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "run/a.csv: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "run/.a.csv.tmp"), "run/a.csv: Read-only file system"),
        (OSError("not seekable"), "input or output: not seekable"),
    ],
)
def test_the_line_for_an_error_of_the_system(error: OSError, line: str) -> None:
    with pytest.raises(OSError, match=r"\w") as caught, naming(Path("run/a.csv")):
        raise error
    assert str(from_system(caught.value)) == line


def test_an_error_that_is_not_the_systems_keeps_its_words() -> None:
    error = OSError("AF_UNIX path too long")
    error.filename = "starting processes"
    assert str(from_system(error)) == "starting processes: AF_UNIX path too long"
    assert str(from_system(OSError())) == "input or output: OSError"


def test_processes_that_cannot_be_started_are_not_the_sweeps_fault(
    cl_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        # Of /dev/shm, say; it names no file.
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cl_runner.sweeps.workers.ProcessPoolExecutor", full)
    sweep = ["-m", *QUICK, "hydra/launcher=stacked", "hydra.launcher.workers=2", "hydra.sweep.dir=s", "seed=0,1"]
    code, _, error = cl_run(*sweep)
    assert code == 1
    (line,) = lines_of(error)
    assert line == "error: no process can be started: /dev/shm: No space left on device"
