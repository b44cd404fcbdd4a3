from pathlib import Path

import numpy as np
import pytest
from fake_runs import write_run

from cl_runner.errors import ConfigError
from cl_runner.report.collect import collect
from cl_runner.report.comparison import Comparison, compare, leads
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import summarise
from cl_runner.report.words import comparison_in_words
from cl_runner.results.intervals import intervals


def compared(folder: Path, first: str, second: str) -> Comparison:
    found = collect([folder])
    return compare(found.table, found.settings, first, second)


def test_runs_of_a_seed_are_paired_and_the_others_counted(tmp_path: Path) -> None:
    one, two = {0: 0.7, 1: 0.9, 2: 0.6, 5: 0.1}, {0: 0.6, 1: 0.6, 2: 0.5, 6: 0.9, 7: 0.9}
    for method, runs in (("global_mask", one), ("layerwise_mask", two)):
        for seed, accuracy in runs.items():
            write_run(tmp_path / f"{method}{seed}", accuracy, seed, method)
    found = compared(tmp_path, "method=global_mask", "method=layerwise_mask")
    row = found.table.set_index("metric").loc["average_accuracy"]
    assert row["difference"] == pytest.approx(np.mean([0.1, 0.3, 0.1]))
    assert (row["seeds"], row["pairs"]) == (3, 3)
    low, high = intervals([np.array([[0.1, 0.3, 0.1]])])
    assert (row["low"], row["high"]) == (pytest.approx(low.item()), pytest.approx(high.item()))
    assert found.alone == (1, 2)
    # The mask follows from the method: it is what is compared.
    assert (found.matched, found.pooled) == ([], [])


def test_settings_that_both_have_are_matched_and_pooled_by_seed(tmp_path: Path) -> None:
    accuracies = {
        ("global_mask", 0.5): [0.5, 0.6],
        ("global_mask", 0.9): [0.3, 0.4],
        ("layerwise_mask", 0.5): [0.6, 0.8],
        ("layerwise_mask", 0.9): [0.3, 0.6],
        ("layerwise_mask", 0.7): [0.9, 0.9],
    }
    for (method, freeze), values in accuracies.items():
        for seed, accuracy in enumerate(values):
            write_run(tmp_path / f"{method}{freeze}{seed}", accuracy, seed, method, freeze=freeze)
    found = compared(tmp_path, "method=layerwise_mask", "method=global_mask")
    row = found.table.set_index("metric").loc["average_accuracy"]
    assert found.matched == ["freeze"]
    assert found.averaged == {"freeze": ["0.5", "0.9"]}
    assert "mean over freeze=0.5, 0.9, paired value by value" in " ".join(comparison_in_words(found))
    assert found.alone == (2, 0)
    assert (row["seeds"], row["pairs"]) == (2, 4)
    # Seed 0: 0.1 and 0; seed 1: 0.2 and 0.2.
    assert row["difference"] == pytest.approx((0.05 + 0.2) / 2)
    (low,), (high,) = intervals([np.array([[0.05, 0.2]])], -1, 1)
    assert (row["low"], row["high"]) == (pytest.approx(low.item()), pytest.approx(high.item()))


def test_what_belongs_to_one_method_only_is_pooled(tmp_path: Path) -> None:
    for value, accuracy in ((1.0, 0.5), (10.0, 0.7)):
        write_run(tmp_path / f"ewc{value}", accuracy, method="ewc", method__ewc_lambda=value)
    write_run(tmp_path / "mask", 0.4, method="global_mask", freeze=0.5)
    found = compared(tmp_path, "method=ewc", "method=global_mask")
    assert found.pooled == ["method.ewc_lambda"]
    assert found.table["difference"][0] == pytest.approx(0.2)
    assert found.table["low"].isna().all()


def test_training_must_agree(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.5, method="ewc", train__epochs=10)
    write_run(tmp_path / "b", 0.6, method="finetune", train__epochs=20)
    with pytest.raises(ConfigError, match=r"no run of method=ewc has a partner .* share no value of train.epochs"):
        compared(tmp_path, "method=ewc", "method=finetune")


def test_several_conditions_a_side(tmp_path: Path) -> None:
    for method, freeze, accuracy in (("ewc", 0.0, 0.5), ("global_mask", 0.5, 0.6), ("global_mask", 0.9, 0.1)):
        write_run(tmp_path / f"{method}{freeze}", accuracy, method=method, freeze=freeze)
    found = compared(tmp_path, "method=global_mask freeze=0.5", "method=ewc")
    assert found.table["difference"][0] == pytest.approx(0.1)
    with pytest.raises(ConfigError, match="the same runs fulfil"):
        compared(tmp_path, "method=global_mask", "freeze=0.9")
    with pytest.raises(ConfigError, match="--compare method=joint: no finished run has it"):
        compared(tmp_path, "method=joint", "method=ewc")


def test_one_setting_against_another_matches_the_method(tmp_path: Path) -> None:
    for method, low, high in (("global_mask", 0.5, 0.3), ("layerwise_mask", 0.6, 0.7)):
        write_run(tmp_path / f"{method}low", low, method=method, freeze=0.5)
        write_run(tmp_path / f"{method}high", high, method=method, freeze=0.9)
    found = compared(tmp_path, "freeze=0.5", "freeze=0.9")
    assert "method" in found.matched
    assert found.table["pairs"][0] == 2
    assert found.table["difference"][0] == pytest.approx((0.2 - 0.1) / 2)


@pytest.mark.parametrize(("metric", "lead"), [("average_accuracy", 0.1), ("average_forgetting", 0.2)])
def test_leads_are_over_shared_seeds_and_positive_for_the_better(metric: str, lead: float, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", 0.8 + 0.01 * seed, seed, "ewc")
        write_run(tmp_path / f"b{seed}", 0.7 + 0.01 * seed, seed, "global_mask")
        write_run(tmp_path / f"c{seed}", 0.8 + 0.01 * seed, seed, "ewc", train__weight_decay=0.5)
    write_run(tmp_path / "b9", 0.1, 9, "global_mask")
    found = collect([tmp_path])
    summary = summarise(found.table, distinguishing(found.table, found.settings)[0], metric)
    rivals = leads(summary)
    twin, other = rivals.iloc[0], rivals.iloc[1]
    assert (twin["same"], other["same"]) == (True, False)
    assert other["lead"] == pytest.approx(lead)
    assert other["seeds"] == 3
