"""The rules by which claims are judged, on results made by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from findings import claim_1

SETTINGS = {
    "finetune": ("finetune", 0.0, 0.0),
    "ewc, ewc_lambda=10": ("ewc", 10.0, 0.0),
    "ewc, ewc_lambda=100": ("ewc", 100.0, 0.0),
    "online_ewc": ("online_ewc", 100.0, 0.0),
    "global_mask": ("global_mask", 0.0, 0.5),
}


def learned(accuracy: Callable[[str, int], float], tasks: int = 8, seeds: int = 10) -> pd.DataFrame:
    """Results of runs that learn task k of a setting with `accuracy`, and a little noise that differs by run."""
    source = np.random.default_rng(0)
    rows = [
        (f"{name}/{seed}", seed, task, task, accuracy(name, task) + source.normal(0, 0.002), name, *settings)
        for name, settings in SETTINGS.items()
        for seed in range(seeds)
        for task in range(1, tasks + 1)
    ]
    columns = ["directory", "seed", "after_task", "eval_task", "score", "setting", "method", "method.ewc_lambda"]
    return pd.DataFrame(rows, columns=[*columns, "freeze"])


@pytest.mark.parametrize(
    ("of_ewc", "verdict"),
    [
        (lambda _, task: 0.9 - 0.02 * task, "confirmed"),
        (lambda _, task: 0.9 + 0.01 * task, "refuted"),
        # It falls, but no more after the middle; or at one strength only.
        (lambda _, task: 0.9 if task < 3 else 0.8, "depends"),
        (lambda name, task: 0.9 - 0.02 * task * name.endswith("100"), "depends"),
    ],
)
def test_whether_pulls_pile_up(of_ewc: Callable[[str, int], float], verdict: str) -> None:
    results = learned(lambda name, task: of_ewc(name, task) if name.startswith("ewc") else 0.9)
    (finding,) = claim_1.finding({"pile_up": results})
    assert finding.verdict == verdict
    assert finding.table["setting"].tolist() == list(SETTINGS)
    assert (finding.table["n"] == 10).all()
