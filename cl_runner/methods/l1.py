"""L1 sparsity by proximal steps, which make weights exactly zero."""

import torch
from torch import Tensor

from cl_runner.engine.network import Layout


def soft_threshold(values: Tensor, threshold: Tensor) -> None:
    """Move values towards zero by `threshold` and no further, in place.

    The proximal operator of threshold · |value| (Parikh & Boyd 2014, "Proximal Algorithms", section 6.5.2).
    """
    values.sub_(torch.clamp(values, -threshold, threshold))


class L1Proximal:
    """The term λ₁ Σ |w| over each run's weights (biases are free), applied after each optimiser step.

    Args:
        layout: of the parameters.
        strength: λ₁ of each run, `(R,)`.
        learning_rate: of the optimiser; the threshold of a step is learning rate · λ₁.
    """

    def __init__(self, layout: Layout, strength: Tensor, learning_rate: float) -> None:
        self._layout = layout
        self._strength = layout.spread(strength)
        # A tensor with a number for each neuron, in place of one for each of its inputs, is a bias.
        for layer in layout.layers(self._strength):
            for tensor in layer:
                if tensor.dim() == 2:
                    tensor.zero_()
        self._threshold = learning_rate * self._strength

    def step(self, parameters: Tensor) -> None:
        """Shrink the weights `(R·P,)` in place."""
        soft_threshold(parameters, self._threshold)

    def value(self, parameters: Tensor) -> Tensor:
        """λ₁ Σ |w| of each run, `(R,)`, in the units of the loss."""
        return self._layout.totals(self._strength * parameters.abs())
