"""Claim 4 on results made by hand: at which freeze task 1 survives task 3."""

import pytest
from findings import claim_4
from latest_mask_results import FREEZES, Knowledge, results, without_files


def after_third(below: float, above: float) -> Knowledge:
    """What is left of task 1, up to 95 % frozen and above; 0.9 is what was learned."""

    def known(freeze: float, after: int, task: int) -> float:
        left = above if freeze > 0.95 else below
        return left if (after, task) == (3, 1) else 0.9

    return known


@pytest.mark.parametrize(
    ("regression", "images", "verdict", "words"),
    [
        (
            after_third(0.2, 0.9),
            after_third(0.4, 0.89),
            "confirmed",
            "on regression it is destroyed at freeze=0.1, 0.5, 0.9, 0.95",
        ),
        # Half forgotten is not destroyed, of 90 % where 10 % is chance.
        (
            after_third(0.2, 0.9),
            after_third(0.55, 0.89),
            "depends",
            "on permuted MNIST it is destroyed at no freeze, and kept at",
        ),
        (
            after_third(0.9, 0.9),
            after_third(0.55, 0.89),
            "refuted",
            "on permuted MNIST it is destroyed at no freeze, and kept at",
        ),
        (
            after_third(0.2, 0.3),
            after_third(0.4, 0.8),
            "refuted",
            "on permuted MNIST it is destroyed at freeze=0.1, 0.5, 0.9, 0.95",
        ),
        # One seed in five may be chance.
        (after_third(0.2, 0.7), after_third(0.4, 0.89), "depends", "and kept at no freeze"),
    ],
)
def test_when_the_third_task_destroys_the_first(
    regression: Knowledge, images: Knowledge, verdict: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_files(monkeypatch, freed=0.5, way=0.5)
    (finding,) = claim_4.finding(results(regression, images))
    assert finding.verdict == verdict
    assert words in finding.words
    assert len(finding.table) == 2 * (1 + len(FREEZES))
    assert (finding.table["n"] == 10).all()


def test_the_cost_of_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    without_files(monkeypatch, freed=0.5, way=0.5)

    def known(freeze: float, after: int, task: int) -> float:
        return 0.3 if freeze == 0.99 and task == 3 else after_third(0.4, 0.9)(freeze, after, task)

    (finding,) = claim_4.finding(results(after_third(0.2, 0.2), known))
    curve, images = finding.answer.splitlines()[:2]
    assert curve.endswith("Task 1 is kept and task 3 learned at no freeze.")
    assert "is the least that keeps it" not in curve
    assert (
        "freeze=0.97 is the least that keeps it, and changes how well task 3 is learned by -0.1 [-0.3, +0.1]" in images
    )
    assert images.endswith("Task 1 is kept and task 3 learned at freeze=0.97.")
