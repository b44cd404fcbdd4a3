"""Results made by hand of the presets that claims 3 and 4 share."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from findings.known import KNOWN
from findings.latest_mask import PRESETS, Sweep

FREEZES = (0.1, 0.5, 0.9, 0.95, 0.97, 0.99)
# How well a task is known, from 0 to 1: by freeze (0: fine-tuning), number of tasks learned, and task.
Knowledge = Callable[[float, int, int], float]


def accuracies(known: Knowledge, seeds: int = 10) -> pd.DataFrame:
    """Of tasks that are guessed with 10 % before they are learned."""
    return _results(lambda *state: 0.1 if state[1] < state[2] else known(*state), seeds)


def errors(known: Knowledge, seeds: int = 10) -> pd.DataFrame:
    """Of a regression that this share of the seeds know; others have lost it altogether."""
    errors = _results(lambda *state: 0.0 if state[1] < state[2] else known(*state), seeds, noise=0)
    return errors.assign(score=np.where(errors["seed"] < seeds * errors["score"], 0.5 * KNOWN, 20.0))


def _results(known: Knowledge, seeds: int, noise: float = 0.002) -> pd.DataFrame:
    source = np.random.default_rng(0)
    rows = [
        (
            f"{freeze}/{seed}",
            seed,
            "layerwise_mask" if freeze else "finetune",
            freeze,
            after,
            task,
            known(freeze, after, task) + source.normal(0, noise),
        )
        for freeze in (0.0, *FREEZES)
        for seed in range(seeds)
        for after in range(4)
        for task in (1, 2, 3)
    ]
    return pd.DataFrame(rows, columns=["directory", "seed", "method", "freeze", "after_task", "eval_task", "score"])


def results(regression: Knowledge, images: Knowledge) -> dict[str, pd.DataFrame]:
    return dict(zip(PRESETS, (errors(regression), accuracies(images)), strict=True))


def without_files(monkeypatch: pytest.MonkeyPatch, **quantities: float) -> None:
    """Stand-ins for what a claim finds in the files of runs."""
    monkeypatch.setattr(Sweep, "per_run", lambda *_: pd.DataFrame(quantities, index=list(FREEZES)))
