"""The optimisers on a stack's one tensor, by PyTorch's functional forms.

The classes of `torch.optim` import PyTorch's compiler when they are first used, a third of the seconds that a process
needs before it trains, and do more bookkeeping at each step than small networks do arithmetic.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from cl_runner.config.schema import TrainConfig


class Optimizer(Protocol):
    """Changes the parameters by their gradient.

    Attributes:
        buffers: by name; as many numbers in each as there are parameters.
        count: of the steps so far, where they matter.
    """

    @property
    def buffers(self) -> dict[str, Tensor]: ...  # noqa: D102 (above)

    @property
    def count(self) -> int: ...  # noqa: D102 (above)

    def restore(self, buffers: Mapping[str, Tensor], count: int) -> None:
        """Go on from these."""

    def step(self) -> None:
        """One step."""


def make_optimizer(parameters: Tensor, gradient: Tensor, config: TrainConfig) -> Optimizer:
    """A new optimiser of `parameters`, which reads their gradient from the other tensor."""
    return (Adam if config.optimizer == "adam" else SGD)(parameters, gradient, config)


class Adam:
    """Adam with weight decay as an L2 term.

    Source: Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 1.
    """

    def __init__(self, parameters: Tensor, gradient: Tensor, config: TrainConfig) -> None:
        self._parameters, self._gradient, self._config = parameters, gradient, config
        self._mean, self._square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self._steps = torch.zeros((), device=parameters.device)

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Running means of the gradient and of its square."""
        return {"exp_avg": self._mean, "exp_avg_sq": self._square}

    @property
    def count(self) -> int:
        """Steps so far."""
        return int(self._steps)

    def restore(self, buffers: Mapping[str, Tensor], count: int) -> None:
        """Go on from these."""
        for name, buffer in self.buffers.items():
            buffer.copy_(buffers[name])
        self._steps.fill_(count)

    def step(self) -> None:
        """One step."""
        adam(
            [self._parameters],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            capturable=self._parameters.is_cuda,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._config.learning_rate,
            weight_decay=self._config.weight_decay,
            eps=1e-8,
            maximize=False,
        )


class SGD:
    """Stochastic gradient descent, with momentum v ← μv + g of which the first is the gradient."""

    def __init__(self, parameters: Tensor, gradient: Tensor, config: TrainConfig) -> None:
        self._parameters, self._gradient, self._config = parameters, gradient, config
        self._momentum: list[Tensor | None] = [None]

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The momentum, once there is one."""
        (momentum,) = self._momentum
        return {} if momentum is None else {"momentum_buffer": momentum}

    @property
    def count(self) -> int:
        """No step differs from another."""
        return 0

    def restore(self, buffers: Mapping[str, Tensor], count: int) -> None:  # noqa: ARG002 (of the protocol)
        """Go on from these."""
        self._momentum = [buffer.clone() for buffer in buffers.values()] or [None]

    def step(self) -> None:
        """One step."""
        sgd(
            [self._parameters],
            [self._gradient],
            self._momentum,
            fused=True,
            weight_decay=self._config.weight_decay,
            momentum=self._config.momentum,
            lr=self._config.learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
