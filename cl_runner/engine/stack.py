"""A stack of R multilayer perceptrons of one shape, trained as one computation.

All parameters lie in one buffer, layer by layer, so that whatever works per parameter (optimiser, penalty,
mask, Fisher) is one operation on one tensor; `Layout` gives the views of it.

Runs of one seed see the same samples in the same order: they are a stream. The S streams' samples are fetched
once each, and the first layers of the networks of a stream are one matrix product. Samples are columns, `(width, B)`:
so that product's result `(S, R/S · out, B)` is the networks' `(R, out, B)` without a copy. Where the streams differ in
their number of runs, those of equally large groups are.

Forward and backward passes are written out, for the Fisher information needs what automatic
differentiation hides: with ``a`` the input of a Linear layer and ``d = d loss / d (W a + b)`` the
back-propagated signal of a sample, its gradient is ``d aᵀ`` for the weight and ``d`` for the bias.
The tests hold both against autograd.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cl_runner.engine.seeding import generator

_aten = torch.ops.aten

# A buffer ends in whole vectors of the processor. What is left over at its end is computed by other instructions and
# may differ in the last digit: so a run would differ from itself in another stack, whose end lies elsewhere.
_BLOCK = 64

# Each activation, and the signal passed back through it given its output; both in place.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (
        torch.relu_,
        lambda signal, output: _aten.threshold_backward.grad_input(signal, output, 0, grad_input=signal),
    ),
    "sigmoid": (
        torch.sigmoid_,
        lambda signal, output: _aten.sigmoid_backward.grad_input(signal, output, grad_input=signal),
    ),
    "tanh": (
        torch.tanh_,
        lambda signal, output: _aten.tanh_backward.grad_input(signal, output, grad_input=signal),
    ),
}


class Layer(NamedTuple):
    """The part of a buffer that belongs to one Linear layer: weight `(R, out, in)`, bias `(R, out)`."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """Where each layer's parameters lie in a buffer of `numel` elements, called `(R·P,)` everywhere.

    Args:
        sizes: widths of the network, input and output included.
        runs: R, the number of networks.
    """

    sizes: tuple[int, ...]
    runs: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) of each layer."""
        return list(pairwise(self.sizes))

    @property
    def per_run(self) -> int:
        """P, the number of parameters of one network."""
        return sum(out * (into + 1) for into, out in self.shapes)

    @property
    def numel(self) -> int:
        """Number of elements of a buffer: R·P, filled up to a whole number of `_BLOCK`."""
        return -(-self.runs * self.per_run // _BLOCK) * _BLOCK

    def layers(self, buffer: Tensor) -> list[Layer]:
        """Views of a buffer, one `Layer` each."""
        views, start, runs = [], 0, self.runs
        for into, out in self.shapes:
            weight = buffer[start : start + runs * out * into].view(runs, out, into)
            start += runs * out * into
            views.append(Layer(weight, buffer[start : start + runs * out].view(runs, out)))
            start += runs * out
        return views

    @property
    def output_layer(self) -> slice:
        """Where the last layer lies in a buffer: at its end, with the filling."""
        into, out = self.shapes[-1]
        return slice(self.runs * (self.per_run - out * (into + 1)), self.numel)

    def spread(self, values: Tensor) -> Tensor:
        """A buffer in which each parameter holds its run's entry of `values` `(R,)`; the filling is 1, to divide by."""
        buffer = values.new_ones(self.numel)
        for weight, bias in self.layers(buffer):
            weight.copy_(values[:, None, None].expand_as(weight))
            bias.copy_(values[:, None].expand_as(bias))
        return buffer

    def totals(self, buffer: Tensor) -> Tensor:
        """Sum of a buffer's elements over each run, `(R,)`, in the same order whatever R is."""
        first, *others = (part.flatten(1).sum(1) for layer in self.layers(buffer) for part in layer)
        return sum(others, start=first)

    def select(self, buffer: Tensor, runs: Sequence[int]) -> Tensor:
        """A buffer of the layout for len(runs) networks, with copies of these runs' parts, which may repeat."""
        index = torch.tensor(runs, device=buffer.device)
        selected = Layout(self.sizes, len(runs))
        found = buffer.new_zeros(selected.numel)
        for new, old in zip(selected.layers(found), self.layers(buffer), strict=True):
            for target, part in zip(new, old, strict=True):
                torch.index_select(part, 0, index, out=target)
        return found

    def joined(self, parts: Sequence[tuple["Layout", Tensor]]) -> Tensor:
        """A buffer of this layout from buffers of the same networks' sizes, the runs of the first part first."""
        found = parts[0][1].new_zeros(self.numel)
        views = [layout.layers(buffer) for layout, buffer in parts]
        for new, *same in zip(self.layers(found), *views, strict=True):
            for target, *pieces in zip(new, *same, strict=True):
                torch.cat(pieces, out=target)
        return found

    def vector(self, buffer: Tensor, run: int) -> Tensor:
        """One run's elements of a buffer, `(P,)`, layer by layer, weight before bias."""
        return torch.cat([part[run].flatten() for layer in self.layers(buffer) for part in layer])

    def gathered(self, vectors: Sequence[Tensor]) -> Tensor:
        """A buffer from what `vector` gave, one for each run."""
        found = vectors[0].new_zeros(self.numel)
        views = [part for layer in self.layers(found) for part in layer]
        sizes = [part[0].numel() for part in views]
        for run, vector in enumerate(vectors):
            for view, values in zip(views, vector.split(sizes), strict=True):
                view[run] = values.view_as(view[run])
        return found

    def named(self, buffer: Tensor, run: int) -> dict[str, Tensor]:
        """One run's tensors, named `layers.L.weight` `(out, in)` and `layers.L.bias` `(out,)`, L from 0."""
        return {
            f"layers.{number}.{kind}": part[run]
            for number, layer in enumerate(self.layers(buffer))
            for kind, part in layer._asdict().items()
        }


class Stack:
    """R networks: Linear layers with an activation between them.

    Args:
        sizes: widths, input and output included.
        activation: a key of `ACTIVATIONS`.
        seeds: of the runs, R of them; `streams` are the distinct ones, in order.
        parameters: a buffer `(R·P,)` to start from; None to draw the initial weights.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        seeds: Sequence[int],
        *,
        parameters: Tensor | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layout = Layout(tuple(sizes), len(seeds))
        self.seeds, self.activation = tuple(seeds), activation
        self.streams = tuple(dict.fromkeys(seeds))
        fresh = torch.zeros(self.layout.numel, device=device, dtype=dtype) if parameters is None else parameters
        self.parameters: Tensor = fresh
        self.gradient = torch.zeros_like(self.parameters)
        self.layers = self.layout.layers(self.parameters)
        rows = [self.streams.index(seed) for seed in seeds]
        # One product for first layers needs their rows side by side, and as many in every group.
        each = math.gcd(*(len(list(run)) for _, run in groupby(rows)))
        self._groups = len(rows) // each
        self._stream_of_row = torch.tensor(rows, device=self.parameters.device)
        self._stream_of_group = self._stream_of_row[::each].contiguous()
        self._groups_are_streams = rows[::each] == list(range(len(self.streams)))
        # A step is short enough for making a view to count, so they are made once.
        self._affine = [(bias[..., None], weight) for weight, bias in self._grouped(self.layers)]
        self._gradients = self._grouped(self.layout.layers(self.gradient))
        self._activate, self._through = ACTIVATIONS[activation]
        if parameters is None:
            self.initialise()

    def initialise(self, task: int = 0) -> None:
        """Draw all parameters as `torch.nn.Linear` does: uniform within ±1/√in (He et al. 2015 with a = √5).

        The draw depends on the run's seed and on `task`, the task before which it is made.
        """
        for stream, seed in enumerate(self.streams):
            source = generator(seed, "weights", task)
            rows = self._stream_of_row == stream
            for weight, bias in self.layers:
                drawn = torch.empty(weight.shape[1:])
                torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=source)
                weight[rows] = drawn.to(weight)
                bound = 1 / math.sqrt(weight.shape[2])
                bias[rows] = torch.empty(bias.shape[1:]).uniform_(-bound, bound, generator=source).to(bias)

    def fan_out(self, rows: Sequence[int], seeds: Sequence[int]) -> "Stack":
        """A stack of copies of the networks `rows`, which may repeat, for runs of these seeds."""
        parameters = self.layout.select(self.parameters, rows)
        return Stack(self.layout.sizes, self.activation, seeds, parameters=parameters)

    def per_row(self, values: Tensor) -> Tensor:
        """For every run the entry of its stream: `(S, ...)` to `(R, ...)`."""
        return values if len(self.streams) == self.layout.runs else values.index_select(0, self._stream_of_row)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """The input of every layer and last the networks' outputs.

        Args:
            inputs: of the streams, `(S, in, B)`.

        Returns:
            The inputs, once for each group of networks that have them in common, then `(R, width, B)` each.
        """
        activations = [inputs if self._groups_are_streams else inputs.index_select(0, self._stream_of_group)]
        for number, (bias, weight) in enumerate(self._affine):
            if number:
                self._activate(activations[-1])
            outputs = torch.baddbmm(bias, weight, activations[-1])
            activations.append(outputs.view(self.layout.runs, -1, outputs.shape[-1]))
        return activations

    def signals(self, activations: list[Tensor], signal: Tensor) -> list[Tensor]:
        """Back-propagate to every layer's pre-activations.

        Args:
            activations: what `forward` gave.
            signal: d loss / d outputs, `(R, out, K·B)`: for K losses one after the other (K = 1 in training).

        Returns:
            A signal `(R, width, K·B)` for each layer, the first layer's first.
        """
        found = [signal]
        for number in range(len(self.layers) - 1, 0, -1):
            output = activations[number]
            back = torch.bmm(self.layers[number].weight.mT, found[0])
            if back.shape == output.shape:
                self._through(back, output)
            else:
                several = back.view(*output.shape[:2], -1, output.shape[2])
                self._through(several, output[:, :, None].expand_as(several))
            found.insert(0, back)
        return found

    def backward(self, activations: list[Tensor], signal: Tensor) -> None:
        """Set `gradient` to the gradient of a loss with `signal` `(R, out, B)` = d loss / d outputs."""
        signals = self.signals(activations, signal)
        for layer, inputs, back in zip(self._gradients, activations, signals, strict=False):
            grouped = back.view(len(inputs), -1, back.shape[-1])
            torch.bmm(grouped, inputs.mT, out=layer.weight)
            torch.sum(grouped, 2, out=layer.bias)

    def add_squared_gradients(self, total: Tensor, activations: list[Tensor], signals: list[Tensor]) -> None:
        """Add Σ over samples (and over K signals a sample) of the squared gradients to the buffer `total`.

        Args:
            total: `(R·P,)`.
            activations: what `forward` gave.
            signals: what `signals` gave, `(R, out, K·B)` each; overwritten.
        """
        for layer, inputs, signal in zip(self._grouped(self.layout.layers(total)), activations, signals, strict=False):
            size = inputs.shape[2]
            squares = signal.square_().view(len(inputs), -1, signal.shape[2] // size, size).sum(2)
            layer.weight.baddbmm_(squares, inputs.square().mT)
            layer.bias.add_(squares.sum(2))

    def _grouped(self, layers: list[Layer]) -> list[Layer]:
        """The same views, but the first layer's with the rows of all networks of a group."""
        weight, bias = layers[0]
        return [Layer(weight.view(self._groups, -1, weight.shape[2]), bias.view(self._groups, -1)), *layers[1:]]
