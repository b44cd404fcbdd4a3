"""What a stack of networks makes of samples."""

from collections.abc import Sequence

from torch import Tensor

from cl_runner.benchmarks.splits import Split
from cl_runner.engine.network import Pass, Passes


def outputs_on(
    stack: Passes, split: Split, ids: Tensor, tasks: Sequence[int], seen: int, scales: Tensor | None = None
) -> tuple[Pass, Tensor]:
    """Run the networks on samples.

    Args:
        stack: R networks of S streams.
        split: holds the samples.
        ids: of each stream's samples, `(S, B)`.
        tasks: the samples are of these.
        seen: number of tasks seen so far.
        scales: by which hidden units are multiplied, `(R, H, B)`.

    Returns:
        What `Network.forward` gives, for a backward pass; and the outputs `(R, C, B)`, −inf where a class does not
        compete for the sample.
    """
    forward = stack.forward(split.inputs_of(ids, tasks), scales)
    return forward, split.mask_inactive(forward.outputs, stack.per_row(ids), tasks, seen)
