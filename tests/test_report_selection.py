import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import REGRESSION, VALIDATED, write_config, write_results, write_run
from numpy.typing import NDArray

from cl_runner.metrics import metric_names
from cl_runner.report.cli import main
from cl_runner.report.collect import collect
from cl_runner.report.comparison import leads
from cl_runner.report.figures import draw_ranking
from cl_runner.report.protocols import ORACLE, Protocol, parse, resolved
from cl_runner.report.selection import costs_of, picks
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import Summary, summarise
from cl_runner.report.table import runs_table
from cl_runner.report.words import Verdict, verdict

# By freeze, for seeds 0 to 3: the accuracy at the end on test and on validation samples, and that of the first task
# when it was the only one. Each way of choosing has a favourite of its own.
TEST = {
    0.1: [0.80, 0.82, 0.78, 0.80],
    0.2: [0.70, 0.72, 0.71, 0.69],
    0.3: [0.60, 0.60, 0.60, 0.60],
    0.4: [0.40, 0.42, 0.38, 0.36],
}
HELD_OUT = {0.1: [0.5] * 4, 0.2: [0.79] * 4, 0.3: [0.55] * 4, 0.4: [0.85, 0.85, 0.3, 0.3]}
FIRST = {0.1: 0.90, 0.2: 0.91, 0.3: 0.99, 0.4: 0.92}
ON_TEST, BY_VALIDATION, BY_FIRST, BY_SEEDS = TEST


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_runner.report.build.draw_sections", lambda _: [])


def matrix(first: float, last: float) -> NDArray[np.float64]:
    """Of three tasks, with as much on all of them at the end."""
    return np.array([[0.1, 0.1, 0.1], [first, 0.1, 0.1], [first, 0.6, 0.1], [last, last, last]])


def write(folder: Path, freeze: float, seed: int, validated: bool = True, **settings: Any) -> Path:
    directory = folder / f"{freeze}-{seed}"
    held_out = matrix(FIRST[freeze], HELD_OUT[freeze][seed]) if validated else None
    common = {"benchmark.tasks": 3, "freeze": freeze} | (VALIDATED if validated else {})
    write_config(directory, "global_mask", seed, common | {key.replace("__", "."): settings[key] for key in settings})
    write_results(directory, "accuracy", matrix(FIRST[freeze], TEST[freeze][seed]), None, held_out)
    return directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for freeze in TEST:
        for seed in range(4):
            write(tmp_path, freeze, seed)
    return tmp_path


@pytest.fixture
def unvalidated(tmp_path: Path) -> Path:
    """The same without validation samples."""
    for freeze in TEST:
        for seed in range(4):
            write(tmp_path, freeze, seed, validated=False)
    return tmp_path


def summary_of(folder: Path, select: str | None = None, metric: str = "average_accuracy") -> Summary:
    found = collect([folder])
    protocol, _ = resolved(parse(select) if select else Protocol(), found.table, metric)
    return summarise(found.table, distinguishing(found.table, found.settings)[0], metric, protocol)


def verdict_on(folder: Path, select: str | None = None, metric: str = "average_accuracy") -> Verdict:
    return verdict("", summary_of(folder, select, metric))


def picked_by(folder: Path, given: Protocol = ORACLE, metric: str = "average_accuracy") -> pd.DataFrame:
    runs = collect([folder])
    return picks(runs.table, distinguishing(runs.table, runs.settings)[0], metric, given)


@pytest.mark.parametrize(
    ("select", "chosen", "seeds"),
    [
        (None, BY_VALIDATION, range(4)),
        ("validation", BY_VALIDATION, range(4)),
        ("test", ON_TEST, range(4)),
        ("first_tasks=1", BY_FIRST, range(4)),
        ("seeds=0,1", BY_SEEDS, range(2, 4)),
        ("seeds=3", BY_VALIDATION, range(3)),
    ],
)
def test_each_way_chooses_its_own_and_the_test_set_judges(
    select: str | None, chosen: float, seeds: range, folder: Path
) -> None:
    best = summary_of(folder, select).table.iloc[0]
    assert best["freeze"] == chosen
    assert best["seeds"] == best["runs"] == len(seeds)
    assert best["average_accuracy"] == pytest.approx(np.mean([TEST[chosen][seed] for seed in seeds]))


def test_settings_are_ranked_by_what_chooses(folder: Path) -> None:
    table = summary_of(folder).table
    assert table["freeze"].tolist() == [0.2, 0.4, 0.3, 0.1]
    assert table["choice"].tolist() == pytest.approx([0.79, 0.575, 0.55, 0.5])
    assert table["validation_average_accuracy"].tolist() == pytest.approx(table["choice"].tolist())
    assert summary_of(folder, "first_tasks=1").table["freeze"].tolist() == [0.3, 0.4, 0.2, 0.1]
    # After two tasks, of which the second has 0.6.
    both = summary_of(folder, "first_tasks=2").table
    assert both["choice"].tolist() == pytest.approx([(value + 0.6) / 2 for value in sorted(FIRST.values())[::-1]])
    assert summary_of(folder, "test").table["choice"].tolist() == pytest.approx([0.8, 0.705, 0.6, 0.39])


def test_the_ranking_is_that_of_what_chooses(folder: Path) -> None:
    assert "best validation average accuracy first;" in draw_ranking(summary_of(folder)).svg
    assert "best first;" in draw_ranking(summary_of(folder, "test")).svg


def test_the_first_tasks_choose_on_test_samples_where_there_are_no_others(unvalidated: Path) -> None:
    assert summary_of(unvalidated).table["freeze"].iloc[0] == ON_TEST
    assert summary_of(unvalidated, "first_tasks=1").table["freeze"].iloc[0] == BY_FIRST
    assert summary_of(unvalidated, "seeds=0,1").table["freeze"].iloc[0] == ON_TEST


def test_the_least_is_chosen_where_that_is_best(tmp_path: Path) -> None:
    errors = {0.1: (0.2, 0.3), 0.2: (0.1, 0.4), 0.3: (0.3, 0.1)}
    for freeze, values in errors.items():
        for seed in range(2):
            test, held_out = (np.array([[1.0, 1.0], [value, 1.0], [value, value]]) for value in values)
            directory = tmp_path / f"{freeze}{seed}"
            write_config(directory, "global_mask", seed, REGRESSION | VALIDATED | {"freeze": freeze})
            write_results(directory, "mse", test, None, held_out)
    assert summary_of(tmp_path, metric="average_mse").table["freeze"].tolist() == [0.3, 0.1, 0.2]
    assert summary_of(tmp_path, "test", "average_mse").table["freeze"].tolist() == [0.2, 0.1, 0.3]
    assert verdict_on(tmp_path, metric="average_mse").answer == (
        "Chosen by validation, judged by test: use freeze=0.3: average mse 0.300 [0.300, 0.300] (2 seeds). "
        "Its validation average mse, 0.100, is the lowest of 3 settings."
    )
    found = picked_by(tmp_path, metric="average_mse").groupby("protocol")["average_mse"].mean()
    assert found.to_dict() == pytest.approx({"test": 0.1, "validation": 0.3, "seeds=halves": 0.3})


@pytest.mark.parametrize(
    ("select", "says", "caution"),
    [
        (
            None,
            "Chosen by validation, judged by test: use freeze=0.2: average accuracy 70.5 % [",
            "but these seeds did",
        ),
        ("test", "Chosen on the test set: use freeze=0.1: average accuracy 80.0 % [", "in part the luckiest"),
        (
            "first_tasks=1",
            "Chosen by validation of the first of 3 tasks, judged by test of all: use freeze=0.3: ",
            "The test set took no part in the choice, but these seeds did",
        ),
        (
            "seeds=0,1",
            "Chosen by validation with seeds 0, 1, judged by test with the others: use freeze=0.4: ",
            "Neither the test set nor these seeds took part",
        ),
    ],
)
def test_the_verdict_says_how_it_was_chosen(select: str | None, says: str, caution: str, folder: Path) -> None:
    found = verdict_on(folder, select)
    assert found.answer.startswith(says)
    assert caution in found.cautions[-1]
    assert any("luckiest" in line for line in found.cautions) == (select == "test")


@pytest.mark.parametrize(
    ("select", "says", "caution"),
    [
        (None, "Chosen on the test set: use freeze=0.1: ", "in part the luckiest"),
        (
            "first_tasks=1",
            "Chosen on the test set of the first of 3 tasks, judged on that of all: use freeze=0.3: ",
            "Part of the test set and these seeds took part",
        ),
        (
            "seeds=0,1",
            "Chosen on the test set with seeds 0, 1, judged on it with the others: use freeze=0.1: ",
            "These seeds took no part in the choice, but the test set did",
        ),
    ],
)
def test_the_verdict_on_runs_without_validation(select: str | None, says: str, caution: str, unvalidated: Path) -> None:
    found = verdict_on(unvalidated, select)
    assert found.answer.startswith(says)
    assert caution in found.cautions[-1]


def test_what_chose_is_named_with_its_score(folder: Path) -> None:
    assert verdict_on(folder).answer.endswith("Its validation average accuracy, 79.0 %, is the highest of 4 settings.")
    assert "Its validation average accuracy of the first task, 99.0 %, is the highest" in (
        verdict_on(folder, "first_tasks=1").answer
    )
    assert "Its validation average accuracy of seeds 0, 1, 85.0 %, is the highest" in (
        verdict_on(folder, "seeds=0,1").answer
    )


def write_pairs(folder: Path, test: Mapping[str, list[float]], held_out: Mapping[str, float]) -> None:
    for method, values in test.items():
        for seed, value in enumerate(values):
            write_run(folder / f"{method}{seed}", value, seed, method, validation=held_out[method])


def test_the_chosen_may_be_behind_on_the_test_set(tmp_path: Path) -> None:
    worse = [0.50, 0.51, 0.52, 0.50, 0.51, 0.52]
    test = {"ewc": worse, "finetune": [value + 0.1 for value in worse], "global_mask": [0.3] * 6}
    write_pairs(tmp_path, test, {"ewc": 0.6, "finetune": 0.5, "global_mask": 0.4})
    found = verdict_on(tmp_path)
    assert "use ewc: average accuracy 51.0 %" in found.answer
    assert found.lead == (
        "Its lead over the next in the choice, finetune, is -10.0 [-10.0, -10.0] percentage points on the test set, "
        "paired over 6 seeds: it is behind, as the interval lies below 0. Allowing for the choice among so many, 0 of "
        "2 others cannot be told from it, 1 came out better."
    )
    assert found.rivals["behind"].tolist() == [True, False]
    assert found.rivals["apart"].tolist() == [False, True]


def test_few_seeds_in_all_of_which_the_chosen_is_behind(tmp_path: Path) -> None:
    write_pairs(tmp_path, {"ewc": [0.5, 0.5], "finetune": [0.6, 0.61]}, {"ewc": 0.6, "finetune": 0.5})
    assert "it is ahead in 0 of these 2." in verdict_on(tmp_path).lead
    assert not leads(summary_of(tmp_path))[["clear", "apart", "behind"]].any(axis=None)


def test_a_tie_is_one_of_what_chooses(tmp_path: Path) -> None:
    write_pairs(tmp_path, {"ewc": [0.5, 0.52], "finetune": [0.6, 0.61]}, {"ewc": 0.6, "finetune": 0.6})
    assert "finetune came out as well as ewc: which of them is named is arbitrary." in verdict_on(tmp_path).cautions
    write_pairs(tmp_path / "b", {"global_mask": [0.5, 0.52]}, {"global_mask": 0.7})
    assert not any("arbitrary" in line for line in verdict_on(tmp_path).cautions)


def test_what_each_protocol_picks_by_seed(folder: Path) -> None:
    found = picked_by(folder)
    assert found.columns.tolist() == ["method", "protocol", "samples", "setting", "seed", "average_accuracy"]
    assert found["method"].isna().all()
    scores = found["average_accuracy"].round(6)
    by_way = {way: dict(zip(rows["seed"], scores[rows.index], strict=True)) for way, rows in found.groupby("protocol")}
    assert by_way == {
        "test": dict(enumerate(TEST[ON_TEST])),
        "validation": dict(enumerate(TEST[BY_VALIDATION])),
        "first_tasks=2": dict(enumerate(TEST[BY_FIRST])),
        # Seeds 0 and 1 choose for 2 and 3, and these, by validation of their own, for 0 and 1.
        "seeds=halves": {0: 0.70, 1: 0.72, 2: 0.38, 3: 0.36},
    }
    assert set(found.loc[found["protocol"] != "test", "samples"]) == {"validation"}


def test_what_honesty_costs(folder: Path) -> None:
    runs = collect([folder]).table
    found = costs_of(picked_by(folder), runs, "average_accuracy").set_index("protocol")
    assert found.index.tolist() == ["test", "validation", "first_tasks=2", "seeds=halves"]
    assert found["setting"].tolist() == [
        "freeze=0.1",
        "freeze=0.2",
        "freeze=0.3",
        "freeze=0.4 (2 seeds); freeze=0.2 (2 seeds)",
    ]
    assert found["same"].tolist() == [True, False, False, False]
    assert found["average_accuracy"].tolist() == pytest.approx([0.8, 0.705, 0.6, 0.54])
    assert found["difference"].tolist() == pytest.approx([0, -0.095, -0.2, -0.26])
    # Student's t of 3 degrees of freedom; differences by seed are -0.1, -0.1, -0.07, -0.11.
    reach = 3.182446 * np.std([0.1, 0.1, 0.07, 0.11], ddof=1) / 2
    row = found.loc["validation"]
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((-0.095 - reach, -0.095 + reach))


def test_the_given_tasks_and_seeds_take_the_place_of_the_usual(folder: Path) -> None:
    runs = collect([folder]).table
    tasks = costs_of(picked_by(folder, Protocol("validation", tasks=1)), runs, "average_accuracy")
    assert tasks["protocol"].tolist() == ["test", "validation", "first_tasks=1", "seeds=halves"]
    seeds = costs_of(picked_by(folder, Protocol("validation", seeds=(0, 1))), runs, "average_accuracy")
    row = seeds.set_index("protocol").loc["seeds=0,1"]
    assert (row["setting"], row["seeds"]) == ("freeze=0.4", 2)
    # Paired with the same seeds of the test set's pick: 0.38 - 0.78 and 0.36 - 0.80.
    assert (row["average_accuracy"], row["difference"]) == pytest.approx((0.37, -0.42))


def test_only_protocols_that_runs_allow(unvalidated: Path, tmp_path: Path) -> None:
    assert set(picked_by(unvalidated)["protocol"]) == {"test", "first_tasks=2", "seeds=halves"}
    for freeze in (0.1, 0.2):
        write_run(
            tmp_path / "one" / str(freeze),
            0.5 + freeze,
            0,
            "global_mask",
            freeze=freeze,
            benchmark__tasks=1,
            validation=0.5,
        )
    assert set(picked_by(tmp_path / "one")["protocol"]) == {"test", "validation"}


def test_methods_choose_apart_and_together(tmp_path: Path) -> None:
    for method, freeze, test, held_out in (
        ("global_mask", 0.5, 0.5, 0.7),
        ("global_mask", 0.9, 0.6, 0.6),
        ("layerwise_mask", 0.5, 0.7, 0.5),
        ("layerwise_mask", 0.9, 0.8, 0.4),
        # Leaves nothing to choose by itself, but is one of all.
        ("ewc", 0.0, 0.4, 0.9),
    ):
        for seed in range(2):
            write_run(tmp_path / f"{method}{freeze}{seed}", test, seed, method, freeze=freeze, validation=held_out)
    found = picked_by(tmp_path)
    chosen = found[found["protocol"].isin(["test", "validation"]) & (found["seed"] == 0)]
    told = [tuple(row) for row in chosen[["method", "protocol", "setting"]].fillna("").to_numpy()]
    assert told == [
        ("", "test", "layerwise_mask, freeze=0.9"),
        ("", "validation", "ewc"),
        ("global_mask", "test", "freeze=0.9"),
        ("global_mask", "validation", "freeze=0.5"),
        ("layerwise_mask", "test", "freeze=0.9"),
        ("layerwise_mask", "validation", "freeze=0.5"),
    ]


def test_benchmarks_choose_apart(tmp_path: Path) -> None:
    for benchmark, values in (("permuted_digits", (0.5, 0.6)), ("split_digits", (0.9, 0.8))):
        for freeze, value in zip((0.5, 0.9), values, strict=True):
            write_run(
                tmp_path / f"{benchmark}{freeze}", value, 0, "global_mask", freeze=freeze, benchmark__name=benchmark
            )
    found = picked_by(tmp_path)
    oracle = found[found["protocol"] == "test"].set_index("benchmark")["setting"]
    assert oracle.to_dict() == {"permuted_digits": "freeze=0.9", "split_digits": "freeze=0.5"}
    parts = summary_of(tmp_path).parts()
    assert [verdict(*part).answer.split(":")[0] for part in parts] == ["Chosen on the test set"] * 2


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("best", "--select: got best, allowed: validation, test, first_tasks=K, seeds=A,B"),
        ("first_tasks=some", "--select: got first_tasks=some, allowed: "),
        ("seeds=", "--select: got seeds=, allowed: "),
        ("first_tasks=0", "--select first_tasks: got 0, allowed: whole numbers from 1 to 2, as runs have 3 tasks"),
        ("first_tasks=3", "--select first_tasks: got 3, allowed: whole numbers from 1 to 2, as runs have 3 tasks"),
        (
            "seeds=0,7",
            "--select seeds: got 7, which no finished run has, allowed: some of the seeds 0, 1, 2, 3, but not all",
        ),
        (
            "seeds=0,1,2,3",
            "--select seeds: got all seeds, which leaves none to judge by, allowed: some of the seeds 0, ",
        ),
    ],
)
def test_what_cannot_be_chosen_by_is_one_line(
    select: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--select", select]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert not (folder / "report").exists()


def test_of_one_task_nothing_is_forgotten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--select", "first_tasks=1", "--metric", "average_forgetting"]) == 2
    assert "got 1, allowed: whole numbers from 2 to 2" in capsys.readouterr().err


def test_validation_that_some_runs_lack(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "old", 0.3, 0, validated=False)
    assert main([str(folder), "--select", "validation"]) == 2
    message = "--select validation: 1 of 17 runs has no validation samples, allowed: test, first_tasks=K, seeds=A,B"
    assert capsys.readouterr().err == f"error: {message}\n"
    assert main([str(folder), "--group-by", "freeze"]) == 0
    output = capsys.readouterr().out
    assert "Chosen on the test set: use freeze=0.1:" in output
    assert (
        "Chosen on the test set, as 1 of 17 runs has no validation samples; --where benchmark.validation=0.1" in output
    )
    assert main([str(folder), "--where", "benchmark.validation=0.1"]) == 0
    assert "Chosen by validation, judged by test: use freeze=0.2:" in capsys.readouterr().out


def test_runs_that_choose_are_in_no_other_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "alone", 0.1, 0, train__epochs=3)
    arguments = [str(folder), "--select", "seeds=0,1", "--compare", "freeze=0.1", "freeze=0.2"]
    assert main([*arguments, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert "9 runs of seeds 0, 1 only chose, and judge nothing here; 1 setting ran with no others." in printed.err
    assert main([str(folder), "--select", "seeds=0,1", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["freeze"], row["seeds"], row["choice"]) for row in rows[:2]] == [(0.4, 2, 0.85), (0.2, 2, 0.79)]
    comparison = pd.read_csv(folder / "report" / "comparison.csv")
    assert comparison["difference"][0] == pytest.approx((0.78 - 0.71 + 0.80 - 0.69) / 2)
    # The files hold what was read, whoever chose.
    assert len(pd.read_csv(folder / "report" / "runs.csv")) == 17


def test_a_setting_without_seeds_to_choose_by_is_not_chosen(folder: Path) -> None:
    for freeze in (0.1, 0.3):
        write(folder / "more", freeze, 3, train__epochs=3)
    table = summary_of(folder, "seeds=0,1").table
    assert table["choice"].isna().tolist() == [False] * 4 + [True] * 2
    assert verdict_on(folder, "seeds=0,1").answer.endswith("is the highest of 4 settings that have one in every run.")


def test_tables_have_both_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    report = folder / "report"
    runs, summary = (pd.read_csv(report / f"{name}.csv") for name in ("runs", "summary"))
    columns = [*metric_names("accuracy"), *(f"validation_{name}" for name in metric_names("accuracy"))]
    assert runs.columns.tolist()[-10:] == columns
    assert {f"{name}{end}" for name in columns for end in ("", "_low", "_high")} <= set(summary)
    assert pd.read_csv(report / "selection.csv")["difference"].tolist() == pytest.approx([0, -0.095, -0.2, -0.26])
    assert "80.0 │ 70.5 (-9.5) │  60.0 (-20.0) │ 54.0 (-26.0) │" in capsys.readouterr().out
    assert runs_table(folder).columns.tolist()[-11:] == [*columns, "failed"]


def test_without_validation_tables_have_no_such_columns(unvalidated: Path) -> None:
    assert main([str(unvalidated)]) == 0
    for name in ("runs", "summary"):
        columns = pd.read_csv(unvalidated / "report" / f"{name}.csv").columns
        assert not columns.str.contains("validation").any()
    assert not runs_table(unvalidated).columns.str.contains("validation").any()


def test_one_setting_leaves_nothing_to_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write(tmp_path, 0.1, seed)
    assert main([str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "Use global_mask: average accuracy 80.0 %" in output
    assert "honesty" not in output
    assert not (tmp_path / "report" / "selection.csv").exists()
    assert "honesty" not in (tmp_path / "report" / "report.html").read_text()


def test_the_page_shows_it(folder: Path) -> None:
    assert main([str(folder)]) == 0
    html = (folder / "report" / "report.html").read_text()
    assert "Chosen by validation, judged by test: use freeze=0.2:" in html
    assert "ordered by validation average accuracy" in html
    assert '<th scope="rowgroup" rowspan="4">all settings</th><td>test set (oracle)</td>' in html
    assert 'validation <span class="note">used above</span></td><td>4</td><td>70.5 <span class="note">[' in html
    assert "<td>freeze=0.4 (2 seeds); freeze=0.2 (2 seeds)</td>" in html
