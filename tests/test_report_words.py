from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import write_run

from cl_runner.metrics import metric_names
from cl_runner.report.collect import collect
from cl_runner.report.comparison import compare, leads
from cl_runner.report.settings import distinguishing
from cl_runner.report.summary import summarise
from cl_runner.report.words import Verdict, comparison_in_words, pooled_over, verdict


def verdict_on(folder: Path, metric: str = "average_accuracy") -> Verdict:
    found = collect([folder])
    summary = summarise(found.table, distinguishing(found.table, found.settings)[0], metric)
    return verdict("", summary)


def write_settings(folder: Path, accuracies: dict[str, list[float]], first_seed: int = 0) -> None:
    for method, values in accuracies.items():
        for seed, accuracy in enumerate(values, first_seed):
            write_run(folder / f"{method}{seed}", accuracy, seed, method)


def test_a_clear_lead(tmp_path: Path) -> None:
    runs = {"ewc": [0.70 + 0.01 * (k % 4) for k in range(10)], "finetune": [0.5 + 0.02 * (k % 3) for k in range(10)]}
    write_settings(tmp_path, runs)
    found = verdict_on(tmp_path)
    assert found.answer.startswith(
        "Chosen on the test set: use ewc: average accuracy 71.3 % [70.5, 72.1] (10 seeds), the highest of 2 settings."
    )
    assert "over the next best, finetune, is +19.5 [" in found.lead
    assert "clear, as the interval lies above 0." in found.lead
    assert not any("few" in line for line in found.cautions)


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_nothing_is_clear_below_five_seeds(seeds: int, tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.9, 0.91, 0.9, 0.92][:seeds], "finetune": [0.5, 0.51, 0.5, 0.5][:seeds]})
    found = verdict_on(tmp_path)
    # Its interval alone would do.
    assert (found.rivals["low"] > 0).all()
    assert not found.rivals[["clear", "apart"]].any(axis=None)
    needed = f"5 seeds at least are needed to call a lead clear; these {seeds} agree in sign."
    assert found.lead.endswith(f"paired over {seeds} seeds: {needed}")
    assert f"{seeds} seeds are few. Run 5 at least to call a lead clear." in found.cautions


def test_few_seeds_that_disagree(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.9, 0.91, 0.4], "finetune": [0.5, 0.51, 0.5]})
    assert "to call a lead clear; it is ahead in 2 of these 3." in verdict_on(tmp_path).lead


def test_five_seeds_are_enough(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.9, 0.91, 0.9, 0.92, 0.9], "finetune": [0.5, 0.51, 0.5, 0.5, 0.52]})
    found = verdict_on(tmp_path)
    assert "clear, as the interval lies above 0." in found.lead
    assert not any("few" in line for line in found.cautions)


def test_seeds_are_counted_and_not_runs(tmp_path: Path) -> None:
    for rate in (0.1, 0.2, 0.3, 0.4):
        for seed, (mask, ewc) in enumerate([(0.9, 0.5), (0.8, 0.55), (0.85, 0.5)]):
            write_run(tmp_path / f"m{rate}{seed}", mask, seed, "global_mask", train__learning_rate=rate)
            write_run(tmp_path / f"e{rate}{seed}", ewc, seed, "ewc", train__learning_rate=rate)
    found = collect([tmp_path])
    pooled = verdict("", summarise(found.table, ["method"], "average_accuracy"))
    assert "(3 seeds, 12 runs), the highest of 2 settings" in pooled.answer
    assert "paired over 3 seeds: 5 seeds at least" in pooled.lead


def test_seeds_with_more_runs_than_others_are_told(tmp_path: Path) -> None:
    for seed, rates in enumerate([(1, 2), (1, 2), (1,)]):
        for rate in rates:
            write_run(tmp_path / f"e{rate}{seed}", 0.6, seed, "ewc", train__learning_rate=rate)
        write_run(tmp_path / f"f{seed}", 0.5, seed, "finetune", train__learning_rate=1)
    pooled = verdict("", summarise(collect([tmp_path]).table, ["method"], "average_accuracy"))
    assert "ewc: not every seed has as many runs, so that seeds may differ for that alone." in pooled.cautions
    assert not any("finetune" in line for line in pooled.cautions)


def test_the_best_can_be_behind_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.5, 0.51, 0.5, 0.5, 0.52, 0.99, 0.99, 0.99], "finetune": [0.6] * 5})
    found = verdict_on(tmp_path)
    assert found.answer.startswith("Chosen on the test set: use ewc: ")
    assert "on the seeds that both have it is behind, and ahead only by its other seeds." in found.lead


def test_a_tie_is_told(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.5, 0.7, 0.6], "finetune": [0.7, 0.5, 0.6], "global_mask": [0.1, 0.1, 0.1]})
    assert "finetune came out as well as ewc: which of them is named is arbitrary." in verdict_on(tmp_path).cautions


def test_rounding_decides_nothing(tmp_path: Path) -> None:
    values = [0.1, 0.2, 0.3, 0.45, 0.7, 0.75]
    for seed in range(6):
        for number, value in enumerate(values):
            rate, forgetting = number + 1, {"average_forgetting": 0.05}
            write_run(tmp_path / f"a{number}{seed}", value, seed, "ewc", train__learning_rate=rate)
            other = tmp_path / f"b{number}{seed}"
            write_run(other, values[-1 - number], seed, "finetune", forgetting, train__learning_rate=rate)
    found = collect([tmp_path])
    rivals = verdict("", summarise(found.table, ["method"], "average_accuracy")).rivals
    assert rivals[["lead", "low", "same", "clear"]].to_numpy().tolist() == [[0.0, 0.0, False, False]]


def test_settings_whose_runs_lack_the_metric_have_no_place(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.7, 0.72], "finetune": [0.5, 0.55]})
    for seed, forgetting in enumerate([None, 0.1]):
        write_run(tmp_path / f"m{seed}", 0.8, seed, "global_mask", {"average_forgetting": forgetting})
    found = verdict_on(tmp_path, "average_forgetting")
    assert found.answer.endswith("(2 seeds), the lowest of 2 settings that have one in every run.")


def test_of_many_equal_settings_hardly_any_is_told_from_the_best() -> None:
    source, told = np.random.default_rng(0), []
    for _ in range(30):
        scores = source.normal(0.7, 0.05, size=(10, 1)) + source.normal(0, 0.03, size=(10, 12))
        runs = pd.DataFrame({"average_accuracy": scores.ravel(), "seed": np.repeat(range(10), 12), "score": "accuracy"})
        runs["setting"] = np.tile(range(12), 10)
        others = [name for name in metric_names("accuracy") if name != "average_accuracy"]
        told.append(leads(summarise(runs.assign(**dict.fromkeys(others, 0.0)), ["setting"], "average_accuracy")))
    # By its own interval some one is nearly always.
    assert np.mean([rivals["clear"].any() for rivals in told]) > 0.5
    assert np.mean([rivals["apart"].any() for rivals in told]) <= 0.05


def test_a_lead_that_is_not_clear_names_how_many_are_as_good(tmp_path: Path) -> None:
    runs = {"ewc": [0.7, 0.5, 0.6], "finetune": [0.6, 0.6, 0.5], "global_mask": [0.1, 0.2, 0.1]}
    runs = {method: values + values for method, values in runs.items()}
    write_settings(tmp_path, runs)
    found = verdict_on(tmp_path)
    assert "not clear, as the interval reaches 0." in found.lead
    assert "Allowing for the choice among so many, 1 of 2 others cannot be told from it." in found.lead


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.7], "finetune": [0.5]})
    found = verdict_on(tmp_path)
    assert "average accuracy 70.0 % (1 seed)" in found.answer
    assert "cannot be judged: the two share 1 seed." in found.lead
    assert any(
        line.startswith("One seed says nothing of the spread between seeds, so there is no") for line in found.cautions
    )


def test_no_shared_seed(tmp_path: Path) -> None:
    write_settings(tmp_path / "a", {"ewc": [0.7, 0.8]})
    write_settings(tmp_path / "b", {"finetune": [0.5, 0.6]}, first_seed=10)
    assert "cannot be judged: the two share 0 seeds." in verdict_on(tmp_path).lead


def test_settings_without_effect_are_no_rivals(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.7, 0.8]):
        for decay in (0.0, 0.5):
            write_run(tmp_path / f"{decay}{seed}", accuracy, seed, "ewc", train__weight_decay=decay)
        write_run(tmp_path / f"finetune{seed}", accuracy - 0.1, seed, "finetune")
    found = verdict_on(tmp_path)
    assert "next best, finetune" in found.lead
    assert "ewc, weight_decay=0.5 gave the very same numbers: what tells them apart has no effect." in found.cautions


def test_one_setting(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.7, 0.8]})
    found = verdict_on(tmp_path)
    assert found.answer.startswith("Use ewc: ")
    assert found.answer.endswith("the only setting here.")
    assert found.lead == ""


def test_a_metric_that_no_run_has(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.7, metrics={"average_forgetting": None})
    found = verdict_on(tmp_path, "average_forgetting")
    assert found.answer == "No setting can be named: its runs have no average forgetting."


def test_what_was_pooled_and_what_was_left_alone(tmp_path: Path) -> None:
    for method, freeze in (("ewc", 0.0), ("global_mask", 0.5), ("global_mask", 0.9)):
        write_run(tmp_path / f"{method}{freeze}", 0.5, method=method, freeze=freeze)
    found = collect([tmp_path])
    keys, follows = distinguishing(found.table, found.settings)
    assert pooled_over(found.table, found.settings, keys, follows) == []
    assert pooled_over(found.table, found.settings, ["method"], follows) == ["freeze"]
    assert pooled_over(found.table, found.settings, [], follows) == ["method", "freeze"]
    lines = comparison_in_words(compare(found.table, found.settings, "method=ewc", "method=global_mask"))
    assert lines[0] == "1 pair over 1 seed, which agree in seed."
    assert lines[1].startswith("Each side is averaged over freeze")
    write_run(tmp_path / "alone", 0.5, seed=7, method="ewc")
    found = collect([tmp_path])
    lines = comparison_in_words(compare(found.table, found.settings, "method=ewc", "method=global_mask"))
    assert "Left out, having no partner: 1 run of method=ewc, 0 runs of method=global_mask." in lines
