"""A method: up to three parts that each keep old tasks in their own way, and compose.

========================  =============================  ==================================================
part                      acts                           module
========================  =============================  ==================================================
quadratic penalty (EWC)   on the gradient                `cl_runner.methods.quadratic`
L1 proximal step          after the optimiser's step     `cl_runner.methods.l1`
gradient mask             last, on the whole update      `cl_runner.methods.mask`
========================  =============================  ==================================================

A stack can hold runs of different methods: each part has settings by run, and a part that no run uses is
left out. What differs between methods shows late: before the first Fisher information there is no penalty and no
mask. `history` tells which runs are still the same, so that they are trained as one.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, astuple

import torch
from torch import Tensor

from cl_runner.config.schema import Config
from cl_runner.engine.network import Network
from cl_runner.methods.l1 import L1Proximal
from cl_runner.methods.mask import GradientMask, MaskRule
from cl_runner.methods.quadratic import PenaltyRule, QuadraticPenalty


def history(config: Config, task: int) -> Hashable:
    """What a network depends on up to and including its training on `task` (from 0), in runs that differ in seed and
    method alone: where two configs agree in it, so do the networks.

    The first task knows no penalty and no mask. While the second is trained, both come from one task: EWC is online
    EWC then, however that is updated, and every source of significance is that task. Settings that are not named here
    always count.
    """
    method = config.method
    penalised = task > 0 and method.penalty != "none" and method.ewc_lambda > 0
    masked = task > 0 and mask_rule(config).active
    significant = masked or (penalised and method.penalty != "l2")
    idle = {"name"}
    if not penalised:
        idle |= {"penalty", "ewc_lambda"}
    if not masked:
        idle |= {"mask", "mask_source", "unit", "soft"}
    if not masked or config.freeze == 0 or config.benchmark.scenario == "domain":
        idle |= {"unused"}
    if task == 1:
        idle |= {"mask_source"} if method.penalty == "l2" else {"penalty", "mask_source"}
    if task == 1 or not penalised or method.penalty != "online_ewc":
        idle |= {"update", "gamma", "alpha"}
    idle |= {"gamma"} if method.update == "average" else {"alpha"}
    settings = tuple((name, value) for name, value in asdict(method).items() if name not in idle)
    fisher = astuple(config.fisher) if significant else None
    return config.seed, config.freeze if masked else None, fisher, settings


def mask_rule(config: Config) -> MaskRule:
    """How a run's mask is made."""
    method = config.method
    return MaskRule(method.mask, config.freeze, method.mask_source, method.unit, method.soft, method.unused)


class Method:
    """The methods of a stack's runs.

    Args:
        stack: the networks.
        configs: one for each run; the optimiser's settings are common to all.
    """

    def __init__(self, stack: Network, configs: Sequence[Config]) -> None:
        settings = [config.method for config in configs]
        like = stack.parameters
        rules = [PenaltyRule(item.penalty, item.ewc_lambda, item.update, item.gamma, item.alpha) for item in settings]
        sparsity = like.new_tensor([item.l1_lambda for item in settings])
        self._penalty, self._sparsity, self._mask = None, None, None
        if any(rule.kind != "none" and rule.strength > 0 for rule in rules):
            self._penalty = QuadraticPenalty(stack.layout, rules, like)
        if sparsity.any():
            self._sparsity = L1Proximal(stack.layout, sparsity, configs[0].train.learning_rate)
        if any(item.mask != "none" for item in settings):
            self._mask = GradientMask(stack.layout, [mask_rule(config) for config in configs], stack.parameters)
        self._stack = stack

    def fan_out(self, stack: Network, configs: Sequence[Config], rows: Sequence[int]) -> "Method":
        """The methods of a stack whose runs, of these configs, go on from this one's `rows`."""
        method = Method(stack, configs)
        if method._penalty is not None and self._penalty is not None:
            method._penalty.inherit(self._penalty, rows)
        if method._mask is not None and self._mask is not None:
            method._mask.inherit(self._mask, rows)
        return method

    def state(self) -> dict[str, Tensor]:
        """What its parts have learned, as buffers `(R·P,)` by name; `constants` and `consolidated` belong to it."""
        parts = {"penalty": self._penalty, "mask": self._mask}
        return {
            f"{part}.{name}": buffer
            for part, found in parts.items()
            if found is not None
            for name, buffer in found.state().items()
        }

    @property
    def constants(self) -> Tensor:
        """Constant of each run's penalty, `(R,)`."""
        if self._penalty is None:
            return self._stack.parameters.new_zeros(self._stack.layout.runs)
        return self._penalty.constant

    @property
    def consolidated(self) -> int:
        """Number of tasks in the penalty."""
        return 0 if self._penalty is None else self._penalty.tasks

    def load(self, state: Mapping[str, Tensor], constants: Tensor, consolidated: int) -> None:
        """Go on from what `state` gave; what it lacks stays as new."""
        parts = {"penalty": self._penalty, "mask": self._mask}
        of = {part: {n.partition(".")[2]: b for n, b in state.items() if n.startswith(f"{part}.")} for part in parts}
        if self._penalty is not None and of["penalty"]:
            self._penalty.load(of["penalty"], constants, consolidated)
        if self._mask is not None and of["mask"]:
            self._mask.load(of["mask"], self._stack.parameters)

    def before_step(self) -> None:
        """Add the penalty's gradient to the stack's, and remember what a soft mask goes back towards."""
        if self._penalty is not None:
            self._penalty.add_gradient(self._stack.parameters, self._stack.gradient)
        if self._mask is not None:
            self._mask.remember(self._stack.parameters)

    def after_step(self) -> None:
        """Shrink the weights, then undo the step as far as the mask says."""
        if self._sparsity is not None:
            self._sparsity.step(self._stack.parameters)
        if self._mask is not None:
            self._mask.restore(self._stack.parameters)

    def consolidate(self, fisher: Tensor, used: int) -> None:
        """After a task: take its Fisher diagonal `(R·P,)` into the penalty and the mask.

        Args:
            fisher: of the task.
            used: how many outputs, the first ones, the tasks so far have had.
        """
        if self._penalty is not None:
            self._penalty.consolidate(self._stack.parameters, fisher, used)
        if self._mask is not None:
            self._mask.consolidate(self._stack.parameters, fisher, used)

    def terms(self) -> tuple[Tensor, Tensor]:
        """Penalty and L1 term of each run's loss as the parameters stand, `(R,)` each."""
        none = self._stack.parameters.new_zeros(self._stack.layout.runs)
        penalty = none if self._penalty is None else self._penalty.value(self._stack.parameters)
        return penalty, none if self._sparsity is None else self._sparsity.value(self._stack.parameters)

    @property
    def trainable(self) -> Tensor:
        """1 for a trainable parameter, 0 for a frozen one, between them under a soft mask, `(R·P,)`."""
        return torch.ones_like(self._stack.parameters) if self._mask is None else self._mask.trainable
