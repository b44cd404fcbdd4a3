"""Orders of sample ids, one for each run of a stack, as one tensor that splits into batches."""

from collections.abc import Sequence

import torch
from torch import Tensor


def stacked(orders: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Put the runs' orders side by side, filling up the shorter ones.

    Args:
        orders: per run, ids `(n_r,)` on the CPU.
        device: where the result goes.

    Returns:
        Ids `(R, n)` with n the largest n_r, and `(R, n)` that is 1 for a sample and 0 for filling.
    """
    lengths = torch.tensor([len(order) for order in orders])
    ids = torch.nn.utils.rnn.pad_sequence(list(orders), batch_first=True)
    present = torch.arange(ids.shape[1]) < lengths[:, None]
    return ids.to(device), present.float().to(device)
