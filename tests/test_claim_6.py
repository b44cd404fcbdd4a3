"""The rule by which global and layer-wise masks are judged, on results made by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from findings import claim_6
from findings.global_or_layerwise import conditions, problems

VARIED = {
    "global_or_layerwise_permuted": ("model.activation", ["relu", "sigmoid"]),
    "global_or_layerwise_split": ("benchmark.scenario", ["domain", "task"]),
    "global_or_layerwise_digits": ("model.activation", ["relu"]),
}
TASKS, SEEDS = 3, 6


def sweeps(folder: Path, ahead: Callable[[str, float], float]) -> dict[str, pd.DataFrame]:
    """Results by preset: the global mask's accuracies are above the layer-wise one's by `ahead` of the varied setting's
    value and freeze. It freezes a quarter of layer 0 and all of layer 1.
    """
    found = {}
    for preset, (key, values) in VARIED.items():
        rows = []
        runs = itertools.product(values, ["global_mask", "layerwise_mask"], [0.5, 0.9], range(SEEDS))
        for number, (value, method, freeze, seed) in enumerate(runs):
            directory = folder / preset / str(number)
            directory.mkdir(parents=True)
            counts = "".join(f"{task},0,100,25\n{task},1,10,10\n" for task in range(2, TASKS + 1))
            (directory / "layers.csv").write_text("task,layer,parameters,frozen\n" + counts)
            # Seeds differ evenly in both directions, so that where `ahead` is 0 nothing is clear.
            gap = ahead(value, freeze) + 0.001 * (-1) ** seed
            level = 0.7 + gap * (method == "global_mask")
            rows += [
                (str(directory), seed, value, method, freeze, after, task, level)
                for after in range(1, TASKS + 1)
                for task in range(1, TASKS + 1)
            ]
        columns = ["directory", "seed", key, "method", "freeze", "after_task", "eval_task", "score"]
        found[preset] = pd.DataFrame(rows, columns=columns)
    return found


@pytest.mark.parametrize(
    ("ahead", "verdict", "counts"),
    [
        (lambda *_: 0.05, "confirmed", "ahead in 20 and behind in 0 of 20"),
        # Clear in half of the conditions is enough, the others being open.
        (lambda _, freeze: 0.05 * (freeze < 0.9), "confirmed", "ahead in 10 and behind in 0 of 20"),
        (lambda *_: -0.05, "refuted", "ahead in 0 and behind in 20 of 20"),
        (lambda value, _: -0.05 if value == "task" else 0.05, "depends", "ahead in 16 and behind in 4 of 20"),
        (lambda value, _: 0.05 * (value == "task"), "depends", "ahead in 4 and behind in 0 of 20"),
    ],
)
def test_which_mask_is_ahead(ahead: Callable[[str, float], float], verdict: str, counts: str, tmp_path: Path) -> None:
    (finding,) = claim_6.finding(sweeps(tmp_path, ahead))
    assert finding.verdict == verdict
    assert counts in finding.words
    assert len(finding.table) == 10
    assert (finding.table["n"] == SEEDS).all()


def test_a_condition_is_a_freeze_of_a_problem_after_so_many_tasks(tmp_path: Path) -> None:
    results = sweeps(tmp_path, lambda value, freeze: 0.1 * (value == "task") * freeze)
    parts = problems(results)
    assert list(parts) == [
        "permuted MNIST, relu",
        "permuted MNIST, sigmoid",
        "split MNIST, domain",
        "split MNIST, task",
        "permuted digits",
    ]
    found = list(conditions("split MNIST, task", parts["split MNIST, task"]))
    assert [(item.freeze, item.tasks, item.winner) for item in found] == [
        (0.5, 2, 1),
        (0.5, 3, 1),
        (0.9, 2, 1),
        (0.9, 3, 1),
    ]
    for item in found:
        assert item.ahead.mean == pytest.approx(0.1 * item.freeze, abs=0.002)
        # The two parts of a difference make it up.
        assert item.learned.mean + item.kept.mean == pytest.approx(item.ahead.mean)
        assert item.frozen == pytest.approx([0.25, 1])
