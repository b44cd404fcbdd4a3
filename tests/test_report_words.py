from pathlib import Path

from fake_runs import write_run

from cl_runner.report.collect import collect
from cl_runner.report.comparison import compare
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
        "Use ewc: average accuracy 71.3 % [70.6, 72.0] (10 runs), the highest of 2 settings."
    )
    assert "over the next best, finetune, is +19.5 [" in found.lead
    assert "clear, as the interval lies above 0." in found.lead
    assert not any("few" in line for line in found.cautions)


def test_few_seeds_are_weak_evidence(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.7, 0.72, 0.71], "finetune": [0.5, 0.55, 0.6]})
    found = verdict_on(tmp_path)
    assert "above 0, though 3 seeds are weak evidence." in found.lead
    assert any(line.startswith("3 seeds are few") for line in found.cautions)


def test_a_lead_that_is_not_clear_names_how_many_are_as_good(tmp_path: Path) -> None:
    runs = {"ewc": [0.7, 0.5, 0.6], "finetune": [0.6, 0.6, 0.5], "global_mask": [0.1, 0.2, 0.1]}
    write_settings(tmp_path, runs)
    found = verdict_on(tmp_path)
    assert "not clear, as the interval reaches 0." in found.lead
    assert "1 of 2 others cannot be told from it" in found.lead


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    write_settings(tmp_path, {"ewc": [0.7], "finetune": [0.5]})
    found = verdict_on(tmp_path)
    assert "average accuracy 70.0 % (1 run)" in found.answer
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
        for freeze in (0.0, 0.5):
            write_run(tmp_path / f"{freeze}{seed}", accuracy, seed, "ewc", freeze=freeze)
        write_run(tmp_path / f"finetune{seed}", accuracy - 0.1, seed, "finetune")
    found = verdict_on(tmp_path)
    assert "next best, finetune" in found.lead
    assert "ewc, freeze=0.5 gave the very same numbers: what tells them apart has no effect." in found.cautions


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
    assert pooled_over(found.table, found.settings, [], follows) == ["freeze", "method"]
    lines = comparison_in_words(compare(found.table, found.settings, "method=ewc", "method=global_mask"))
    assert lines[0] == "1 pair over 1 seed, which agree in seed."
    assert lines[1].startswith("Each side is averaged over freeze")
    write_run(tmp_path / "alone", 0.5, seed=7, method="ewc")
    found = collect([tmp_path])
    lines = comparison_in_words(compare(found.table, found.settings, "method=ewc", "method=global_mask"))
    assert "Left out, having no partner: 1 run of method=ewc, 0 runs of method=global_mask." in lines
