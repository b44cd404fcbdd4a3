"""`cl-report --status`: where the jobs of a sweep stand, and a command that completes it."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import write_config, write_failure, write_run
from test_cli import QUICK, Runner, cl_run
from test_grids import PRESET, write_preset

from cl_runner.report.cli import main
from cl_runner.results.files import COMPLETE, FAILED
from cl_runner.terminal import in_ranges

__all__ = ["cl_run"]

SWEEP = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep"]


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments, "--status"]) == 0
    return capsys.readouterr().out


def command(output: str) -> list[str]:
    """The printed command's arguments."""
    heading, line = output.splitlines()[-2:]
    assert heading == "to run what is missing:"
    program, *arguments = shlex.split(line)
    assert program == "cl-run"
    return arguments


def test_what_is_missing_and_the_command_that_runs_it(
    cl_run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    freeze = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    sweep = tmp_path / "sweep"
    assert cl_run(*SWEEP, *QUICK, "method=global_mask", f"freeze={','.join(map(str, freeze))}")[0] == 0
    assert status(capsys, "sweep").splitlines() == [
        "sweep: 8 jobs, 8 finished",
        "jobs  state     array task    ",
        "0-7   finished                ",
    ]
    before = {name: (sweep / name / COMPLETE).read_bytes() for name in "01234567"}
    (sweep / "2" / COMPLETE).unlink()
    (sweep / "4" / COMPLETE).unlink()
    (sweep / "4" / FAILED).write_text(json.dumps({"reason": "model.hidden: got [a]"}))
    (sweep / "6" / COMPLETE).unlink()
    shutil.rmtree(sweep / "7")
    output = status(capsys, "sweep")
    assert output.splitlines()[0] == "sweep: 8 jobs, 4 finished, 1 failed, 2 lost, 1 never begun"
    assert [" ".join(line.split()) for line in output.splitlines()[2:6]] == [
        "0-1, 3, 5 finished",
        "4 failed model.hidden: got [a]",
        "2, 6 lost it has no saved state",
        "7 never begun",
    ]
    code, said, error = cl_run(*command(output))
    assert code == 0
    assert "8 of 8 runs complete" in said
    assert "4 runs in 1 stack, 4 finished before" in error
    assert {name: (sweep / name / COMPLETE).read_bytes() for name in "01234567"} == before
    assert not (sweep / "4" / FAILED).exists()
    assert "sweep: 8 jobs, 8 finished\n" in status(capsys, "sweep")


def test_the_command_is_told_in_a_process_of_its_own(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*SWEEP, *QUICK, "method=glob(*_mask)")[0] == 0
    shutil.rmtree(tmp_path / "sweep" / "1")
    entry = "from cl_runner.report.cli import entry; entry()"
    command = [sys.executable, "-c", entry, "--status", "sweep"]
    output = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[0] == "sweep: 2 jobs, 1 finished, 1 never begun"
    assert "method=glob(*_mask)" in output.splitlines()[-1]


def test_a_sweep_of_ones_own_presets(cl_run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_preset(tmp_path)
    # As Hydra may name it after what is swept.
    name = "freeze=0.1,0.2 ü"
    assert cl_run("-m", *PRESET, "hydra.launcher.workers=1", f'hydra.sweep.dir="{name}"')[0] == 0
    shutil.rmtree(tmp_path / name / "3")
    # The sweep is found below the folder.
    output = status(capsys, str(tmp_path))
    assert f"{tmp_path / name}: 6 jobs, 5 finished, 1 never begun" in output
    arguments = command(output)
    assert arguments[arguments.index("--config-dir") + 1] == str(tmp_path / "mine")
    code, said, _ = cl_run(*arguments)
    assert code == 0
    assert "6 of 6 runs complete" in said


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Of which Hydra's record is lost."""
    write_run(tmp_path / "0", 0.5)
    write_failure(tmp_path / "1", "out of memory")
    write_config(tmp_path / "2", "ewc", 0, {})
    (tmp_path / "multirun.yaml").write_text("")
    return tmp_path


def test_data_for_programs(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(status(capsys, str(sweep), "--format", "json")) == [
        {"job": str(sweep / "0"), "state": "finished", "array_task": "", "words": ""},
        {"job": str(sweep / "1"), "state": "failed", "array_task": "", "words": "out of memory"},
        {"job": str(sweep / "2"), "state": "lost", "array_task": "", "words": "it has no saved state"},
    ]
    assert status(capsys, str(sweep), "--format", "csv").splitlines()[:2] == [
        "job,state,array_task,words",
        f"{sweep / '0'},finished,,",
    ]


@pytest.mark.parametrize(
    "content", ["", "hydra:\n  sweeper: {_target_: ", "hydra:\n  sweeper:\n", "[]\n", "hydra: x\n"]
)
def test_half_a_record_of_the_sweep(content: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "multirun.yaml").write_text(content)
    lines = status(capsys, str(sweep)).splitlines()
    assert lines[0] == f"{sweep}: 3 jobs, 1 finished, 1 failed, 1 lost"
    assert lines[-1].startswith(f"  {sweep / 'multirun.yaml'} cannot be read: start the sweep by its command")


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_a_sweep(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "empty" / "run", 0.5)
    assert main([str(tmp_path / name), "--status"]) == 2
    message = f"error: --status: {tmp_path / name} holds no sweep, allowed: the directory of one\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "arguments",
    [
        ["--metric", "average_accuracy"],
        ["--where", "seed=0"],
        ["--group-by", "method"],
        ["--compare", "method=ewc", "method=joint"],
        ["--out", "elsewhere"],
    ],
)
def test_what_does_not_go_with_it(arguments: list[str], sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--status", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"error: --status: got {arguments[0]} with it, allowed: --format alone\n"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["7"], "7"),
        (["0", "1", "2", "4", "6", "7"], "0-2, 4, 6-7"),
        (["10", "9", "8"], "8-10"),
        (["ewc/0", "3", "a", "2"], "2-3, ewc/0, a"),
    ],
)
def test_ranges(names: list[str], words: str) -> None:
    assert in_ranges(names) == words
