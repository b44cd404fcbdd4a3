"""What was submitted is recorded, and where it stands is what the queue says of it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import Squeue

from cl_runner.sweeps.queue import (
    FOLDER,
    Place,
    Submission,
    damaged,
    last_line,
    log_of,
    places,
    record,
    recorded,
    slurm_state,
    submission_of,
)


def slurm(*tasks: str) -> Submission:
    return submission_of("slurm", {task: [str(number)] for number, task in enumerate(tasks)})


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The directory of a sweep to which something was submitted."""
    (tmp_path / "sweep" / FOLDER).mkdir(parents=True)
    return tmp_path / "sweep"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_submissions_come_back_in_their_order(sweep: Path) -> None:
    assert recorded(sweep) == []
    # The tenth comes after the ninth.
    made = [submission_of("slurm", {f"{job}_0": ["0", "1"], f"{job}_1": ["2"]}) for job in range(11)]
    for submission in made:
        record(sweep, submission)
    assert recorded(sweep) == made
    assert made[0] == Submission("slurm", socket.gethostname(), {"0_0": ["0", "1"], "0_1": ["2"]}, {})


GOOD = '{"cluster": "slurm", "host": "h", "tasks": {"7_0": ["0"]}, "started": {}}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        GOOD[:-9],
        "[]",
        "{}",
        "\x00" * 80,
        "[" * 100_000,
        GOOD.replace("slurm", "other"),
        GOOD.replace('["0"]', '"0"'),
        GOOD.replace('["0"]', "[0]"),
        GOOD.replace("slurm", "local"),
        GOOD.replace("{}", '{"7_0": "x"}'),
    ],
)
def test_a_damaged_record_is_named_and_no_obstacle(content: str, sweep: Path) -> None:
    record(sweep, slurm("1_0"))
    file = sweep / FOLDER / "submission_0002.json"
    file.write_text(content)
    record(sweep, slurm("3_0"))
    assert [list(submission.tasks) for submission in recorded(sweep)] == [["1_0"], ["3_0"]]
    assert damaged(sweep) == [f"{file} is damaged; what was submitted then is not known"]
    # What is there stays, to be looked at.
    assert file.read_text() == content
    file.write_text(GOOD)
    assert [list(submission.tasks) for submission in recorded(sweep)] == [["1_0"], ["7_0"], ["3_0"]]
    assert damaged(sweep) == []


def test_a_record_that_cannot_be_read_is_named(sweep: Path) -> None:
    (sweep / FOLDER / "submission_0001.json").mkdir()
    assert recorded(sweep) == []
    (line,) = damaged(sweep)
    assert "submission_0001.json is damaged" in line


def test_two_writers_of_a_number_have_a_file_each(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        # What both see who look at the same time.
        patch.setattr("cl_runner.sweeps.queue._files", lambda _: [])
        record(sweep, slurm("1_0"))
        record(sweep, slurm("2_0"))
    assert {task for submission in recorded(sweep) for task in submission.tasks} == {"1_0", "2_0"}


def test_nothing_submitted_asks_nobody(sweep: Path, squeue: Squeue) -> None:
    asked = squeue()
    assert places(sweep, []) == {}
    assert not asked.exists()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("12|3|PENDING|Priority", Place("waiting", "PENDING (Priority)")),
        ("12|3|PENDING|None", Place("waiting", "PENDING")),
        ("12|3|REQUEUED|None", Place("waiting", "REQUEUED")),
        ("12|3|RUNNING|None", Place("running", "RUNNING")),
        ("12|3|COMPLETING|None", Place("running", "COMPLETING")),
        ("12|3|COMPLETED|None", Place("ended", "COMPLETED")),
        ("12|3|TIMEOUT|TimeLimit", Place("ended", "TIMEOUT (TimeLimit)")),
        ("12|3|CANCELLED|None", Place("ended", "CANCELLED")),
        ("12|3|OUT_OF_MEMORY|", Place("ended", "OUT_OF_MEMORY")),
        ("12|3|PENDING|a|b", Place("waiting", "PENDING (a|b)")),
        # A plugin's word, in between.
        ("spank: hello", Place("ended", "")),
        ("12|4|RUNNING|None", Place("ended", "")),
    ],
)
def test_states_of_the_queue(line: str, place: Place, sweep: Path, squeue: Squeue) -> None:
    squeue("7|0|RUNNING|None", line)
    assert places(sweep, [slurm("12_3")]) == {"12_3": place}


def test_jobs_that_are_no_arrays(sweep: Path, squeue: Squeue) -> None:
    squeue("12|N/A|RUNNING|None", "13|N/A|PENDING|Resources")
    found = places(sweep, [slurm("12"), slurm("13", "14")])
    assert [found[task].state for task in ("12", "13", "14")] == ["running", "waiting", "ended"]


def test_each_task_of_an_array_is_asked_for_by_the_user_who_submitted(sweep: Path, squeue: Squeue) -> None:
    asked = squeue()
    places(sweep, [slurm("12_0")])
    assert {"--array", "--states=all", f"--user={os.getuid()}"} <= set(asked.read_text().split())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("squeue: error: one\nslurm_load_jobs error: Unable to contact slurm controller\n\n", "Unable to contact"),
        ("", "SLURM does not answer: squeue failed"),
    ],
)
def test_a_queue_that_does_not_answer(error: str, message: str, sweep: Path, squeue: Squeue) -> None:
    squeue(error=error)
    place = places(sweep, [slurm("12_0")])["12_0"]
    assert place.state == "unknown"
    assert message in place.words
    assert "\n" not in place.words


@pytest.mark.usefixtures("no_slurm")
def test_a_machine_without_slurm_knows_nothing_of_its_jobs(sweep: Path, process: subprocess.Popen[bytes]) -> None:
    here = submission_of("local", {str(process.pid): ["1"]})
    found = places(sweep, [slurm("12_0"), here])
    assert found["12_0"] == Place("unknown", "this machine has no SLURM to ask")
    assert found[str(process.pid)].state == "running"
    # Nothing was submitted to it.
    assert places(sweep, [here])[str(process.pid)].state == "running"


def test_a_process_of_this_machine(sweep: Path, process: subprocess.Popen[bytes]) -> None:
    task = str(process.pid)
    submission = submission_of("local", {task: ["0"]})
    record(sweep, submission)
    assert recorded(sweep) == [submission]
    assert places(sweep, [submission]) == {task: Place("running", "")}
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert places(sweep, [submission]) == {task: Place("ended", "")}
    process.wait()
    assert places(sweep, [submission]) == {task: Place("ended", "")}


def test_a_process_whose_number_is_anothers_by_now(sweep: Path, process: subprocess.Popen[bytes]) -> None:
    task = str(process.pid)
    submission = submission_of("local", {task: ["0"]})
    earlier = replace(submission, started={task: submission.started[task] - 60})
    assert places(sweep, [earlier]) == {task: Place("ended", "")}


@pytest.mark.parametrize("seconds", [-86400, 86400])
def test_a_clock_that_is_set_changes_nothing(
    seconds: int, sweep: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = str(process.pid)
    submission = submission_of("local", {task: ["0"]})
    # By the clock the machine started at another time, and so did all its processes.
    before, created = psutil.boot_time(), psutil.Process.create_time
    monkeypatch.setattr(psutil, "boot_time", lambda: before + seconds)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + seconds)
    assert places(sweep, [submission]) == {task: Place("running", "")}


def test_a_process_that_has_ended_at_once(sweep: Path, process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    task = str(process.pid)
    submission = submission_of("local", {task: ["0"]})
    record(sweep, submission)
    assert places(sweep, recorded(sweep)) == {task: Place("ended", "")}


def test_a_process_of_another_machine(sweep: Path, process: subprocess.Popen[bytes]) -> None:
    task = str(process.pid)
    elsewhere = replace(submission_of("local", {task: ["0"]}), host="elsewhere")
    assert places(sweep, [elsewhere]) == {task: Place("unknown", "submitted on elsewhere, to be asked there")}


def test_the_state_of_the_own_job(squeue: Squeue, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    asked = squeue("COMPLETING")
    assert slurm_state() == ""
    assert not asked.exists()
    monkeypatch.setenv("SLURM_JOB_ID", "31")
    assert slurm_state() == "COMPLETING"
    assert "--jobs=31 " in asked.read_text()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "31")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert slurm_state() == "COMPLETING"
    assert "--jobs=31_2 " in asked.read_text()


@pytest.mark.usefixtures("no_slurm")
def test_the_state_of_the_own_job_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "31")
    assert slurm_state() == ""


def test_what_a_log_says_last() -> None:
    assert log_of(Path("s"), "12_3") == Path("s") / ".submitit" / "12_3_0_log.err"
    assert last_line("one\ntwo \n\n  \n") == "two"
    assert last_line("") == ""
