"""L1 sparsity by proximal steps, which make weights exactly zero."""

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from cl_runner.config.schema import decayed
from cl_runner.methods.part import PROXIMAL, Part
from cl_runner.methods.settings import L1Settings


def soft_threshold(values: Tensor, threshold: Tensor) -> None:
    """Move values towards zero by `threshold` and no further, in place.

    The proximal operator of threshold · |value| (Parikh & Boyd 2014, "Proximal Algorithms", section 6.5.2).
    """
    values.sub_(torch.clamp(values, -threshold, threshold))


class L1Proximal(Part):
    """The term λ₁ Σ |w| over each row's weights (biases are free), applied after each optimiser step, from the first
    task on. The threshold of a step is learning rate · λ₁, the rate being that of the row and the task.
    """

    Settings: ClassVar[type] = L1Settings
    order = PROXIMAL

    @classmethod
    def history(cls, settings: L1Settings, task: int) -> Hashable:
        """The first task knows no decay."""
        return settings if task > 0 else (settings.strength, settings.learning_rate)

    @classmethod
    def uses_fisher(cls, settings: L1Settings) -> bool:  # noqa: ARG003 (of the protocol)
        """Never."""
        return False

    @classmethod
    def describe(cls, settings: L1Settings) -> str:
        """`λ₁=0.1`."""
        return f"λ₁={settings.strength:g}"

    def setup(self) -> None:
        """A tensor with a number for each neuron, in place of one for each of its inputs, is a bias."""
        self._strength = self.by_parameter("strength")
        for layer in self.stack.layout.layers(self._strength):
            for tensor in layer:
                if tensor.dim() == 2:
                    tensor.zero_()
        self._rate, self._threshold = self.state.rows("learning_rate"), torch.zeros_like(self._strength)
        # States that were saved before there was a decay do not have it.
        self.begin(0)

    def begin(self, task: int) -> None:
        """The task's learning rates."""
        rates = [decayed(own.learning_rate, own.task_decay, task) if own else 0.0 for own in self.settings]
        self._rate.copy_(self._rate.new_tensor(rates))

    def prepare(self) -> None:
        """The thresholds follow from them."""
        self._threshold.copy_(self.stack.layout.spread(self._rate) * self._strength)

    def on_update(self) -> None:
        """Shrink the weights."""
        soft_threshold(self.stack.parameters, self._threshold)

    def value(self) -> Tensor:
        """λ₁ Σ |w|."""
        return self.stack.layout.totals(self._strength * self.stack.parameters.abs())
