"""Masks: which parameters are frozen, chosen by their significance.

A mask freezes the most significant fraction of all parameters of a network (global) or of every layer, a
Linear's weight and bias together (layer-wise). It ranks single parameters or whole neurons, a row of the
weight with its bias, by their summed significance. A hard mask leaves the rest free; a soft one slows the rest down
in proportion to its significance.

Of the output layer only outputs that some task so far has had are ranked and counted. Those of tasks to come have
significance zero, which says that they were not trained, and not that they may be frozen: a layer-wise mask, which has
to freeze its share of the layer, would take them once the others are frozen, and a soft one would find its threshold
among them, at zero. `unused="counted"` does that all the same.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from cl_runner.methods.part import MASK, Part
from cl_runner.methods.settings import MaskSettings

# The tensors of a layer, of one row: weight `(out, ...)`, bias `(out,)`.
Layer = Sequence[Tensor]


def most_significant(significance: Tensor, count: int) -> Tensor:
    """True for exactly `count` largest elements of `(n,)`; of equal ones the first."""
    frozen = torch.zeros_like(significance, dtype=torch.bool)
    frozen[significance.argsort(descending=True, stable=True)[:count]] = True
    return frozen


def soft_scale(significance: Tensor, frozen: Tensor) -> Tensor:
    """What is left of each unit's update: clamp(1 − s / t, 0, 1) for significance s, and 0 for a frozen unit.

    t is the smallest significance of a frozen unit, where a hard mask begins; where none is frozen, the largest of
    all. Where t = 0, what is not frozen is quite free.

    Args:
        significance: not negative, `(n,)`.
        frozen: the most significant units, bool `(n,)`.
    """
    threshold = significance[frozen].min() if frozen.any() else significance.max()
    if threshold == 0:
        return (~frozen).to(significance.dtype)
    return (1 - significance / threshold).clamp(0, 1)


def unit_significance(layers: Sequence[Layer], rule: MaskSettings, used: int) -> list[Tensor]:
    """Significance of the units of each layer that a rule counts, `(n_l,)`: of the output layer, L, units of the first
    `used` of its outputs, so that n_L = used · (in + 1) parameters or `used` neurons; all with `unused="counted"`.

    Args:
        layers: significance of one row's parameters, weight `(out, ...)` and bias `(out,)` of each layer.
        rule: its `unit` is "parameter", neuron by neuron its weights and its bias, or "neuron", their sum.
        used: number of outputs that tasks so far have had.
    """
    rows = [
        torch.cat([tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None] for tensor in layer], 1)
        for layer in layers
    ]
    if rule.unused == "free":
        rows[-1] = rows[-1][:used]
    return [row.sum(1) if rule.unit == "neuron" else row.flatten() for row in rows]


def unit_scales(significance: Sequence[Tensor], rule: MaskSettings) -> list[Tensor]:
    """What a rule leaves of each unit's update: 0 of round(fraction · n) of n units, n counted in each layer or over
    all layers; of the others all, or what `soft_scale` says.

    Args:
        significance: of the units of each layer, `(n_l,)`.
        rule: whose source does not matter here.

    Returns:
        For each layer, 0 to 1, `(n_l,)`.
    """
    scales = []
    for ranked in significance if rule.kind == "layerwise" else [torch.cat(list(significance))]:
        frozen = most_significant(ranked, round(rule.fraction * len(ranked)))
        scales.append(soft_scale(ranked, frozen) if rule.soft else (~frozen).to(ranked.dtype))
    return list(torch.cat(scales).split([len(layer) for layer in significance]))


def update_scales(layers: Sequence[Layer], rule: MaskSettings, used: int) -> list[list[Tensor]]:
    """What a rule leaves of each parameter's update, from 0 for a frozen one to 1, shaped as `layers`.

    Args:
        layers: significance of one row's parameters, as for `unit_significance`.
        rule: of that row; its source does not matter here.
        used: number of outputs that tasks so far have had.
    """
    found = []
    for scales, layer in zip(unit_scales(unit_significance(layers, rule, used), rule), layers, strict=True):
        sizes = [tensor[0].numel() for tensor in layer]
        # A row a neuron, of one column if the neuron is the unit. What is not counted is free.
        rows = scales.view(-1, 1 if rule.unit == "neuron" else sum(sizes)).expand(-1, sum(sizes))
        rows = torch.nn.functional.pad(rows, (0, 0, 0, len(layer[0]) - len(rows)), value=1.0)
        found.append([part.reshape(tensor.shape) for part, tensor in zip(rows.split(sizes, 1), layer, strict=True)])
    return found


class GradientMask(Part):
    """Scales the updates of a stack's parameters: a frozen one gets none, whatever the optimiser makes of it.

    The mask is applied to the update, after the optimiser's step: θ ← θ_before + scale · (θ − θ_before). For a frozen
    parameter that puts back its value: for the optimisers here, which work per parameter, that is the binary mask on
    the gradient, and neither momentum, weight decay nor an L1 step can move a frozen bit. A soft mask on the gradient
    would do nothing, as Adam divides out any constant factor.

    Attributes:
        scale: 1 for a free parameter, 0 for a frozen one, between them under a soft mask, `(R·P,)`.
    """

    Settings: ClassVar[type] = MaskSettings
    order = MASK
    scale: Tensor

    @classmethod
    def history(cls, settings: MaskSettings, task: int) -> Hashable:
        """The first task knows no mask; while the second is trained every source of significance is the first."""
        if task == 0:
            return None
        return settings if task > 1 else replace(settings, source="")

    @classmethod
    def describe(cls, settings: MaskSettings) -> str:
        """`soft global mask, freeze=0.5`."""
        return f"{'soft ' * settings.soft}{settings.kind} mask, freeze={settings.fraction:g}"

    def setup(self) -> None:
        """Everything is free."""
        self._significance = self.state.buffer("significance")
        self.scale = self.state.buffer("scale", 1.0)
        self._start = torch.zeros_like(self.scale)
        self._active = False
        self._soft = any(settings is not None and settings.soft for settings in self.settings)

    def prepare(self) -> None:
        """What a hard mask puts back is the same before every step, and 0 where it puts back nothing."""
        self._start.copy_(self.stack.parameters * (1 - self.scale))
        self._active = bool((self.scale < 1).any())

    def on_gradient(self) -> None:
        """Keep the parameters as they are before the step, if a soft mask needs them."""
        if self._active and self._soft:
            self._start.copy_(self.stack.parameters)

    def on_update(self) -> None:
        """Undo the step as far as the masks say: on frozen parameters to the bit, on free ones not at all."""
        parameters = self.stack.parameters
        if self._active and self._soft:
            # Exact where the scale is 0 or 1, so hard masks are as hard beside a soft one.
            torch.lerp(self._start, parameters, self.scale, out=parameters)
        elif self._active:
            torch.addcmul(self._start, self.scale, parameters, out=parameters)

    def end(self, task: int, fisher: Tensor, used: int) -> None:  # noqa: ARG002 (the first is like all others)
        """Choose what stays frozen from now on."""
        buffers = (fisher, self._significance, self.scale)
        layers = list(zip(*map(self.stack.layout.layers, buffers), strict=True))
        for row, rule in enumerate(self.settings):
            if rule is None:
                continue
            for latest, kept, _ in layers:
                for new, old in zip(latest, kept, strict=True):
                    old[row] = _accumulated(old[row], new[row], rule.source)
            significance = [[tensor[row] for tensor in kept] for _, kept, _ in layers]
            for (_, _, scale), chosen in zip(layers, update_scales(significance, rule, used), strict=True):
                for mask, new in zip(scale, chosen, strict=True):
                    mask[row] = torch.minimum(mask[row], new) if rule.source == "union" else new


def _accumulated(kept: Tensor, latest: Tensor, source: str) -> Tensor:
    """Significance over the tasks so far; a union ranks by the latest alone and keeps what was frozen."""
    if source == "sum":
        return kept + latest
    if source == "max":
        return torch.maximum(kept, latest)
    return latest
