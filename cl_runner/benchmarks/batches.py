"""Orders of sample ids, one for each run of a stack, as one tensor that splits into batches.

A matrix product over few samples, or an odd number of them, is computed by kernels that depend on how many networks it
is for, so that a run would not be the same to the bit in another stack. The last batches of an epoch are of that kind.
They are filled up with samples that weigh nothing, which takes no longer, for those kernels are slow.

How far a batch is filled up may make a difference in the last digit of a sum over its samples. So where streams differ
in their numbers of samples, each has batches as wide as it has them alone: see `cl_runner.engine.apart`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

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


@dataclass(frozen=True)
class Batch:
    """A batch of every stream.

    Attributes:
        samples: where its samples are among the columns of the streams' orders.
        widths: of each stream, how many columns it takes with what fills it up; 0 where the stream has no samples left.
    """

    samples: slice
    widths: tuple[int, ...]

    @property
    def alike(self) -> bool:
        """Whether it is the same of all streams."""
        return len(set(self.widths)) == 1

    @property
    def columns(self) -> slice:
        """Those of the widest. Of a stream that has fewer samples in it, the others weigh nothing."""
        return slice(self.samples.start, self.samples.start + max(self.widths))

    def own(self, present: Tensor) -> Tensor:
        """Its columns of `present` `(S, n)`, 1 for a sample, with those that are no samples of this batch as 0."""
        found = present[:, self.samples]
        return torch.nn.functional.pad(found, (0, max(self.widths) - found.shape[1]))

    def weights(self, present: Tensor) -> Tensor:
        """A sample weighs one over the number of its stream's in the batch."""
        found = self.own(present)
        return found / found.sum(1, keepdim=True).clamp(min=1)


def batches(lengths: Sequence[int], size: int | None) -> list[Batch]:
    """Part so many samples of each stream into batches of `size` samples, or without one into a single batch."""
    each = [widths(length, size or filled(length)) for length in lengths]
    largest = size or filled(max(lengths))
    return [
        Batch(slice(largest * number, largest * number + min(largest, max(found))), found)
        for number, found in enumerate(zip_longest(*each, fillvalue=0))
    ]


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
