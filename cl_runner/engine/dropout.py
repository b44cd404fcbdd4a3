"""Dropout: each step of training leaves out some of the hidden units.

What a unit that stays gives is divided by how likely it was to stay, so that tests need no other network (inverted
dropout; Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting, section 10).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_runner.engine.network import Network
from cl_runner.engine.seeding import generator


def make_dropout(stack: Network, rates: Sequence[float], task: int) -> "Dropout | None":
    """That of a task, from 0; None if no row drops units, by these rates."""
    return Dropout(stack, rates, task) if any(rates) else None


class Dropout:
    """Which units the steps of a task keep.

    Uniform numbers are drawn by stream, one for each hidden unit and sample, and a row keeps the units whose number is
    at least its rate: so it keeps the same ones in any stack, and with a larger rate some of these.

    Args:
        stack: the networks.
        rates: of each row.
        task: from 0.
    """

    def __init__(self, stack: Network, rates: Sequence[float], task: int) -> None:
        self._stack, self._task = stack, task
        self._rates, self._kept = (
            stack.parameters.new_tensor(values)[:, None, None]
            for values in (list(rates), [1 / (1 - rate) for rate in rates])
        )

    def drawn(self, epoch: int, step: int, samples: int) -> Tensor:
        """The numbers of a step, `(S, H, B)`.

        They depend on nothing that came before, so that a run which is stopped needs to remember nothing. Drawn sample
        by sample, they are the same however far the batch is filled up.
        """
        found = [
            torch.rand(samples, self._stack.hidden, generator=generator(seed, "dropout", self._task, epoch, step))
            for seed in self._stack.streams
        ]
        return torch.stack(found).mT.contiguous().to(self._stack.parameters)

    def scales(self, numbers: Tensor) -> Tensor:
        """What a step multiplies the units by, `(R, H, B)`: 0 where it drops them."""
        numbers = self._stack.per_row(numbers)
        found = numbers.new_empty(len(self._rates), *numbers.shape[1:])
        # Several times as fast as a mask that becomes numbers.
        return torch.ge(numbers, self._rates, out=found).mul_(self._kept)
