"""Metrics of continual learning, from a matrix of scores.

The matrix `(T + 1, T)` has in row i, column j the test score on task j + 1 after i tasks were trained; row 0
is the untrained network. A score is an accuracy or, where less is better, a mean squared error.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ScoreName = Literal["accuracy", "mse"]
SCORES: tuple[ScoreName, ...] = ("accuracy", "mse")


def metric_names(score: str) -> list[str]:
    """The metrics of runs with this score."""
    return [f"average_{score}", f"learning_{score}", "backward_transfer", "forward_transfer", "average_forgetting"]


def continual_metrics(
    matrix: NDArray[np.float64], score: ScoreName = "accuracy", *, shared: bool = True
) -> dict[str, Any]:
    """Means over tasks, and under `per_task` what they are means of, in the order of the tasks.

    ======================  ======================================================================================
    `average_accuracy`      mean of the last row (Lopez-Paz & Ranzato 2017, eq. 2)
    `learning_accuracy`     mean of the diagonal: each task right after it was learned
    `backward_transfer`     last row minus diagonal, all tasks but the last (Lopez-Paz & Ranzato 2017, eq. 3)
    `forward_transfer`      each task but the first just before it is trained, minus untrained (ibid., eq. 4)
    `average_forgetting`    best accuracy after any earlier task, minus last row, all tasks but the last
                            (Chaudhry et al. 2018, section 3.1)
    ======================  ======================================================================================

    With a single task the last three have nothing to average and are None. So is forward transfer where tasks do not
    share their outputs (`shared`): before a task is trained its own are as they were drawn, or were trained to be
    improbable, whatever the method. Of a mean squared error the first two are `average_mse` and `learning_mse`; the
    differences are of its negative, so that they have the same signs.
    """
    better = -matrix if score == "mse" else matrix
    untrained, trained = better[0], better[1:]
    last, learned = trained[-1], np.diagonal(trained)
    before = np.diagonal(better[:-1])
    found = [
        matrix[-1],
        np.diagonal(matrix[1:]),
        last[:-1] - learned[:-1],
        (before - untrained)[1 if shared else len(before) :],
        trained[:-1, :-1].max(axis=0, initial=-np.inf) - last[:-1],
    ]
    per_task = dict(zip(metric_names(score), found, strict=True))
    means: dict[str, Any] = {name: float(values.mean()) if len(values) else None for name, values in per_task.items()}
    return means | {"per_task": {name: values.tolist() for name, values in per_task.items()}}


def objective(metrics: Mapping[str, Any], name: str = "average") -> float | None:
    """What a search over settings is to judge a run by: one of its metrics over the validation samples, or over the
    test set where it has none of these.

    Args:
        metrics: of a run, as `metrics.json` holds them.
        name: what the setting `objective` allows.

    Returns:
        The value; None where there is nothing to average.
    """
    found = metrics.get("validation", metrics)
    return next((found[key] for key in (name, *(f"{name}_{score}" for score in SCORES)) if key in found), None)


def less_is_better(name: str, score: ScoreName) -> bool:
    """Whether the objective `name` is to be made small, in runs with this score."""
    return name == "average_forgetting" or (score == "mse" and name in ("average", "learning"))
