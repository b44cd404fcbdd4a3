import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import write_regression_run, write_run
from matplotlib.colors import LogNorm

from cl_runner.errors import ConfigError
from cl_runner.metrics import metric_names
from cl_runner.report.cli import main
from cl_runner.report.collect import collect
from cl_runner.report.comparison import leads
from cl_runner.report.figures import colour_scale, draw_matrices, draw_tradeoff
from cl_runner.report.gallery import draw_sections
from cl_runner.report.scores import Score, judged, score_of
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import Summary, summarise
from cl_runner.report.words import verdict


def summary_of(folder: Path, metric: str = "average_mse") -> Summary:
    found = collect([folder])
    return summarise(found.table, distinguishing(found.table, found.settings)[0], metric)


def score_by(name: str) -> Score:
    return score_of(pd.DataFrame({"score": [name]}))


@pytest.fixture
def regression(tmp_path: Path) -> Path:
    """Finetuning is ten times as bad as EWC."""
    for seed in range(3):
        write_regression_run(tmp_path / f"a{seed}", 0.3 + 0.01 * seed, seed, "finetune")
        write_regression_run(tmp_path / f"b{seed}", 0.03 + 0.001 * seed, seed, "ewc")
    return tmp_path


@pytest.fixture
def mixed(regression: Path) -> Path:
    """The same, and two runs that are scored by accuracy."""
    write_run(regression / "c0", 0.7, 0, "ewc")
    write_run(regression / "c1", 0.6, 0, "finetune")
    return regression


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])


def test_a_run_has_the_metrics_of_its_score(mixed: Path) -> None:
    found = collect([mixed])
    assert found.left_out == []
    assert "score" not in found.settings
    by_score = found.table.groupby("score")
    assert by_score.size().to_dict() == {"accuracy": 2, "mse": 6}
    assert by_score["average_mse"].count().to_dict() == {"accuracy": 0, "mse": 6}
    assert by_score["learning_accuracy"].count().to_dict() == {"accuracy": 2, "mse": 0}
    assert found.table["average_forgetting"].notna().all()


@pytest.mark.parametrize("metric", ["average_mse", "average_forgetting", "backward_transfer"])
def test_the_best_forgets_least_and_its_lead_is_positive(metric: str, regression: Path) -> None:
    summary = summary_of(regression, metric)
    assert summary.table["method"].tolist() == ["ewc", "finetune"]
    steps = {"average_mse": 0.279, "average_forgetting": 2 * 0.279, "backward_transfer": 2 * 0.279}
    assert leads(summary)["lead"].tolist() == pytest.approx([steps[metric]])
    assert (leads(summary)["low"] > 0).all()


def test_the_lowest_learning_error_is_the_best(tmp_path: Path) -> None:
    for method, learned in (("ewc", 0.2), ("finetune", 0.1)):
        write_regression_run(tmp_path / method, 0.3, 0, method, {"learning_mse": learned})
    assert summary_of(tmp_path, "learning_mse").table["method"].tolist() == ["finetune", "ewc"]


def test_the_verdict_is_in_numbers(regression: Path) -> None:
    found = verdict("", summary_of(regression))
    answer = "use ewc: average mse 0.0310 [0.0285, 0.0335] (3 seeds), the lowest of 2 settings."
    assert found.answer == f"Chosen on the test set: {answer}"
    assert "is +0.279 [+0.257, +0.301] mse, paired over 3 seeds: 5 seeds at least are needed" in found.lead
    found = verdict("", summary_of(regression, "average_forgetting"))
    assert "Chosen on the test set: use ewc: average forgetting 0.0420 mse [0.0370, 0.0470]" in found.answer


@pytest.mark.parametrize(
    ("score", "value", "number", "signed"),
    [
        ("accuracy", 0.638, "63.8", "+63.8"),
        ("accuracy", -0.0001, "0.0", "+0.0"),
        ("mse", 0.5, "0.500", "+0.500"),
        ("mse", 123.4, "123", "+123"),
        ("mse", -0.00001234, "-1.23e-05", "-1.23e-05"),
        ("mse", -0.0, "0.00", "+0.00"),
    ],
)
def test_values_as_text(score: str, value: float, number: str, signed: str) -> None:
    assert score_by(score).number(value) == number
    assert score_by(score).signed(value) == signed


def test_the_unit_is_named_once() -> None:
    assert score_by("accuracy").label("average_accuracy") == "average accuracy in %"
    assert score_by("mse").label("average_mse") == "average mse"
    assert score_by("mse").label("backward_transfer") == "backward transfer in mse"


def test_no_figure_is_in_percent(regression: Path) -> None:
    (section,) = draw_sections(summary_of(regression))
    assert section.notes == []
    names = ["ranking", "learned_remembered", "mse_over_tasks", "mse_matrices", "significance"]
    assert [drawing.name for drawing in section.drawings] == names
    *judging, _ = section.drawings
    for drawing in judging:
        assert "%" not in drawing.svg.replace("95 % interval", "")
    ranking, tradeoff, over_tasks, matrices = (drawing.svg for drawing in judging)
    assert ">average mse<" in ranking
    assert ">0.30<" in ranking
    assert ">test mse<" in over_tasks
    assert "down and left is better" in tradeoff
    # What finetune has on task 1 at the end, in the last of two heat maps.
    assert ">0.61<" in matrices


def test_the_front_is_of_low_errors(tmp_path: Path) -> None:
    for method, learned, forgotten in (("ewc", 0.1, 0.1), ("finetune", 0.01, 0.5), ("global_mask", 0.2, 0.3)):
        found = {"learning_mse": learned, "average_forgetting": forgotten}
        write_regression_run(tmp_path / method, 0.3, 0, method, found)
    summary = summary_of(tmp_path, "learning_mse")
    assert summary.table["method"].tolist() == ["finetune", "ewc", "global_mask"]
    front = re.findall(r">([123])</text>", draw_tradeoff(summary).svg)
    assert sorted(front) == ["1", "2"]


def test_colours_of_the_matrices() -> None:
    near, far = np.array([[0.2, 0.9], [0.3, 0.4]]), np.array([[0.001, 250.0]])
    mse = score_by("mse")
    linear = colour_scale(mse, [near])
    assert (type(linear) is LogNorm, linear.vmin, linear.vmax) == (False, 0, 0.9)
    decades = colour_scale(mse, [near, far])
    assert (type(decades) is LogNorm, decades.vmin, decades.vmax) == (True, 0.001, 250)
    assert type(colour_scale(mse, [far, np.zeros((1, 2))])) is not LogNorm
    percent = colour_scale(score_by("accuracy"), [np.array([[1.0, 90.0]])])
    assert (type(percent) is LogNorm, percent.vmin, percent.vmax) == (False, 0, 100)


def test_numbers_stand_in_a_heat_map_where_they_fit(regression: Path) -> None:
    part = summary_of(regression)
    for tasks, expected in ((5, True), (6, False)):
        stack = np.full((1, tasks, tasks), 0.0012)
        # The colour bar may have the number, too.
        assert (draw_matrices(part, {0: stack}).svg.count(">0.0012<") > 1) is expected


@pytest.mark.usefixtures("no_figures")
def test_runs_of_one_kind_are_judged_by_their_own_score(regression: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(regression), "--compare", "method=ewc", "method=finetune"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("average mse, 95 % interval")
    assert "method=ewc minus method=finetune, in mse:\naverage_mse          -0.279 [-0.301, -0.257]" in output
    assert "left out" not in output
    html = (regression / "report" / "report.html").read_text()
    assert "in %" not in html
    assert "percentage points" not in html
    assert "means over seeds in mse with 95&nbsp;% intervals" in html
    assert '<td data-sort="0.031">0.0310 <span class="note">[0.0285, 0.0335]</span></td>' in html
    for table in ("runs", "summary"):
        columns = pd.read_csv(regression / "report" / f"{table}.csv").columns
        assert [name for name in columns if name in metric_names("mse")] == metric_names("mse")
        assert not any("accuracy" in name or name == "score" for name in columns)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("arguments", "columns", "runs", "note"),
    [
        ([], "average_accuracy", 2, "6 runs are left out, scored by mean squared error and not by accuracy: see "),
        (["--metric", "average_mse"], "average_mse", 6, "2 runs are left out, scored by accuracy and not by mean "),
        (["--metric", "average_forgetting"], "average_accuracy", 2, "accuracy: see --where benchmark=regression"),
        (["--where", "benchmark=regression"], "average_mse", 6, ""),
        (["--where", "benchmark=regression", "--metric", "average_forgetting"], "average_mse", 6, ""),
    ],
)
def test_runs_of_both_kinds(
    arguments: list[str], columns: str, runs: int, note: str, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(mixed), *arguments, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert sum(int(row["runs"]) for row in rows) == runs
    assert {"average_accuracy", "average_mse"} & set(rows[0]) == {columns}
    assert len(pd.read_csv(mixed / "report" / "runs.csv")) == runs
    html = (mixed / "report" / "report.html").read_text()
    assert printed.err.count("left out") == html.count("left out,") == bool(note)
    assert note in printed.err
    assert note in html


def test_the_note_says_how_to_see_the_others(mixed: Path) -> None:
    table = collect([mixed]).table
    assert judged(table, None)[2].endswith("see --metric average_mse")
    assert judged(table, "learning_mse")[2].endswith("see --metric average_accuracy")
    one = table.drop(index=table.index[table["score"] == "mse"][1:])
    assert judged(one, None)[2].startswith("1 run is left out")


def test_a_metric_that_no_run_has_is_refused(
    regression: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"allowed: average_mse, learning_mse, backward_transfer, "):
        judged(collect([regression]).table, "average_accuracy")
    assert main([str(write_run(tmp_path / "one", 0.5)), "--metric", "average_mse"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: --metric average_mse: no finished run has it, allowed: average_accuracy, ")
    assert printed.err.count("\n") == 1
