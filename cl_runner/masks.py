"""Masks: which parameters are frozen, chosen by their significance.

A mask freezes the most significant fraction of all parameters of a network (global) or of every layer, a
Linear's weight and bias together (layer-wise). It ranks single parameters or whole neurons, a row of the
weight with its bias, by their summed significance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_runner.stack import Layer, Layout


def most_significant(significance: Tensor, count: int) -> Tensor:
    """True for exactly `count` largest elements of `(n,)`; of equal ones the first."""
    frozen = torch.zeros_like(significance, dtype=torch.bool)
    frozen[significance.argsort(descending=True, stable=True)[:count]] = True
    return frozen


def frozen_units(significance: Sequence[Tensor], fraction: float, *, layerwise: bool) -> list[Tensor]:
    """Freeze round(fraction · n) of n units, n counted in each layer or over all layers.

    Args:
        significance: of the units of each layer, `(n_l,)`.
        fraction: to be frozen, 0 to 1.
        layerwise: whether each layer has a ranking of its own.

    Returns:
        For each layer, true for a frozen unit, `(n_l,)`.
    """
    if layerwise:
        return [most_significant(layer, round(fraction * len(layer))) for layer in significance]
    joined = torch.cat(list(significance))
    return list(most_significant(joined, round(fraction * len(joined))).split([len(layer) for layer in significance]))


def frozen_parameters(layers: Sequence[Layer], fraction: float, *, layerwise: bool, unit: str) -> list[Layer]:
    """The frozen parameters of one run, from the significance of its parameters.

    Args:
        layers: significance, weight `(out, in)` and bias `(out,)` of each layer.
        fraction: of units to be frozen, 0 to 1.
        layerwise: whether each layer has a ranking of its own.
        unit: what is ranked, "parameter" or "neuron".
    """
    # One row a neuron: its weights, then its bias.
    rows = [torch.cat([weight, bias[:, None]], 1) for weight, bias in layers]
    scores = [row.sum(1) if unit == "neuron" else row.flatten() for row in rows]
    frozen = frozen_units(scores, fraction, layerwise=layerwise)
    shaped = [
        (units[:, None] if unit == "neuron" else units.view_as(row)).expand_as(row)
        for units, row in zip(frozen, rows, strict=True)
    ]
    return [Layer(row[:, :-1], row[:, -1]) for row in shaped]


@dataclass(frozen=True)
class MaskRule:
    """How one run's mask is made: see `MethodConfig`; `kind` "none" never freezes."""

    kind: str
    fraction: float
    source: str
    unit: str


class GradientMask:
    """Freezes parameters of a stack: a frozen one gets no update, whatever the optimiser makes of it.

    The mask is applied to the update, after the optimiser's step, by putting back the frozen values: for the
    optimisers here, which work per parameter, that is the binary mask on the gradient, and neither momentum,
    weight decay nor an L1 step can move a frozen bit.

    Args:
        layout: of all buffers.
        rules: one for each run.
        parameters: a buffer, for its device and dtype.
    """

    def __init__(self, layout: Layout, rules: Sequence[MaskRule], parameters: Tensor) -> None:
        self._layout, self._rules = layout, rules
        self._significance = torch.zeros_like(parameters)
        self.trainable = torch.ones_like(parameters)
        self._frozen_values = torch.zeros_like(parameters)
        self._active = False

    def inherit(self, parent: "GradientMask", rows: Sequence[int]) -> None:
        """Start from the significance and masks that `parent` has for the runs `rows`, which may repeat."""
        self._significance = parent._layout.select(parent._significance, rows)
        self.trainable = parent._layout.select(parent.trainable, rows)

    def consolidate(self, parameters: Tensor, fisher: Tensor) -> None:
        """Choose what stays frozen from now on, after a task that ended at `parameters`, both `(R·P,)`."""
        layers = list(zip(*map(self._layout.layers, (fisher, self._significance, self.trainable)), strict=True))
        for run, rule in enumerate(self._rules):
            if rule.kind == "none":
                continue
            for latest, kept, _ in layers:
                for new, old in zip(latest, kept, strict=True):
                    old[run] = _accumulated(old[run], new[run], rule.source)
            frozen = frozen_parameters(
                [Layer(kept.weight[run], kept.bias[run]) for _, kept, _ in layers],
                rule.fraction,
                layerwise=rule.kind == "layerwise",
                unit=rule.unit,
            )
            for (_, _, trainable), chosen in zip(layers, frozen, strict=True):
                for mask, part in zip(trainable, chosen, strict=True):
                    free = (~part).to(mask.dtype)
                    mask[run] = mask[run] * free if rule.source == "union" else free
        self._frozen_values = parameters * (1 - self.trainable)
        self._active = bool((self.trainable == 0).any())

    def restore(self, parameters: Tensor) -> None:
        """Undo a step on the frozen parameters, in place and to the bit."""
        if self._active:
            torch.addcmul(self._frozen_values, self.trainable, parameters, out=parameters)


def _accumulated(kept: Tensor, latest: Tensor, source: str) -> Tensor:
    """Significance over the tasks so far; a union ranks by the latest alone and keeps what was frozen."""
    if source == "sum":
        return kept + latest
    if source == "max":
        return torch.maximum(kept, latest)
    return latest
