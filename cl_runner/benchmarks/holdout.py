"""Which training samples are held out from training, to choose settings by: the validation samples."""

import torch
from torch import Tensor

from cl_runner.engine.seeding import generator


def held_out(groups: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Divide samples into those to train on and those held out, the same ones at every call.

    Of each group the fraction is held out, rounded; but one at least, and not all, of a group of two or more.

    Args:
        groups: the group of each sample, such as its class, `(N,)`.
        fraction: to be held out, between 0 and 1.

    Returns:
        Indices of the samples that are kept, and of those held out, in order, on the CPU.
    """
    groups, source = groups.cpu(), generator(0, "validation")
    is_held = torch.zeros(len(groups), dtype=torch.bool)
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        is_held[members[torch.randperm(len(members), generator=source)[:count]]] = True
    return (~is_held).nonzero()[:, 0], is_held.nonzero()[:, 0]
