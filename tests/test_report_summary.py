from pathlib import Path

import numpy as np
import pytest
from fake_runs import write_run

from cl_runner.metrics import metric_names
from cl_runner.report.collect import collect
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import Summary, pareto_front, summarise


def summary_of(folder: Path, metric: str = "average_accuracy", keys: list[str] | None = None) -> Summary:
    found = collect([folder])
    own = distinguishing(found.table, found.settings)[0] if keys is None else keys
    return summarise(found.table, own, metric)


def test_means_and_counts_of_runs_made_by_hand(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.5, 0.6, 0.7]):
        write_run(tmp_path / f"ewc{seed}", accuracy, seed, "ewc")
    for seed, accuracy in enumerate([0.8, 0.9]):
        write_run(tmp_path / f"mask{seed}", accuracy, seed, "global_mask")
    summary = summary_of(tmp_path)
    assert summary.keys == ["method"]
    assert summary.table["method"].tolist() == ["global_mask", "ewc"]
    assert summary.table["seeds"].tolist() == summary.table["runs"].tolist() == [2, 3]
    np.testing.assert_allclose(summary.table["average_accuracy"], [0.85, 0.6])
    np.testing.assert_allclose(summary.table["average_forgetting"], [0.0, 0.5])
    np.testing.assert_allclose(summary.table["backward_transfer"], [0.0, -0.5])
    by_setting = summary.runs.groupby("setting")["average_accuracy"].apply(list).tolist()
    assert by_setting == [[0.8, 0.9], [0.5, 0.6, 0.7]]


def test_forgetting_is_best_when_least(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5, method="ewc", metrics={"average_forgetting": 0.3})
    write_run(tmp_path / "b", 0.6, method="finetune", metrics={"average_forgetting": 0.4})
    assert summary_of(tmp_path, "average_forgetting").table["method"].tolist() == ["ewc", "finetune"]
    assert summary_of(tmp_path).table["method"].tolist() == ["finetune", "ewc"]


def test_one_run_has_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5)
    table = summary_of(tmp_path).table
    assert table["seeds"].tolist() == [1]
    assert (
        table[[f"{name}_{end}" for name in metric_names("accuracy") for end in ("low", "high")]].isna().all(axis=None)
    )


def test_a_metric_that_one_run_lacks_has_no_mean(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5, metrics={"average_forgetting": None}, benchmark__tasks=1)
    write_run(tmp_path / "b", 0.7, benchmark__tasks=2)
    table = summary_of(tmp_path, keys=["method"]).table
    assert table["runs"].item() == 2
    assert table["average_accuracy"].item() == pytest.approx(0.6)
    assert np.isnan(table["average_forgetting"].item())


def test_null_is_a_value_of_its_own(tmp_path: Path) -> None:
    for number, samples in enumerate([None, 100, None]):
        write_run(tmp_path / str(number), 0.5, seed=number, benchmark__train_samples=samples)
    table = summary_of(tmp_path).table
    assert table["runs"].tolist() == [1, 2]


def test_benchmarks_are_ranked_apart(tmp_path: Path) -> None:
    for method, benchmark, accuracy in [
        ("ewc", "split_digits", 0.9),
        ("ewc", "permuted_digits", 0.5),
        ("finetune", "split_digits", 0.95),
        ("finetune", "permuted_digits", 0.4),
    ]:
        write_run(tmp_path / f"{method}{benchmark}", accuracy, method=method, benchmark__name=benchmark)
    parts = summary_of(tmp_path).parts()
    assert [name for name, _ in parts] == ["permuted_digits", "split_digits"]
    assert [part.labels().iloc[0] for _, part in parts] == ["ewc", "finetune"]


def test_pareto_front() -> None:
    gains, costs = np.array([0.9, 0.8, 0.8, 0.95, 0.7, np.nan]), np.array([0.3, 0.1, 0.2, 0.5, 0.1, 0.0])
    assert pareto_front(gains, costs).tolist() == [True, True, False, True, False, False]
