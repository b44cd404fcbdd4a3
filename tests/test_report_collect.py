from pathlib import Path

import pytest
from fake_runs import write_config, write_failure, write_run

from cl_runner.metrics import metric_names
from cl_runner.report.collect import collect


def states(folder: Path) -> dict[str, tuple[str, str]]:
    return {item.directory.name: (item.state, item.reason) for item in collect([folder]).left_out}


def test_every_finished_run_below_is_a_row(tmp_path: Path) -> None:
    write_run(tmp_path / "multirun" / "day" / "time" / "10", 0.6, seed=1)
    write_run(tmp_path / "multirun" / "day" / "time" / "9", 0.5, seed=2)
    write_run(tmp_path / "alone", 0.7, seed=3)
    found = collect([tmp_path])
    assert found.left_out == []
    assert [Path(directory).name for directory in found.table["directory"]] == ["alone", "9", "10"]
    assert found.table["average_accuracy"].tolist() == [0.7, 0.5, 0.6]
    assert found.table["seed"].tolist() == [3, 2, 1]
    assert set(found.table["method"]) == {"ewc"}
    assert set(found.table["model.hidden"]) == {"[100,100]"}


def test_a_single_run_and_folders_that_overlap(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0.6)
    assert len(collect([run]).table) == 1
    found = collect([tmp_path, run, tmp_path / ".." / tmp_path.name])
    assert len(found.table) == 1
    assert found.left_out == []


def test_what_is_not_finished_is_named_with_its_reason(tmp_path: Path) -> None:
    write_run(tmp_path / "good", 0.6)
    write_config(tmp_path / "started", "ewc", 1, {})
    write_failure(tmp_path / "failed", "DivergenceError: the loss is NaN\nat task 2")
    write_failure(tmp_path / "odd", "")
    (tmp_path / "odd" / "failed.json").write_text("[]")
    found = states(tmp_path)
    assert found["failed"] == ("failed", "DivergenceError: the loss is NaN at task 2")
    assert found["odd"] == ("failed", "failed.json cannot be read")
    (tmp_path / "odd" / "failed.json").write_text('{"reason": "it diverged"}')
    (tmp_path / "odd" / ".hydra").mkdir()
    (tmp_path / "odd" / ".hydra" / "overrides.yaml").write_text("- method=ewc\n- seed=3\n")
    assert states(tmp_path)["odd"] == ("failed", "it diverged (method=ewc seed=3)")
    assert found["started"][0] == "unfinished"
    assert "good" not in found


def test_a_run_that_failed_and_was_then_finished_is_finished(tmp_path: Path) -> None:
    run = write_run(tmp_path / "again", 0.6)
    (run / "failed.json").write_text('{"reason": "the first time"}')
    assert len(collect([tmp_path]).table) == 1


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("metrics.json", '{"average_accuracy": 0.', "metrics.json: not valid JSON"),
        ("metrics.json", "{}", "metrics.json: it has no average_accuracy, "),
        ("metrics.json", '{"average_accuracy": "high"}', "metrics.json: it has no average_forgetting, "),
        ("metrics.json", "\x00\x01", "not valid JSON"),
        (".hydra/config.yaml", "seed: [", ".hydra/config.yaml: not valid YAML"),
        (".hydra/config.yaml", "", "it has neither run.json nor .hydra/config.yaml"),
    ],
)
def test_a_damaged_run_is_named_and_left_out(file: str, content: str, reason: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "bad", 0.6)
    write_run(tmp_path / "good", 0.6, seed=1)
    (run / file).write_text(content)
    assert len(collect([tmp_path]).table) == 1
    state, said = states(tmp_path)["bad"]
    assert state == "unreadable"
    assert reason in said
    assert "\n" not in said


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "bad", 0.6)
    (run / ".hydra" / "config.yaml").write_bytes(b"seed: \xff\xfe")
    assert states(tmp_path)["bad"][0] == "unreadable"


def test_a_run_without_config(tmp_path: Path) -> None:
    run = write_run(tmp_path / "bad", 0.6)
    (run / ".hydra" / "config.yaml").unlink()
    assert states(tmp_path)["bad"] == ("unreadable", "it has neither run.json nor .hydra/config.yaml")


def test_the_same_settings_and_seed_count_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", 0.6, freeze=0.5, device="auto")
    write_run(tmp_path / "b", 0.9, freeze=0.5, device="cuda")
    write_run(tmp_path / "c", 0.7, freeze=0.5, seed=1)
    found = collect([tmp_path])
    assert found.table["average_accuracy"].tolist() == [0.6, 0.7]
    assert states(tmp_path) == {"b": ("duplicate", f"same settings and seed as {first}, but other numbers")}


def test_metrics_that_are_null(tmp_path: Path) -> None:
    nullable = metric_names("accuracy")[2:]
    write_run(tmp_path / "a", 0.6, metrics=dict.fromkeys(nullable))
    table = collect([tmp_path]).table
    assert table[nullable].isna().all(axis=None)
    assert table["learning_accuracy"].item() == pytest.approx(0.85)


def test_the_reports_own_files_are_no_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.6)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "runs.csv").write_text("directory\n")
    found = collect([tmp_path])
    assert len(found.table) == 1
    assert found.left_out == []
