"""A stack of R networks of one shape, trained as one computation: where their parameters lie, and what runs ask of it.

All parameters lie in one buffer, layer by layer, so that whatever works per parameter (optimiser, penalty, mask,
Fisher) is one operation on one tensor; `Layout` gives the views of it.

Runs of one seed see the same samples in the same order: they are a stream. The S streams' samples are fetched once
each. Samples are columns, `(D, B)`, D being the number of elements of an input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

# A buffer ends in whole vectors of the processor. What is left over at its end is computed by other instructions and
# may differ in the last digit: so a run would differ from itself in another stack, whose end lies elsewhere.
BLOCK = 64


class Named(NamedTuple):
    """A tensor of a network: its name in the network's `state_dict`, and its shape, whose first axis is of neurons."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where each layer's parameters lie in a buffer of `numel` elements, called `(R·P,)` everywhere.

    Args:
        tensors: of each layer, in their order. All of a layer have as many neurons, and the last layer's are the
            outputs.
        rows: R, the number of networks.
    """

    tensors: tuple[tuple[Named, ...], ...]
    rows: int

    @property
    def per_row(self) -> int:
        """P, the number of parameters of one network."""
        return sum(map(_size, self.tensors))

    @property
    def numel(self) -> int:
        """Number of elements of a buffer: R·P, filled up to a whole number of `BLOCK`."""
        return -(-self.rows * self.per_row // BLOCK) * BLOCK

    def layers(self, buffer: Tensor) -> list[tuple[Tensor, ...]]:
        """Views of a buffer: the tensors of each layer, `(R, *shape)`."""
        found, start = [], 0
        for layer in self.tensors:
            views = []
            for _, shape in layer:
                size = self.rows * torch.Size(shape).numel()
                views.append(buffer[start : start + size].view(self.rows, *shape))
                start += size
            found.append(tuple(views))
        return found

    @property
    def output_layer(self) -> slice:
        """Where the last layer lies in a buffer: at its end, with the filling."""
        return slice(self.rows * (self.per_row - _size(self.tensors[-1])), self.numel)

    def places(self, first: int, end: int) -> list[slice]:
        """Where the rows from `first` up to before `end` lie in a buffer, tensor by tensor."""
        found, start = [], 0
        for layer in self.tensors:
            for _, shape in layer:
                size = torch.Size(shape).numel()
                found.append(slice(start + first * size, start + end * size))
                start += self.rows * size
        return found

    def spread(self, values: Tensor) -> Tensor:
        """A buffer in which each parameter holds its row's entry of `values` `(R,)`; the filling is 1, to divide by."""
        buffer = values.new_ones(self.numel)
        for view in self._views(buffer):
            view.copy_(values.view(-1, *[1] * (view.dim() - 1)).expand_as(view))
        return buffer

    def totals(self, buffer: Tensor) -> Tensor:
        """Sum of a buffer's elements over each row, `(R,)`, in the same order whatever R is."""
        first, *others = (view.flatten(1).sum(1) for view in self._views(buffer))
        return sum(others, start=first)

    def select(self, buffer: Tensor, rows: Sequence[int]) -> Tensor:
        """A buffer of the layout for len(rows) networks, with copies of these rows, which may repeat."""
        index = torch.tensor(rows, device=buffer.device)
        selected = replace(self, rows=len(rows))
        found = buffer.new_zeros(selected.numel)
        for target, view in zip(selected._views(found), self._views(buffer), strict=True):
            torch.index_select(view, 0, index, out=target)
        return found

    def put(self, buffer: Tensor, rows: Sequence[int], selected: Tensor) -> None:
        """Put what `select` gave of these rows, none twice, back into the buffer."""
        index = torch.tensor(rows, device=buffer.device)
        layout = replace(self, rows=len(rows))
        for target, view in zip(self._views(buffer), layout._views(selected), strict=True):
            target.index_copy_(0, index, view)

    def joined(self, parts: Sequence[tuple["Layout", Tensor]]) -> Tensor:
        """A buffer of this layout from buffers of networks of the same shape, the rows of the first part first."""
        found = parts[0][1].new_zeros(self.numel)
        views = [layout._views(buffer) for layout, buffer in parts]
        for target, *pieces in zip(self._views(found), *views, strict=True):
            torch.cat(pieces, out=target)
        return found

    def vector(self, buffer: Tensor, row: int) -> Tensor:
        """One row's elements of a buffer, `(P,)`, layer by layer, tensor by tensor."""
        return torch.cat([view[row].flatten() for view in self._views(buffer)])

    def gathered(self, vectors: Sequence[Tensor]) -> Tensor:
        """A buffer from what `vector` gave, one for each row."""
        found = vectors[0].new_zeros(self.numel)
        views = self._views(found)
        sizes = [view[0].numel() for view in views]
        for row, vector in enumerate(vectors):
            for view, values in zip(views, vector.split(sizes), strict=True):
                view[row] = values.view_as(view[row])
        return found

    def stacked(self, buffer: Tensor) -> dict[str, Tensor]:
        """Views of a buffer, `(R, *shape)`, by the tensors' names."""
        names = [name for layer in self.tensors for name, _ in layer]
        return dict(zip(names, self._views(buffer), strict=True))

    def named(self, buffer: Tensor, row: int) -> dict[str, Tensor]:
        """One row's tensors by their names."""
        return {name: view[row] for name, view in self.stacked(buffer).items()}

    def _views(self, buffer: Tensor) -> list[Tensor]:
        return [view for layer in self.layers(buffer) for view in layer]


def _size(layer: Sequence[Named]) -> int:
    return sum(torch.Size(shape).numel() for _, shape in layer)


class Pass(NamedTuple):
    """A forward pass: the networks' outputs `(R, C, B)`, and what the network keeps of it for the way back."""

    outputs: Tensor
    kept: Any


class Passes(Protocol):
    """What passes through R networks of S streams, forward and backward."""

    def per_row(self, values: Tensor) -> Tensor:
        """For every row the entry of its stream: `(S, ...)` to `(R, ...)`."""

    def forward(self, inputs: Tensor, scales: Tensor | None = None) -> Pass:
        """The networks' outputs on inputs of the streams, `(S, D, B)`, with hidden units times `scales` `(R, H, B)`."""

    def backward(self, forward: Pass, signal: Tensor) -> None:
        """Set the gradient to that of a loss with `signal` `(R, C, B)` = d loss / d outputs."""

    def add_squared_gradients(self, total: Tensor, forward: Pass, signals: Tensor) -> None:
        """Add Σ over samples and over K signals of the squared gradients of each to the buffer `total` `(R·P,)`.

        Args:
            total: is added to.
            forward: of the samples.
            signals: `(R, C, K, B)`, K for each sample: derivatives by its outputs; overwritten.
        """


class Network(Passes, Protocol):
    """A stack of R networks.

    Attributes:
        layout: of `parameters` and `gradient`, which stay where they are in memory.
        seeds: of the runs, R of them; `streams` are the distinct ones, in order.
        hidden: H, the number of a network's hidden units that may be dropped.
    """

    layout: Layout
    seeds: tuple[int, ...]
    streams: tuple[int, ...]
    parameters: Tensor
    gradient: Tensor
    hidden: int

    def initialise(self, task: int = 0) -> None:
        """Draw all parameters anew. The draw depends on the run's seed and on `task`, the task before which it is made,
        and is the same whatever else is in the stack.
        """

    def fan_out(self, rows: Sequence[int], seeds: Sequence[int]) -> "Network":
        """A stack of copies of the networks `rows`, which may repeat, for runs of these seeds."""

    def widest(self, signals: int = 1) -> int:
        """Elements of the largest tensor that a sample, with so many signals at its outputs, gives rise to in a
        network, but for the sample itself.
        """


class Streams:
    """Which runs share samples.

    Args:
        seeds: of the runs; those of one seed are a stream.
        device: where their samples are.

    Attributes:
        seeds, streams: of all runs, and the distinct ones in order.
        of_row: for every row the number of its stream, `(R,)`.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.seeds, self.streams = tuple(seeds), tuple(dict.fromkeys(seeds))
        self.of_row = torch.tensor([self.streams.index(seed) for seed in seeds], device=device)

    def per_row(self, values: Tensor) -> Tensor:
        """For every row the entry of its stream: `(S, ...)` to `(R, ...)`."""
        return values if len(self.streams) == len(self.seeds) else values.index_select(0, self.of_row)
