"""Metrics of continual learning, from an accuracy matrix.

The matrix `(T + 1, T)` has in row i, column j the test accuracy on task j + 1 after i tasks were trained; row 0
is the untrained network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES = ("accuracy", "mse")


def metric_names(score: str) -> list[str]:
    """The metrics of a run that is scored by one of `SCORES`."""
    return [f"average_{score}", f"learning_{score}", "backward_transfer", "forward_transfer", "average_forgetting"]


def continual_metrics(matrix: NDArray[np.float64]) -> dict[str, Any]:
    """Means over tasks, and under `per_task` what they are means of, in the order of the tasks.

    ======================  ======================================================================================
    `average_accuracy`      mean of the last row (Lopez-Paz & Ranzato 2017, eq. 2)
    `learning_accuracy`     mean of the diagonal: each task right after it was learned
    `backward_transfer`     last row minus diagonal, all tasks but the last (Lopez-Paz & Ranzato 2017, eq. 3)
    `forward_transfer`      each task but the first just before it is trained, minus untrained (ibid., eq. 4)
    `average_forgetting`    best accuracy after any earlier task, minus last row, all tasks but the last
                            (Chaudhry et al. 2018, section 3.1)
    ======================  ======================================================================================

    With a single task the last three have nothing to average and are None.
    """
    untrained, trained = matrix[0], matrix[1:]
    last, learned = trained[-1], np.diagonal(trained)
    before = np.diagonal(matrix[:-1])
    per_task = {
        "average_accuracy": last,
        "learning_accuracy": learned,
        "backward_transfer": last[:-1] - learned[:-1],
        "forward_transfer": before[1:] - untrained[1:],
        "average_forgetting": trained[:-1, :-1].max(axis=0, initial=-np.inf) - last[:-1],
    }
    means: dict[str, Any] = {name: float(values.mean()) if len(values) else None for name, values in per_task.items()}
    return means | {"per_task": {name: values.tolist() for name, values in per_task.items()}}
