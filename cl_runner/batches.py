"""Orders of sample ids, one for each run of a stack, as one tensor that splits into batches."""

from collections.abc import Sequence

import torch
from torch import Tensor


def stacked(orders: Sequence[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Put the runs' orders side by side, filling up a shorter one with its first id.

    Args:
        orders: per run, ids `(n_r,)` on the CPU.
        like: a tensor of the device, and of the dtype of the second result.

    Returns:
        Ids `(R, n)` with n the largest n_r, and `(R, n)` that is 1 for a sample and 0 for filling.
    """
    longest = max(len(order) for order in orders)
    ids = torch.stack([torch.cat([order, order[:1].expand(longest - len(order))]) for order in orders])
    present = torch.arange(longest) < torch.tensor([len(order) for order in orders])[:, None]
    return ids.to(like.device), present.to(like)
