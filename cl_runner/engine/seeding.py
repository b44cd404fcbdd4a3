"""Random number generators that depend only on a run's seed and on what they are for.

Each purpose has a stream of its own, so a run draws the same numbers alone, in a stack, or started anew
at a later task.
"""

from typing import Literal

import numpy as np
import torch

Purpose = Literal["weights", "tasks", "batches", "fisher", "validation", "dropout"]
_STREAMS: dict[Purpose, int] = {
    "weights": 0,
    "tasks": 1,
    "batches": 2,
    "fisher": 3,
    "validation": 4,
    "dropout": 5,
}


def generator(seed: int, purpose: Purpose, task: int = 0, *step: int) -> torch.Generator:
    """A CPU generator for one purpose of one run (the same numbers whatever device computes), or for one step of it."""
    state = np.random.SeedSequence([seed, _STREAMS[purpose], task, *step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
