"""What the output layer has for other tasks stays as it is while one is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.engine.network import Layout, Network


def outputs_in_use(benchmark: Benchmark, tasks: Sequence[int], seen: int) -> slice:
    """The outputs that count when the samples of `tasks` are trained on, `seen` tasks having begun."""
    each = [benchmark.active_outputs(task, seen) for task in tasks]
    return slice(min(part.start for part in each), max(part.stop for part in each))


def clear_idle_outputs(layout: Layout, buffer: Tensor, used: slice) -> None:
    """Set what a buffer `(R·P,)` holds for outputs out of use to zero, or False."""
    for part in layout.layers(buffer)[-1]:
        for rows in (slice(0, used.start), slice(used.stop, None)):
            part[:, rows] = 0


class IdleOutputs:
    """Keeps the outputs that are out of use from being trained away, to the bit.

    Their weights and biases have no gradient of the loss, but weight decay, a penalty, an L1 step and what an optimiser
    remembers act on every parameter. Adam even divides out how small the decay is: it walks a head to zero by one
    learning rate a step. This does what an optimiser does that has a module for each head, and leaves alone what has no
    gradient. It costs nothing where all outputs are in use.

    Args:
        stack: the networks, at the parameters that are to stay.
        used: the outputs in use.
    """

    def __init__(self, stack: Network, used: slice) -> None:
        mask = torch.ones_like(stack.parameters, dtype=torch.bool)
        clear_idle_outputs(stack.layout, mask, used)
        self._any = not bool(mask.all())
        # The output layer is the end of the buffer, so one operation does for its weights and biases of all runs.
        end = stack.layout.output_layer
        self._used, self._now, self._before = mask[end], stack.parameters[end], stack.parameters[end].clone()

    def put_back(self) -> None:
        """Undo what a step has done to them."""
        if self._any:
            torch.where(self._used, self._now, self._before, out=self._now)
