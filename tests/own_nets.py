"""Networks of one's own: two that can be trained in a stack, and many that cannot."""

import math
from collections.abc import Sequence
from random import random

import torch
from torch import Tensor, nn

from cl_runner.results.run import MLP

three = 3


def perceptron(inputs: Sequence[int], outputs: int, hidden: Sequence[int] = (7, 6)) -> nn.Module:
    """The hand-written one's like."""
    return nn.Sequential(nn.Flatten(), MLP([math.prod(inputs), *hidden, outputs], "relu"))


def convolutional(inputs: Sequence[int], outputs: int, width: int = 3, extra: nn.Module | None = None) -> nn.Module:
    """Two convolutions, a norm with parameters of its own, and a layer of outputs."""
    return nn.Sequential(
        nn.Conv2d(inputs[0], width, 3, padding=1),
        nn.Tanh(),
        extra or nn.Identity(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
        nn.GroupNorm(1, 2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * -(-inputs[1] // 2) * -(-inputs[2] // 2), outputs),
    )


class Constant(nn.Module):
    """Has a buffer that no step changes, and two tensors of unequal first axes."""

    scale: Tensor

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        size = math.prod(inputs)
        self.register_buffer("scale", torch.linspace(0.5, 1, size))
        self.mix = nn.ConvTranspose1d(size, 4, 1)
        self.out = nn.Linear(4, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.out(self.mix((inputs.flatten(1) * self.scale)[..., None])[..., 0].relu())
        return found


class Odd(nn.Module):
    """A layer of outputs, and something odd before it."""

    def __init__(self, inputs: Sequence[int], outputs: int, odd: str) -> None:
        super().__init__()
        size = math.prod(inputs)
        self.odd, self.calls = odd, 0
        if odd == "scalar":
            self.scale = nn.Parameter(torch.tensor(1.0))
        if odd == "lazy":
            self.lazy = nn.LazyLinear(size)
        if odd == "tied":
            self.one = nn.Linear(size, size)
            self.other = self.one
        if odd == "double":
            self.precise = nn.Parameter(torch.ones(1, dtype=torch.float64))
        if odd == "still":
            self.still = nn.Parameter(torch.ones(1), requires_grad=False)
        if odd == "elsewhere":
            self.shift = nn.Parameter(torch.tensor([random()]))
        if odd == "buffer":
            self.register_buffer("noise", torch.randn(size))
        if odd == "recurrent":
            self.recurrent = nn.LSTM(size, size, batch_first=True)
        self.out = nn.Linear(size, outputs)
        if odd == "first":
            self.body = nn.Linear(size, size)
        if odd == "mixed":
            self.mix = nn.Linear(outputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = inputs.flatten(1)
        if self.odd == "recurrent":
            found = self.recurrent(found[:, None])[0][:, 0]
        if self.odd == "first":
            found = self.body(found)
        if self.odd == "batch":
            found = found - found.mean(0)
        found = self.out(found)
        return self.mix(found).cumsum(1) if self.odd == "mixed" else found


class NoParameters(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def raises(inputs: Sequence[int], outputs: int) -> nn.Module:
    raise KeyError((inputs, outputs))


def number() -> int:
    return 3


def normed(inputs: Sequence[int], outputs: int) -> nn.Module:
    return convolutional(inputs, outputs, extra=nn.BatchNorm2d(3))


def dropping(inputs: Sequence[int], outputs: int) -> nn.Module:
    return convolutional(inputs, outputs, extra=nn.Dropout(0.1))


def too_wide(inputs: Sequence[int], outputs: int) -> nn.Module:
    return convolutional(inputs, outputs + 1)


def of_three_channels(inputs: Sequence[int], outputs: int) -> nn.Module:
    return convolutional((3, *inputs[1:]), outputs)
