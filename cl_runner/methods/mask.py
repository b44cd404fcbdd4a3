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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_runner.engine.network import Layout

# The tensors of a layer, of one run: weight `(out, ...)`, bias `(out,)`.
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


@dataclass(frozen=True)
class MaskRule:
    """How one run's mask is made: see `MethodConfig`; `kind` "none" never freezes."""

    kind: str
    fraction: float
    source: str
    unit: str
    soft: bool
    unused: str

    @property
    def active(self) -> bool:
        """Whether it keeps anything from being trained."""
        return self.kind != "none" and (self.fraction > 0 or self.soft)


def unit_significance(layers: Sequence[Layer], rule: MaskRule, used: int) -> list[Tensor]:
    """Significance of the units of each layer that a rule counts, `(n_l,)`: of the output layer, L, units of the first
    `used` of its outputs, so that n_L = used · (in + 1) parameters or `used` neurons; all with `unused="counted"`.

    Args:
        layers: significance of one run's parameters, weight `(out, ...)` and bias `(out,)` of each layer.
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


def unit_scales(significance: Sequence[Tensor], rule: MaskRule) -> list[Tensor]:
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


def update_scales(layers: Sequence[Layer], rule: MaskRule, used: int) -> list[list[Tensor]]:
    """What a rule leaves of each parameter's update, from 0 for a frozen one to 1, shaped as `layers`.

    Args:
        layers: significance of one run's parameters, as for `unit_significance`.
        rule: of that run; its source does not matter here.
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


class GradientMask:
    """Scales the updates of a stack's parameters: a frozen one gets none, whatever the optimiser makes of it.

    The mask is applied to the update, after the optimiser's step: θ ← θ_before + scale · (θ − θ_before). For a frozen
    parameter that puts back its value: for the optimisers here, which work per parameter, that is the binary mask on
    the gradient, and neither momentum, weight decay nor an L1 step can move a frozen bit. A soft mask on the gradient
    would do nothing, as Adam divides out any constant factor.

    Args:
        layout: of all buffers.
        rules: one for each run.
        parameters: a buffer, for its device and dtype.
    """

    def __init__(self, layout: Layout, rules: Sequence[MaskRule], parameters: Tensor) -> None:
        self._layout, self._rules = layout, rules
        self._significance = torch.zeros_like(parameters)
        self.trainable = torch.ones_like(parameters)
        self._start = torch.zeros_like(parameters)
        self._active = False
        self._soft = any(rule.active and rule.soft for rule in rules)

    def inherit(self, parent: "GradientMask", rows: Sequence[int]) -> None:
        """Start from the significance and masks that `parent` has for the runs `rows`, which may repeat."""
        self._significance = parent._layout.select(parent._significance, rows)
        self.trainable = parent._layout.select(parent.trainable, rows)

    def consolidate(self, parameters: Tensor, fisher: Tensor, used: int) -> None:
        """Choose what stays frozen from now on, after a task that ended at `parameters`, both `(R·P,)`, when the tasks
        so far have had the first `used` outputs.
        """
        layers = list(zip(*map(self._layout.layers, (fisher, self._significance, self.trainable)), strict=True))
        for run, rule in enumerate(self._rules):
            if rule.kind == "none":
                continue
            for latest, kept, _ in layers:
                for new, old in zip(latest, kept, strict=True):
                    old[run] = _accumulated(old[run], new[run], rule.source)
            significance = [[tensor[run] for tensor in kept] for _, kept, _ in layers]
            scales = update_scales(significance, rule, used)
            for (_, _, trainable), chosen in zip(layers, scales, strict=True):
                for mask, scale in zip(trainable, chosen, strict=True):
                    mask[run] = torch.minimum(mask[run], scale) if rule.source == "union" else scale
        self._arm(parameters)

    def state(self) -> dict[str, Tensor]:
        """What it has learned, as buffers `(R·P,)`."""
        return {"significance": self._significance, "trainable": self.trainable}

    def load(self, state: Mapping[str, Tensor], parameters: Tensor) -> None:
        """Go on from what `state` gave, and the parameters `(R·P,)` of then."""
        self._significance, self.trainable = state["significance"], state["trainable"]
        self._arm(parameters)

    def _arm(self, parameters: Tensor) -> None:
        # What a hard mask puts back is the same before every step, and 0 where it puts back nothing.
        self._start = parameters * (1 - self.trainable)
        self._active = bool((self.trainable < 1).any())

    def remember(self, parameters: Tensor) -> None:
        """Keep the parameters as they are before a step, if a soft mask needs them."""
        if self._active and self._soft:
            self._start.copy_(parameters)

    def restore(self, parameters: Tensor) -> None:
        """Undo a step as far as the masks say, in place: on frozen parameters to the bit, on free ones not at all."""
        if self._active and self._soft:
            # Exact where the scale is 0 or 1, so hard masks are as hard beside a soft one.
            torch.lerp(self._start, parameters, self.trainable, out=parameters)
        elif self._active:
            torch.addcmul(self._start, self.trainable, parameters, out=parameters)


def _accumulated(kept: Tensor, latest: Tensor, source: str) -> Tensor:
    """Significance over the tasks so far; a union ranks by the latest alone and keeps what was frozen."""
    if source == "sum":
        return kept + latest
    if source == "max":
        return torch.maximum(kept, latest)
    return latest
