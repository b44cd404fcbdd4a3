"""A run's own record: whose a directory is, whatever others do there, and whatever its reader's environment says."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import MakeConfig
from test_cli import QUICK, Runner, cl_run
from test_locks import held_by_another_process
from test_resuming import stopped

from cl_runner.config.plain_settings import dotted
from cl_runner.config.schema import Config, values_before
from cl_runner.errors import DamagedError
from cl_runner.methods.acting import acting_settings, difference
from cl_runner.results.record import begin_session, read_record
from cl_runner.results.run import load_run

__all__ = ["cl_run", "stopped"]

# What runs of version 0.1 had, which is all that they have.
OF_THE_FIRST_VERSION = {
    "": "data_dir device freeze plots seed threads",
    "benchmark.": "classes_per_task dataset family name normalize scenario tasks test_samples train_samples",
    "checkpoint.": "minutes",
    "fisher.": "batch_size estimator samples",
    "method.": "alpha ewc_lambda gamma joint l1_lambda mask mask_source name penalty soft unit update",
    "model.": "activation hidden name",
    "train.": "batch_size curve_points epochs first_epochs iterations learning_rate momentum optimizer weight_decay",
}


def test_it_holds_settings_sessions_and_checksums(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("method=ewc", "hydra.run.dir=here", *QUICK)[0] == 0
    record = read_record(tmp_path / "here")
    assert record.settings == load_run(tmp_path / "here").config
    assert (record.settings.method.name, record.settings.train.epochs) == ("ewc", 1)
    assert [set(session) for session in record.sessions] == [{"started", "versions", "commit", "platform"}]
    assert {"accuracy.csv", "training.csv", "checkpoints/task_2.safetensors", "masks/task_1.safetensors"} < set(
        record.files
    )
    assert not {"run.json", "accuracy_matrix.png", ".hydra/config.yaml"} & set(record.files)
    for name, digest in record.files.items():
        assert hashlib.sha256((tmp_path / "here" / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"seed": 0', '"seed": 1', "its checksum differs"),
        ('"format": 1', '"format": 9', "format: got 9, allowed: 1"),
        ("{", "", "not valid JSON"),
    ],
)
def test_a_damaged_one_is_named(before: str, after: str, words: str, make_config: MakeConfig, tmp_path: Path) -> None:
    begin_session([(tmp_path, make_config(), False)])
    file = tmp_path / "run.json"
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(DamagedError, match=f"{file}: .*{words}"):
        read_record(tmp_path)


def test_what_is_asked_of_a_directory_at_work_leaves_its_record(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("hydra.run.dir=here", *QUICK)[0] == 0
    (tmp_path / "here" / "metrics.json").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()}
    with held_by_another_process(tmp_path / "here"):
        code, _, error = cl_run("hydra.run.dir=here", "method=ewc", "seed=1", *QUICK)
    assert (code, error) == (1, "error: here: another process is at work here\n")
    assert {path: path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()} == before


def test_other_settings_for_an_unfinished_run_leave_its_record(stopped: tuple[Config, Path], cl_run: Runner) -> None:
    _, directory = stopped
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    code, _, error = cl_run(f"hydra.run.dir={directory}", *QUICK)
    assert code == 2
    assert f"but {directory} holds an unfinished run with" in error
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_directories_named_by_the_time_do_not_collide(cl_run: Runner, tmp_path: Path) -> None:
    for seed in "01":
        assert cl_run("hydra.run.dir='runs/${now:%Y}'", f"seed={seed}", *QUICK)[0] == 0
        assert cl_run("-m", "hydra.sweep.dir='sweeps/${now:%Y}'", f"seed={seed}", *QUICK)[0] == 0
        stacked = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir='stacked/${now:%Y}'"]
        assert cl_run(*stacked, f"seed={seed}", *QUICK)[0] == 0
    for kind, job in (("runs", ""), ("sweeps", "0"), ("stacked", "0")):
        found = sorted((tmp_path / kind).iterdir())
        assert [load_run(folder / job).config.seed for folder in found] == [0, 1]
        assert found[1].name == f"{found[0].name}-2"


def test_settings_are_those_of_then(cl_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = "train.learning_rate=${oc.env:RATE}"
    for rate in ("0.1", "0.001"):
        monkeypatch.setenv("RATE", rate)
        assert cl_run(setting, f"hydra.run.dir={rate}", "hydra.output_subdir=null", *QUICK)[0] == 0
    monkeypatch.delenv("RATE")
    assert [load_run(tmp_path / rate).config.train.learning_rate for rate in ("0.1", "0.001")] == [0.1, 0.001]


def test_who_goes_on_by_other_code_is_told(stopped: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_runner.results import versions
    from cl_runner.results.record import taken_up_by_others

    config, directory = stopped
    assert taken_up_by_others(directory) == ""
    this = versions._this()
    monkeypatch.setattr(versions, "_this", lambda: this | {"versions": this["versions"] | {"torch": "9.9"}})
    assert f"(torch {this['versions']['torch']}, now 9.9)" in taken_up_by_others(directory)
    begin_session([(directory, config, True)])
    assert [session["versions"]["torch"] for session in read_record(directory).sessions][-1] == "9.9"
    assert len(read_record(directory).sessions) == 2
    # One that begins anew has nothing of the others.
    (directory / "state.safetensors").unlink()
    assert taken_up_by_others(directory) == ""
    begin_session([(directory, config, False)])
    assert len(read_record(directory).sessions) == 1


def test_a_run_from_before_there_were_records(cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run("hydra.run.dir=here", "method=global_mask", "freeze=0.3", *QUICK)[0] == 0
    now = load_run(tmp_path / "here").config
    metrics = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert metrics.pop("format") == 1
    (tmp_path / "here" / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "here" / "run.json").write_text(json.dumps({"versions": {"torch": "2.6.0"}, "commit": None}))
    before = read_record(tmp_path / "here")
    # Where data lay may be a variable of who started it, and is no matter.
    assert acting_settings(before.settings) == acting_settings(now)
    assert before.sessions[0]["versions"] == {"torch": "2.6.0"}
    (tmp_path / "here" / "run.json").unlink()
    assert acting_settings(load_run(tmp_path / "here").config) == acting_settings(now)
    (tmp_path / "here" / ".hydra" / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "here")


def test_settings_that_came_later_say_what_runs_had_before(make_config: MakeConfig) -> None:
    first = {f"{group}{name}" for group, names in OF_THE_FIRST_VERSION.items() for name in names.split()}
    assert dict(dotted(make_config())).keys() == first | dict(values_before()).keys()


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (["method=ewc", "freeze=0.3"], ["method=ewc"], True),
        (["method=ewc", "threads=2", "device=cpu"], ["method=ewc"], True),
        (["method=ewc"], ["method=online_ewc", "method.name=ewc"], False),
        (["method=finetune", "method.mask=global"], ["method=finetune"], False),
        (["method=global_mask", "freeze=0"], ["method=global_mask", "freeze=0", "method.unit=neuron"], True),
        (["method=global_mask", "freeze=0.5"], ["method=global_mask", "freeze=0.5", "method.unit=neuron"], False),
        (["seed=1"], ["seed=2"], False),
    ],
)
def test_which_runs_are_one(one: list[str], two: list[str], same: bool, make_config: MakeConfig) -> None:
    first, second = make_config(*one), make_config(*two)
    assert (difference(first, second) is None) == same
    assert (acting_settings(first) == acting_settings(second)) == same
