"""A stack of R multilayer perceptrons of one shape, trained as one computation.

All parameters lie in one buffer, layer by layer, so that whatever works per parameter (optimiser, penalty,
mask, Fisher) is one operation on one tensor; `Layout` gives the views of it.

Forward and backward passes are written out, for the Fisher information needs what automatic
differentiation hides: with ``a`` the input of a Linear layer and ``d = d loss / d (W a + b)`` the
back-propagated signal of a sample, its gradient is ``d aᵀ`` for the weight and ``d`` for the bias.
The tests hold both against autograd.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cl_runner.seeding import generator

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


class Layer(NamedTuple):
    """The part of a buffer that belongs to one Linear layer: weight `(R, out, in)`, bias `(R, out)`."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """Where each layer's parameters lie in a buffer of `numel` elements.

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
        """Number of elements of a buffer, R·P."""
        return self.runs * self.per_run

    def layers(self, buffer: Tensor) -> list[Layer]:
        """Views of a buffer `(R·P,)`, one `Layer` each."""
        views, start, runs = [], 0, self.runs
        for into, out in self.shapes:
            weight = buffer[start : start + runs * out * into].view(runs, out, into)
            start += runs * out * into
            views.append(Layer(weight, buffer[start : start + runs * out].view(runs, out)))
            start += runs * out
        return views

    def spread(self, values: Tensor) -> Tensor:
        """A buffer in which each parameter holds its run's entry of `values` `(R,)`."""
        buffer = values.new_empty(self.numel)
        for weight, bias in self.layers(buffer):
            weight.copy_(values[:, None, None].expand_as(weight))
            bias.copy_(values[:, None].expand_as(bias))
        return buffer

    def totals(self, buffer: Tensor) -> Tensor:
        """Sum of a buffer's elements over each run, `(R,)`."""
        return torch.stack([part.flatten(1).sum(1) for layer in self.layers(buffer) for part in layer]).sum(0)

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
        seeds: the seed of each run's initial weights; their number is R.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.layout = Layout(tuple(sizes), len(seeds))
        self.seeds = tuple(seeds)
        self.parameters = torch.empty(self.layout.numel, device=device, dtype=dtype)
        self.gradient = torch.zeros_like(self.parameters)
        self.parameters.grad = self.gradient
        self.layers = self.layout.layers(self.parameters)
        # A step is short enough for making a view to count, so the transposed ones are made once.
        self._affine = [(bias[:, None], weight.mT) for weight, bias in self.layers]
        self._gradients = self.layout.layers(self.gradient)
        self._activate, self._through = ACTIVATIONS[activation]
        self.initialise()

    def initialise(self, task: int = 0) -> None:
        """Draw all parameters as `torch.nn.Linear` does: uniform within ±1/√in (He et al. 2015 with a = √5).

        The draw depends on the run's seed and on `task`, the task before which it is made.
        """
        for run, seed in enumerate(self.seeds):
            source = generator(seed, "weights", task)
            for weight, bias in self.layers:
                drawn = torch.empty(weight.shape[1:])
                torch.nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=source)
                weight[run].copy_(drawn)
                bound = 1 / math.sqrt(weight.shape[2])
                bias[run].copy_(torch.empty(bias.shape[1:]).uniform_(-bound, bound, generator=source))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """The input of every layer and last the network's outputs, for `inputs` `(R, B, in)`."""
        activations = [inputs]
        for number, (bias, weight) in enumerate(self._affine):
            if number:
                self._activate(activations[-1])
            activations.append(torch.baddbmm(bias, activations[-1], weight))
        return activations

    def signals(self, activations: list[Tensor], signal: Tensor) -> list[Tensor]:
        """Back-propagate to every layer's pre-activations.

        Args:
            activations: what `forward` gave, `(R, B, width)` each.
            signal: d loss / d outputs, `(R, K·B, out)`: for K losses one after the other (K = 1 in training).

        Returns:
            A signal `(R, K·B, width)` for each layer, the first layer's first.
        """
        found = [signal]
        for number in range(len(self.layers) - 1, 0, -1):
            output = activations[number]
            back = torch.bmm(found[0], self.layers[number].weight)
            if back.shape == output.shape:
                self._through(back, output)
            else:
                several = back.view(len(back), -1, *output.shape[1:])
                self._through(several, output[:, None].expand_as(several))
            found.insert(0, back)
        return found

    def backward(self, activations: list[Tensor], signal: Tensor) -> None:
        """Set `gradient` to the gradient of a loss with `signal` `(R, B, out)` = d loss / d outputs."""
        signals = self.signals(activations, signal)
        for layer, inputs, back in zip(self._gradients, activations, signals, strict=False):
            torch.bmm(back.mT, inputs, out=layer.weight)
            torch.sum(back, 1, out=layer.bias)
