"""Files are whole or absent, whoever else writes them, and say nothing by being there."""

import os
import threading
from pathlib import Path

import pytest
from conftest import MakeConfig
from fake_runs import write_run
from test_cli import QUICK, Runner, cl_run
from test_launching import contents
from test_runner import Silent

from cl_runner.results.files import (
    COMPLETE,
    FAILED,
    STATE,
    clear_temporaries,
    has_failed,
    has_state,
    is_complete,
    position_of,
    write_atomically,
    write_durably,
)
from cl_runner.results.run import load_run
from cl_runner.runs.loop import run_stack
from cl_runner.sweeps.status import statuses

__all__ = ["cl_run"]

# What a power failure leaves, on one file system or another, and what else there may be.
EMPTY = {"empty": b"", "zeros": bytes(300)}
DAMAGED = {**EMPTY, "half": b'{"average_accuracy": 0.5, "reas', "list": b"[1]", "other": b"{}", "nested": b"[" * 99_999}


def test_two_writers_never_tear_a_file(tmp_path: Path) -> None:
    file, errors = tmp_path / "file", list[Exception]()
    texts = [bytes([letter]) * size for letter, size in ((97, 10), (98, 200_000))]
    write_atomically(file, texts[0])

    def write(text: bytes) -> None:
        try:
            for _ in range(100):
                write_atomically(file, text)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=[text]) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert file.read_bytes() in texts
    assert errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.write_text("theirs")
    run = tmp_path / "run"
    run.mkdir()
    # Where a temporary file once was, and where the file itself is to be.
    (run / ".file.tmp").symlink_to(others)
    (run / "file").symlink_to(others)
    (run / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        write_atomically(run / name, b"ours")
        assert not (run / name).is_symlink()
        assert (run / name).read_bytes() == b"ours"
    assert others.read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_as_open_to_others_as_any(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_durably([(tmp_path / "ours", b"")])
        (tmp_path / "any").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_of_several_files_none_has_its_name_if_one_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere/b"):
        write_durably([(tmp_path / "a", b"1"), (tmp_path / "nowhere" / "b", b"2")])
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_as_long_as_names_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), b"ours")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_what_killed_processes_left_is_cleared(make_config: MakeConfig, tmp_path: Path) -> None:
    for name in (".0123456789abcdef.tmp", ".metrics.json.tmp", "masks/.0123456789abcdef.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    others = tmp_path.parent / "others"
    others.write_text("theirs")
    (tmp_path / ".a.tmp").symlink_to(others)
    (tmp_path / "notes.tmp").write_text("a user's")
    clear_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "notes.tmp"}
    run_stack([make_config(*QUICK)], [tmp_path], Silent())
    assert {path.name for path in tmp_path.rglob("*.tmp")} == {"notes.tmp"}
    assert others.read_text() == "theirs"


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_a_damaged_file_stands_for(damage: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "0", 0.5)
    assert is_complete(run)
    (run / COMPLETE).write_bytes(DAMAGED[damage])
    assert not is_complete(run)
    with pytest.raises(FileNotFoundError, match=r"no metrics\.json that can be read"):
        load_run(run)
    (status,) = statuses(tmp_path)
    assert (status.state, status.words) == ("lost", "metrics.json cannot be read; it has no saved state")
    (run / FAILED).write_bytes(DAMAGED[damage])
    assert not has_failed(run)
    assert statuses(tmp_path)[0].state == "lost"
    (run / FAILED).write_text('{"reason": "the loss"}')
    assert has_failed(run)


def test_what_is_not_there_stands_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        assert not is_complete(place)
        assert not has_failed(place)
        assert not has_state(place)
        assert position_of(place) is None


def test_an_empty_state_is_none(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / STATE).touch()
    assert position_of(tmp_path) is None
    run_stack([make_config(*QUICK)], [tmp_path], Silent())
    assert is_complete(tmp_path)
    assert not (tmp_path / STATE).exists()


def test_a_sweep_trains_what_only_looks_complete(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["-m", *QUICK, "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=s", "seed=0,1,2"]
    assert cl_run(*sweep)[0] == 0
    before = {name: (tmp_path / "s" / name / COMPLETE).read_bytes() for name in "012"}
    untouched = contents(tmp_path / "s" / "1")
    (tmp_path / "s" / "0" / COMPLETE).write_bytes(b"")
    (tmp_path / "s" / "2" / COMPLETE).write_bytes(before["2"][:-9])
    code, _, error = cl_run(*sweep)
    assert code == 0
    assert "2 runs in 1 stack, 1 finished before" in error
    assert {name: (tmp_path / "s" / name / COMPLETE).read_bytes() for name in "012"} == before
    assert contents(tmp_path / "s" / "1") == untouched


def test_a_run_goes_where_one_only_looks_complete(cl_run: Runner, tmp_path: Path) -> None:
    run = ["hydra.run.dir=run", *QUICK, "plots=none"]
    assert cl_run(*run)[0] == 0
    whole = (tmp_path / "run" / COMPLETE).read_bytes()
    assert cl_run(*run)[0] == 2
    (tmp_path / "run" / COMPLETE).write_bytes(b"")
    assert cl_run(*run)[0] == 0
    assert (tmp_path / "run" / COMPLETE).read_bytes() == whole
