"""The optimisers on a stack's buffers, by PyTorch's fused kernels.

The classes of `torch.optim` import PyTorch's compiler when they are first used, a third of the seconds that a process
needs before it trains, and do more bookkeeping at each step than small networks do arithmetic.

A kernel takes one learning rate: where rows have several, those of each are stepped one after the other. So are rows
that do not take the same steps, as Adam counts them. What is kept from step to step stays in such portions, and in the
buffer is brought up to date when that is asked for.
"""

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cl_runner.config.schema import Rates, TrainConfig
from cl_runner.engine.network import Network
from cl_runner.engine.portions import Portions


class Optimizer(Protocol):
    """Changes the parameters by their gradient.

    Attributes:
        buffers: by name; as many numbers in each as there are parameters.
        counts: of each row's steps so far, where they matter.
    """

    @property
    def buffers(self) -> dict[str, Tensor]: ...  # noqa: D102 (above)

    @property
    def counts(self) -> list[int]: ...  # noqa: D102 (above)

    def restore(self, buffers: Mapping[str, Tensor], counts: Sequence[int]) -> None:
        """Go on from these."""

    def step(self, waiting: Container[int] = ()) -> None:
        """One step of all rows but those that are `waiting`."""


def make_optimizer(
    stack: Network, configs: Sequence[TrainConfig], task: int = 0, paces: Sequence[Hashable] | None = None
) -> Optimizer:
    """A new optimiser of a stack's parameters, which reads their gradient from the stack.

    Args:
        stack: the networks.
        configs: one for each row; they agree in `optimizer`.
        task: that is trained, from 0.
        paces: of each row: those with the same one have taken as many steps, and wait at the same ones. None: all.
    """
    rates = [config.rates(task) for config in configs]
    kinds = list(zip(rates, paces or [None] * len(configs), strict=True))
    portions = Portions(stack.layout, kinds, stack.parameters.device)
    of_portion = [rates[row] for row in portions.firsts]
    return (Adam if configs[0].optimizer == "adam" else SGD)(stack, portions, of_portion)


class Adam:
    """Adam with weight decay as an L2 term.

    Source: Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 1.

    Args:
        stack: the networks.
        portions: of its rows.
        rates: of each portion.
    """

    def __init__(self, stack: Network, portions: Portions, rates: Sequence[Rates]) -> None:
        self._portions, self._rates = portions, rates
        self._parameters, self._gradient = portions.of(stack.parameters), portions.of(stack.gradient)
        self._mean, self._square = (portions.of(torch.zeros_like(stack.parameters)) for _ in range(2))
        self._kept = {"exp_avg": self._mean, "exp_avg_sq": self._square}
        self._steps = [torch.zeros((), device=stack.parameters.device) for _ in rates]

    @property
    def buffers(self) -> dict[str, Tensor]:
        """Running means of the gradient and of its square."""
        return {name: portioned.whole() for name, portioned in self._kept.items()}

    @property
    def counts(self) -> list[int]:
        """Steps so far."""
        found = [int(steps) for steps in self._steps]
        return [found[portion] for portion in self._portions.of_row]

    def restore(self, buffers: Mapping[str, Tensor], counts: Sequence[int]) -> None:
        """Go on from these."""
        for name, portioned in self._kept.items():
            portioned.buffer.copy_(buffers[name])
            portioned.gather()
        for steps, row in zip(self._steps, self._portions.firsts, strict=True):
            steps.fill_(counts[row])

    def step(self, waiting: Container[int] = ()) -> None:
        """One step."""
        self._parameters.gather()
        self._gradient.gather()
        portions = (part.tensors for part in (self._parameters, self._gradient, self._mean, self._square))
        for row, rates, steps, parameters, gradients, means, squares in zip(
            self._portions.firsts, self._rates, self._steps, *portions, strict=True
        ):
            if row in waiting:
                continue
            steps.add_(1)
            torch._fused_adam_(
                parameters,
                gradients,
                means,
                squares,
                [],
                [steps] * len(parameters),
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rates.learning_rate,
                weight_decay=rates.weight_decay,
                eps=1e-8,
                maximize=False,
            )
        self._parameters.scatter()


class SGD:
    """Stochastic gradient descent, with momentum v ← μv + g of which the first is the gradient.

    Args:
        stack: the networks.
        portions: of its rows.
        rates: of each portion.
    """

    def __init__(self, stack: Network, portions: Portions, rates: Sequence[Rates]) -> None:
        self._portions, self._rates = portions, rates
        self._parameters, self._gradient = portions.of(stack.parameters), portions.of(stack.gradient)
        has_momentum = any(rates.momentum for rates in self._rates)
        self._momentum = portions.of(torch.zeros_like(stack.parameters)) if has_momentum else None
        self._begun = False

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The momentum, once there is one: 0 for rows that have none."""
        return {"momentum_buffer": self._momentum.whole()} if self._momentum and self._begun else {}

    @property
    def counts(self) -> list[int]:
        """No step differs from another."""
        return [0] * len(self._portions.of_row)

    def restore(self, buffers: Mapping[str, Tensor], counts: Sequence[int]) -> None:  # noqa: ARG002 (of the protocol)
        """Go on from these."""
        self._begun = bool(buffers)
        if self._momentum and self._begun:
            self._momentum.buffer.copy_(buffers["momentum_buffer"])
            self._momentum.gather()

    def step(self, waiting: Container[int] = ()) -> None:
        """One step; in the first one nobody waits."""
        self._parameters.gather()
        self._gradient.gather()
        for number, (row, rates) in enumerate(zip(self._portions.firsts, self._rates, strict=True)):
            if row in waiting:
                continue
            torch._fused_sgd_(
                self._parameters.tensors[number],
                self._gradient.tensors[number],
                self._momentum.tensors[number] if self._momentum and rates.momentum else [],
                weight_decay=rates.weight_decay,
                momentum=rates.momentum,
                lr=rates.learning_rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=not self._begun,
            )
        self._parameters.scatter()
        self._begun = True
