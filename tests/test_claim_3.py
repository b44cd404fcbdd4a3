"""Claim 3 on results made by hand: whether freezing 90 % learns task 2 and keeps task 1."""

import pytest
from findings import claim_3
from latest_mask_results import FREEZES, Knowledge, results, without_files


def after_second(learned: float, kept: float) -> Knowledge:
    """Learning is perfect and fine-tuning forgets all, but at freeze=0.9 it is as told."""

    def known(freeze: float, after: int, task: int) -> float:
        if freeze == 0.9 and after == 2:
            return kept if task == 1 else learned
        return 0.9 if after == task or freeze else 0.1

    return known


@pytest.mark.parametrize(
    ("regression", "images", "verdict", "words"),
    [
        (
            after_second(0.9, 0.9),
            after_second(0.89, 0.88),
            "confirmed",
            "task 1 is kept (+0.0); on permuted MNIST task 2 is learned as well",
        ),
        (
            after_second(0.9, 0.3),
            after_second(0.8, 0.9),
            "refuted",
            "on regression task 2 is learned as well as by fine-tuning (+0.0 points), task 1 is not kept (-60.0)",
        ),
        (
            after_second(0.3, 0.9),
            after_second(0.9, 0.8),
            "refuted",
            "on permuted MNIST task 2 is learned as well as by fine-tuning (+0.0 points), task 1 is not",
        ),
        (
            after_second(0.9, 0.9),
            after_second(0.8, 0.9),
            "depends",
            "on permuted MNIST task 2 is not learned as well as by fine-tuning",
        ),
        # One seed in five may be chance.
        (
            after_second(0.9, 0.7),
            after_second(0.8, 0.9),
            "depends",
            "task 1 may not be kept (-20.0)",
        ),
    ],
)
def test_whether_a_second_task_is_learned_and_the_first_kept(
    regression: Knowledge, images: Knowledge, verdict: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_files(monkeypatch, travel=0.5)
    (finding,) = claim_3.finding(results(regression, images))
    assert finding.verdict == verdict
    assert words in finding.words
    assert len(finding.table) == 2 * (1 + len(FREEZES))
    assert (finding.table["n"] == 10).all()


def test_the_best_freeze_for_two_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    without_files(monkeypatch, travel=0.5)

    def known(freeze: float, after: int, task: int) -> float:
        # The best is at 0.5, and 0.1 is no worse than what differs by seed.
        gap = {0.5: 0, 0.1: 0.0002}.get(freeze, 0.1)
        return 0.9 - gap * (after == 2) * (task == 1)

    (finding,) = claim_3.finding(results(after_second(0.9, 0.9), known))
    (line,) = [line for line in finding.answer.splitlines() if line.startswith("- permuted MNIST: freeze=")]
    assert "freeze=0.5, +5.0" in line
    assert line.endswith("not clearly worse: freeze=0.1")
