"""What files of runs say of single parameters: vectors `(P,)`, layer by layer, the weight before the bias."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cl_runner.results.run import Run


def parameters(run: Run, task: int) -> Tensor:
    """Their values after a task."""
    return joined(run.network(task).state_dict())


def trainable(run: Run, task: int) -> Tensor:
    """Whether each could move while a task was trained, by a hard mask."""
    return joined(run.masks[task]).bool()


def joined(tensors: Mapping[str, Tensor]) -> Tensor:
    """The tensors of a network, named as those of `Run.significance`."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()])
