"""A stack of multilayer perceptrons.

The first layers of the networks of a stream are one matrix product. Samples are columns: so that product's result
`(S, R/S · out, B)` is the networks' `(R, out, B)` without a copy. Where the streams differ in their number of rows,
those of equally large groups are.

Forward and backward passes are written out, for the Fisher information needs what automatic
differentiation hides: with ``a`` the input of a Linear layer and ``d = d loss / d (W a + b)`` the
back-propagated signal of a sample, its gradient is ``d aᵀ`` for the weight and ``d`` for the bias.
The tests hold both against autograd.
"""

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cl_runner.engine.network import Layout, Named, Pass, Streams
from cl_runner.engine.seeding import generator

_aten = torch.ops.aten

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


class Linear(NamedTuple):
    """The part of a buffer that belongs to one Linear layer: weight `(R, out, in)`, bias `(R, out)`."""

    weight: Tensor
    bias: Tensor


class _Kept(NamedTuple):
    """What a forward pass keeps.

    Attributes:
        inputs: of every layer, the first one's once for each group of networks that have it in common, the others'
            `(R, width, B)`; and the outputs.
        units: hidden units as they were before they were multiplied by `scales`, by layer; empty where they were not.
        scales: of each hidden layer, `(R, width, B)`.
    """

    inputs: list[Tensor]
    units: list[Tensor]
    scales: Sequence[Tensor]


def mlp_layout(sizes: Sequence[int], rows: int) -> Layout:
    """Of networks of Linear layers of these widths, input and output included: `layers.L.weight` `(out, in)` and
    `layers.L.bias` `(out,)`, L from 0.
    """
    layers = [
        (Named(f"layers.{number}.weight", (out, into)), Named(f"layers.{number}.bias", (out,)))
        for number, (into, out) in enumerate(pairwise(sizes))
    ]
    return Layout(tuple(layers), rows)


class MLPStack(Streams):
    """R networks of Linear layers with an activation between them.

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
        super().__init__(seeds, torch.device(device) if parameters is None else parameters.device)
        self.layout = mlp_layout(sizes, len(seeds))
        self.sizes, self.activation = tuple(sizes), activation
        self.hidden = sum(self.sizes[1:-1])
        fresh = torch.zeros(self.layout.numel, device=device, dtype=dtype) if parameters is None else parameters
        self.parameters: Tensor = fresh
        self.gradient = torch.zeros_like(self.parameters)
        self.layers = _linear(self.layout, self.parameters)
        rows: list[int] = self.of_row.tolist()
        # One product for first layers needs their rows side by side, and as many in every group.
        each = math.gcd(*(len(list(run)) for _, run in groupby(rows)))
        self._groups = len(rows) // each
        self._stream_of_group = self.of_row[::each].contiguous()
        self._groups_are_streams = rows[::each] == list(range(len(self.streams)))
        # A step is short enough for making a view to count, so they are made once.
        self._affine = [(bias[..., None], weight) for weight, bias in self._grouped(self.layers)]
        self._gradients = self._grouped(_linear(self.layout, self.gradient))
        self._activate, self._through = ACTIVATIONS[activation]
        if parameters is None:
            self.initialise()

    def initialise(self, task: int = 0) -> None:
        """Draw all parameters as `torch.nn.Linear` does: uniform within ±1/√in (He et al. 2015 with a = √5).

        The draw depends on the run's seed and on `task`, the task before which it is made.
        """
        for stream, seed in enumerate(self.streams):
            source = generator(seed, "weights", task)
            rows = self.of_row == stream
            for weight, bias in self.layers:
                drawn = torch.empty(weight.shape[1:])
                torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=source)
                weight[rows] = drawn.to(weight)
                bound = 1 / math.sqrt(weight.shape[2])
                bias[rows] = torch.empty(bias.shape[1:]).uniform_(-bound, bound, generator=source).to(bias)

    def fan_out(self, rows: Sequence[int], seeds: Sequence[int]) -> "MLPStack":
        """A stack of copies of the networks `rows`, which may repeat, for runs of these seeds."""
        parameters = self.layout.select(self.parameters, rows)
        return MLPStack(self.sizes, self.activation, seeds, parameters=parameters)

    def widest(self, signals: int = 1) -> int:
        """Elements of the signals at the widest layer."""
        return signals * max(self.sizes[1:])

    def forward(self, inputs: Tensor, scales: Tensor | None = None) -> Pass:
        """The outputs on inputs of the streams, `(S, in, B)`. Hidden units, layer by layer, are multiplied by `scales`
        `(R, H, B)`, and so are the signals passed back through them.
        """
        activations = [inputs if self._groups_are_streams else inputs.index_select(0, self._stream_of_group)]
        kept = _Kept(activations, [], () if scales is None else scales.split(self.sizes[1:-1], 1))
        for number, (bias, weight) in enumerate(self._affine):
            if number:
                self._activate(activations[-1])
            if number and kept.scales:
                kept.units.append(activations[-1])
                activations[-1] = activations[-1] * kept.scales[number - 1]
            outputs = torch.baddbmm(bias, weight, activations[-1])
            activations.append(outputs.view(self.layout.rows, -1, outputs.shape[-1]))
        return Pass(activations[-1], kept)

    def backward(self, forward: Pass, signal: Tensor) -> None:
        """Set `gradient` to the gradient of a loss with `signal` `(R, out, B)` = d loss / d outputs."""
        signals = self._signals(forward.kept, signal)
        for layer, inputs, back in zip(self._gradients, forward.kept.inputs, signals, strict=False):
            grouped = back.view(len(inputs), -1, back.shape[-1])
            torch.bmm(grouped, inputs.mT, out=layer.weight)
            torch.sum(grouped, 2, out=layer.bias)

    def add_squared_gradients(self, total: Tensor, forward: Pass, signals: Tensor) -> None:
        """As `Network.add_squared_gradients`. One sample's gradient being d aᵀ, the sum of the squares is (d²)ᵀ(a²), a
        matrix product and no loop over samples.
        """
        layers, back = self._grouped(_linear(self.layout, total)), self._signals(forward.kept, signals.flatten(2))
        for layer, inputs, signal in zip(layers, forward.kept.inputs, back, strict=False):
            size = inputs.shape[2]
            squares = signal.square_().view(len(inputs), -1, signal.shape[2] // size, size).sum(2)
            layer.weight.baddbmm_(squares, inputs.square().mT)
            layer.bias.add_(squares.sum(2))

    def _signals(self, kept: _Kept, signal: Tensor) -> list[Tensor]:
        """Back-propagate to every layer's pre-activations.

        Args:
            kept: by `forward`.
            signal: d loss / d outputs, `(R, out, K·B)`: for K losses one after the other (K = 1 in training, and where
                there are scales).

        Returns:
            A signal `(R, width, K·B)` for each layer, the first layer's first.
        """
        found, units = [signal], kept.units or kept.inputs[1:]
        for number in range(len(self.layers) - 1, 0, -1):
            output = units[number - 1]
            back = torch.bmm(self.layers[number].weight.mT, found[0])
            if kept.scales:
                back.mul_(kept.scales[number - 1])
            if back.shape == output.shape:
                self._through(back, output)
            else:
                several = back.view(*output.shape[:2], -1, output.shape[2])
                self._through(several, output[:, :, None].expand_as(several))
            found.insert(0, back)
        return found

    def _grouped(self, layers: list[Linear]) -> list[Linear]:
        """The same views, but the first layer's with the rows of all networks of a group."""
        weight, bias = layers[0]
        return [Linear(weight.view(self._groups, -1, weight.shape[2]), bias.view(self._groups, -1)), *layers[1:]]


def _linear(layout: Layout, buffer: Tensor) -> list[Linear]:
    return [Linear(*tensors) for tensors in layout.layers(buffer)]
