"""What a command takes before Hydra writes anything, and what it gives back."""

import json
import os
from pathlib import Path

import pytest
from test_cli import QUICK, Runner, cl_run
from test_locks import held_by_another_process

from cl_runner.cli import start
from cl_runner.errors import LockedError
from cl_runner.results.files import FAILED, LOCK, position_of
from cl_runner.results.locks import is_locked, locked
from cl_runner.results.run import load_run
from cl_runner.sweeps.directories import led

__all__ = ["cl_run"]

SWEEP = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", *QUICK]


def test_nothing_stays_where_nothing_was_begun(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("-m", "seed=range(3,0)", "hydra.sweep.dir=deep/down/sweep")[0] == 2
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    assert cl_run("-m", "seed=range(3,0)", "hydra.sweep.dir=mine")[0] == 2
    assert (tmp_path / "mine").is_dir()


def test_who_was_slower_takes_nothing_from_who_was_quicker(
    cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(directories: list[Path]) -> object:
        # Another process is in the directory, which was not there a moment ago.
        with held_by_another_process(tmp_path / "sweep"):
            with pytest.raises(LockedError) as caught, locked(directories):
                pass
            start.leave()
            assert is_locked(tmp_path / "sweep")
        raise caught.value

    monkeypatch.setattr("cl_runner.cli.start.locked", late)
    assert cl_run(*SWEEP, "seed=0,1")[0] == 1
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == [LOCK]


def test_a_job_that_this_machine_cannot_go_on_with_keeps_its_directory(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*SWEEP, "seed=0,1")[0] == 0
    (tmp_path / "sweep" / "1" / "metrics.json").unlink()
    assert cl_run(*SWEEP, "seed=0,1", "device=cuda")[0] == 2
    assert "which this machine does not have" in (tmp_path / "sweep" / "1" / FAILED).read_text()
    assert cl_run(*SWEEP, "seed=0,1")[0] == 0
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0", "1"]
    assert not (tmp_path / "sweep" / "1" / FAILED).exists()


def test_a_job_whose_directory_cannot_be_written_is_marked(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "1").mkdir(parents=True)
    (tmp_path / "sweep" / "1" / ".hydra").write_text("in the way")
    code, output, _ = cl_run(*SWEEP, "seed=0,1")
    assert code == 1
    assert "1 of 2 runs complete, 1 failed" in output
    assert json.loads((tmp_path / "sweep" / "1" / FAILED).read_text())["reason"].startswith("sweep/1")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "{}",
        "[1]",
        '[{"overrides": ["a"]}]',
        '[{"overrides": ["a"], "directory": "../../elsewhere"}]',
        '[{"overrides": ["a"], "directory": "/elsewhere"}]',
        '[{"overrides": ["a"], "directory": 3}]',
    ],
)
def test_somebody_elses_word_on_where_jobs_led(content: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(content)
    assert led(tmp_path) == []
    (tmp_path / "jobs.json").unlink()
    os.mkfifo(tmp_path / "jobs.json")
    assert led(tmp_path) == []


@pytest.mark.parametrize("task", ['"x"', "[1]", "-1", "true", "1.5"])
def test_a_state_that_stands_nowhere(task: str, tmp_path: Path) -> None:
    metadata = {"state": json.dumps({"epoch": 0, "step": 0}).replace("{", f'{{"task": {task}, ', 1)}
    header = json.dumps({"__metadata__": metadata}).encode()
    (tmp_path / "state.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert position_of(tmp_path) == ()


@pytest.mark.parametrize("subdir", ["../out-${seed}", ".", "a/../../b${seed}"])
def test_a_subdirectory_elsewhere_is_refused(subdir: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*SWEEP, "seed=0,1", f"hydra.sweep.subdir='{subdir}'")
    assert code == 2
    assert "allowed: a directory inside sweep, where the sweep looks for its jobs" in error
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


def test_what_is_in_the_place_of_a_directory_is_passed_by(cl_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "0").symlink_to(tmp_path / "nowhere")
    (tmp_path / "sweep" / "1").touch()
    assert cl_run(*SWEEP, "seed=0,1")[0] == 0
    found = {folder.name: load_run(folder).config.seed for folder in (tmp_path / "sweep").iterdir() if folder.is_dir()}
    assert sorted(found.values()) == [0, 1]
    assert not {"0", "1"} & set(found)


def test_a_record_of_another_run_finds_nothing(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*SWEEP, "seed=0,1")[0] == 0
    (tmp_path / "sweep" / "0" / "run.json").write_bytes((tmp_path / "sweep" / "1" / "run.json").read_bytes())
    code, _, error = cl_run(*SWEEP, "seed=1,0")
    assert code == 0
    assert "sweep/0: its metrics.json and its run.json do not belong together" in error
    assert "1 run in 1 stack, 1 finished before\nfound again, finished: 1\n" in error
    assert load_run(tmp_path / "sweep" / "2").config.seed == 0


def test_a_batch_all_of_whose_jobs_are_wrong_is_marked(cl_run: Runner, tmp_path: Path) -> None:
    code, _, _ = cl_run(*SWEEP, "train.learning_rate=-1,0.01", "seed=0,1", "hydra.sweeper.max_batch_size=2")
    assert code == 2
    for number in "01":
        assert "learning_rate: got -1" in (tmp_path / "sweep" / number / FAILED).read_text()
    assert [load_run(tmp_path / "sweep" / number).config.seed for number in "23"] == [0, 1]
