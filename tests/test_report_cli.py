import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import write_config, write_failure, write_run

from cl_runner.report.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two methods, one with two settings, of three seeds; one run failed and one is unfinished."""
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", 0.5 + 0.01 * seed, seed, "ewc", freeze=0.0)
        write_run(tmp_path / f"b{seed}", 0.7 + 0.01 * seed, seed, "global_mask", freeze=0.5)
        write_run(tmp_path / f"c{seed}", 0.6 + 0.01 * seed, seed, "global_mask", freeze=0.9)
    write_failure(tmp_path / "d0", "out of memory")
    write_config(tmp_path / "d1", "ewc", 8, {})
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the seconds."""
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])


def test_the_report_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    written = {path.name for path in (folder / "report").iterdir()}
    figures = ["ranking", "sweep_freeze", "learned_remembered", "accuracy_over_tasks", "accuracy_matrices"]
    figures += ["significance"]
    tables = {"runs.csv", "runs.parquet", "summary.csv", "selection.csv", "report.html"}
    assert written == tables | {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
    runs = pd.read_csv(folder / "report" / "runs.csv")
    assert len(runs) == 9
    assert {"directory", "seed", "method", "freeze", "method.mask", "average_accuracy"} <= set(runs)
    assert "train.epochs" not in runs
    parquet = pd.read_parquet(folder / "report" / "runs.parquet")
    # A table of text takes words and null for booleans.
    parquet["method.soft"] = parquet["method.soft"].map({"false": False})
    pd.testing.assert_frame_equal(parquet, runs, check_dtype=False)
    summary = pd.read_csv(folder / "report" / "summary.csv")
    assert summary["average_accuracy"].tolist() == pytest.approx([0.71, 0.61, 0.51])
    assert summary.columns[:7].tolist() == [
        "method",
        "freeze",
        "seeds",
        "runs",
        "average_accuracy",
        "average_accuracy_low",
        "average_accuracy_high",
    ]
    output = capsys.readouterr().out
    chosen = "Chosen on the test set: use global_mask, freeze=0.5"
    assert f"{chosen}: average accuracy 71.0 % [68.5, 73.5] (3 seeds), the highest of 3 settings." in output
    assert "not in any number: 1 failed, 1 unfinished" in output
    assert f"failed {folder / 'd0'}: out of memory" in output
    assert f"unfinished {folder / 'd1'}" in output


@pytest.mark.usefixtures("no_figures")
def test_a_second_report_is_the_same_and_reads_none_of_the_first(folder: Path) -> None:
    assert main([str(folder)]) == 0
    first = (folder / "report" / "report.html").read_text()
    assert main([str(folder)]) == 0
    assert (folder / "report" / "report.html").read_text() == first


@pytest.mark.usefixtures("no_figures")
def test_several_folders_and_out(folder: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "a0", tmp_path / "elsewhere" / "here"
    assert main([str(folder / "b0"), str(other), "--out", str(out)]) == 0
    assert len(pd.read_csv(out / "runs.csv")) == 2
    assert not (folder / "b0" / "report").exists()
    assert main([str(other)]) == 0
    assert (other / "report" / "report.html").exists()


@pytest.mark.usefixtures("no_figures")
def test_data_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 3
    assert printed.out == (folder / "report" / "summary.csv").read_text()
    assert "1 failed, 1 unfinished" in printed.err
    assert main([str(folder / "a0"), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["average_accuracy"] == 0.5
    assert row["average_accuracy_low"] is None
    assert main([str(folder), "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| method | freeze | seeds | runs | average_accuracy |")
    assert lines[2].startswith("| global_mask | 0.5 | 3 | 3 | 0.71")


@pytest.mark.usefixtures("no_figures")
def test_metric_where_and_group_by(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--metric", "average_forgetting", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["freeze"] for row in rows] == [0.5, 0.9, None]
    assert main([str(folder), "--where", "freeze=0.50,9e-1", "--where", "seed=0,1", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["freeze"], row["seeds"]) for row in rows] == [(0.5, 2), (0.9, 2)]
    assert main([str(folder), "--group-by", "method", "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert [(row["method"], row["seeds"], row["runs"]) for row in json.loads(printed.out)] == [
        ("global_mask", 3, 6),
        ("ewc", 3, 3),
    ]
    assert "pooled over freeze" in printed.err
    assert "pooled over" in (folder / "report" / "report.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_counts_are_whole_also_beside_numbers_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--group-by", "freeze"]) == 0
    output = capsys.readouterr().out
    assert "│ 0.5    │     3 │ 71.0 [68.5, 73.5] │" in output
    assert '<td data-sort="3.0">3</td>' in (folder / "report" / "report.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_comparison(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conditions = ["--compare", "method=global_mask freeze=0.9", "method=ewc"]
    assert main([str(folder), *conditions, "--format", "csv"]) == 0
    printed = capsys.readouterr().out
    assert printed == (folder / "report" / "comparison.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert float(rows[0]["difference"]) == pytest.approx(0.1)
    assert main([str(folder), *conditions]) == 0
    assert "average_accuracy     +10.0 [+10.0, +10.0]" in capsys.readouterr().out
    assert "method=global_mask freeze=0.9 against method=ewc" in (folder / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--where", "metod=ewc"],
            "error: --where: unknown setting metod (did you mean method?), allowed: benchmark, ",
        ),
        (
            ["--where", "freeze=0.7"],
            "error: --where freeze=0.7: no finished run has it, allowed: freeze= one of 0.5, 0.9, null",
        ),
        (["--group-by", "method,seed"], "error: --group-by: got seed, over which means are taken, allowed: any other"),
        (["--group-by", "lambda"], "error: --group-by: unknown setting lambda, allowed: "),
        (["--metric", "loss"], "error: argument --metric: invalid choice: 'loss'"),
        (["--compare", "method=ewc", "method=joint"], "error: --compare method=joint: no finished run has it"),
        (["--what"], "error: unrecognized arguments: --what"),
    ],
)
def test_a_bad_argument_is_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1
    assert not (folder / "report").exists()


def test_nothing_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder\n"
    write_failure(tmp_path / "0", "out of memory")
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "out of memory" in printed
    assert printed.splitlines()[-1].startswith(f"error: {tmp_path}: no finished run")


@pytest.mark.usefixtures("no_figures")
def test_a_report_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert main([str(folder), "--out", str(folder / "file")]) == 1
    assert capsys.readouterr().err == f"error: {folder / 'file'}: File exists\n"


def test_torch_is_not_imported() -> None:
    code = "import sys, cl_runner.report.build; sys.exit('torch' in sys.modules or 'omegaconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
