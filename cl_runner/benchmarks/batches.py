"""Orders of sample ids, one for each run of a stack, as one tensor that splits into batches.

A matrix product over few samples, or an odd number of them, is computed by kernels that depend on how many networks it
is for, so that a run would not be the same to the bit in another stack. The last batches of an epoch are of that kind.
They are filled up with samples that weigh nothing, which takes no longer, for those kernels are slow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Numbers in the largest vector of a processor.
_BLOCK = 16


def filled(samples: int) -> int:
    """The number of columns for so many samples: a whole number of blocks."""
    return max(1, -(-samples // _BLOCK)) * _BLOCK


def widths(samples: int, size: int) -> list[int]:
    """The numbers of columns of the batches, of `size` each, that `samples` are parted into; a short last one is filled
    up."""
    whole, rest = divmod(samples, size)
    return [size] * whole + [filled(rest)] * (rest > 0)


def stacked(orders: Sequence[Tensor], columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Put the runs' orders side by side, filling up each with its first id.

    Args:
        orders: per run, ids `(n_r,)` on the CPU.
        columns: n, no less than the largest n_r.
        like: a tensor of the device, and of the dtype of the second result.

    Returns:
        Ids `(R, n)`, and `(R, n)` that is 1 for a sample and 0 for filling.
    """
    ids = torch.stack([torch.cat([order, order[:1].expand(columns - len(order))]) for order in orders])
    present = torch.arange(columns) < torch.tensor([len(order) for order in orders])[:, None]
    return ids.to(like.device), present.to(like)


def total(values: Tensor, present: Tensor) -> Tensor:
    """Sum of the samples' values `(R, n)`, `(R,)`: one after the other, so that filling does not change their order."""
    return (values * present).cumsum(1)[:, -1]
