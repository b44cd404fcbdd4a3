"""Networks whose streams' batches differ in their number of columns."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cl_runner.engine.network import Network, Pass, Passes


def apart(stack: Network, widths: Sequence[int]) -> Passes:
    """A stack for batches of which each stream's has so many columns, 0 for a stream that has none."""
    return stack if len(set(widths)) == 1 else Apart(stack, widths)


def of_samples(networks: Passes, function: Callable[..., tuple[Tensor, ...]], *values: Tensor) -> tuple[Tensor, ...]:
    """What a function of tensors `(R, ..., B)`, which works sample by sample, gives: tensors of the same kind."""
    return networks.of_samples(function, *values) if isinstance(networks, Apart) else function(*values)


class _Part(NamedTuple):
    """Networks whose batches have the same number of columns."""

    width: int
    rows: list[int]
    of_rows: Tensor
    of_streams: Tensor
    stack: Network

    def share(self, values: Tensor) -> Tensor:
        """Their rows' own columns of `(R, ..., B)`."""
        return values[..., : self.width].index_select(0, self.of_rows)


class Apart:
    """A stack in parts, for batches of which some streams' have fewer columns than others', or none.

    The networks of each width are computed as a stack of their own. Computed with the others they would have columns of
    zeros in addition, by which a matrix library chooses other kernels, and so another order of summation.

    Args:
        stack: the networks, as their parameters stand.
        widths: of each stream, the number of columns.
    """

    def __init__(self, stack: Network, widths: Sequence[int]) -> None:
        self._stack = stack
        device, seeds = stack.parameters.device, stack.seeds
        of_seed = dict(zip(stack.streams, widths, strict=True))
        self._parts = []
        for width in sorted({*widths} - {0}):
            rows = [row for row, seed in enumerate(seeds) if of_seed[seed] == width]
            streams = [stream for stream, own in enumerate(widths) if own == width]
            of_rows, of_streams = (torch.tensor(numbers, device=device) for numbers in (rows, streams))
            part = stack.fan_out(rows, [seeds[row] for row in rows])
            self._parts.append(_Part(width, rows, of_rows, of_streams, part))

    def per_row(self, values: Tensor) -> Tensor:
        """As `Network.per_row`."""
        return self._stack.per_row(values)

    def forward(self, inputs: Tensor, scales: Tensor | None = None) -> Pass:
        """As `Network.forward`; outputs are 0 in columns that a stream does not have."""
        passes = [
            part.stack.forward(
                inputs[..., : part.width].index_select(0, part.of_streams),
                None if scales is None else part.share(scales),
            )
            for part in self._parts
        ]
        return Pass(self._together([one.outputs for one in passes], inputs.shape[-1]), passes)

    def backward(self, forward: Pass, signal: Tensor) -> None:
        """As `Network.backward`; the gradient is 0 of a stream that has no columns."""
        self._stack.gradient.zero_()
        for part, one in self._with_passes(forward):
            part.stack.backward(one, part.share(signal))
            self._stack.layout.put(self._stack.gradient, part.rows, part.stack.gradient)

    def add_squared_gradients(self, total: Tensor, forward: Pass, signals: Tensor) -> None:
        """As `Network.add_squared_gradients`."""
        layout = self._stack.layout
        for part, one in self._with_passes(forward):
            share = layout.select(total, part.rows)
            part.stack.add_squared_gradients(share, one, part.share(signals))
            layout.put(total, part.rows, share)

    def of_samples(self, function: Callable[..., tuple[Tensor, ...]], *values: Tensor) -> tuple[Tensor, ...]:
        """As the function of that name."""
        found = (function(*map(part.share, values)) for part in self._parts)
        return tuple(self._together(each, values[0].shape[-1]) for each in zip(*found, strict=True))

    def _together(self, shares: Sequence[Tensor], columns: int) -> Tensor:
        """What `share` parts, with 0 where there is nothing."""
        found = shares[0].new_zeros(self._stack.layout.rows, *shares[0].shape[1:-1], columns)
        for part, share in zip(self._parts, shares, strict=True):
            found[..., : part.width].index_copy_(0, part.of_rows, share)
        return found

    def _with_passes(self, forward: Pass) -> Iterator[tuple[_Part, Pass]]:
        return zip(self._parts, forward.kept, strict=True)
