"""What a run's method is composed of: the parts that act in it, each with its own settings.

This is the one place that says whether a setting of a method does anything: a part that would do nothing is not there.
Nothing here imports torch.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from cl_runner.config.schema import Config

_PENALTY = "cl_runner.methods.quadratic.QuadraticPenalty"
_L1 = "cl_runner.methods.l1.L1Proximal"
_MASK = "cl_runner.methods.mask.GradientMask"
# Their names, which parts of one's own cannot have.
OWN = ("penalty", "l1", "mask")


@dataclass(frozen=True)
class PenaltySettings:
    """Of a quadratic penalty: see `MethodConfig`; `strength` is λ."""

    kind: str
    strength: float
    update: str = "sum"
    gamma: float = 1.0
    alpha: float = 0.5


@dataclass(frozen=True)
class L1Settings:
    """Of L1 sparsity: λ₁, and what the learning rate of a task is made of, by which a step's threshold is
    learning rate · λ₁."""

    strength: float
    learning_rate: float
    task_decay: float = 1.0


@dataclass(frozen=True)
class MaskSettings:
    """Of a mask: see `MethodConfig`; `fraction` is the config's `freeze`."""

    kind: str
    fraction: float
    source: str
    unit: str
    soft: bool
    unused: str


class Choice(NamedTuple):
    """A part by the dotted name of its class, and its settings; a mapping where the class is not ours."""

    target: str
    settings: Any


def parts_of(config: Config) -> dict[str, Choice]:
    """The parts that act in a run, by name."""
    method = config.method
    found = dict[str, Choice]()
    if method.penalty != "none" and method.ewc_lambda > 0:
        # What is not used is as by default, so that it makes no difference.
        online = method.penalty == "online_ewc"
        update = method.update if online else "sum"
        found["penalty"] = Choice(
            _PENALTY,
            PenaltySettings(
                method.penalty,
                method.ewc_lambda,
                update,
                method.gamma if online and update == "sum" else 1.0,
                method.alpha if update == "average" else 0.5,
            ),
        )
    if method.l1_lambda > 0:
        found["l1"] = Choice(_L1, L1Settings(method.l1_lambda, config.train.learning_rate, config.train.task_decay))
    if mask := mask_of(config):
        found["mask"] = Choice(_MASK, mask)
    for name, given in method.parts.items():
        found[name] = Choice(given["_target_"], {key: value for key, value in given.items() if key != "_target_"})
    return found


def mask_of(config: Config) -> MaskSettings | None:
    """The mask of a run, None if it freezes nothing."""
    method = config.method
    if method.mask == "none" or (config.freeze == 0 and not method.soft):
        return None
    # With all outputs in use from the first task on there is none to count or not; nor without a fraction: a soft
    # mask's threshold is the largest significance then, which an output out of use does not have.
    every_output = config.benchmark.scenario == "domain" or config.freeze == 0
    unused = "counted" if every_output else method.unused
    return MaskSettings(method.mask, config.freeze, method.mask_source, method.unit, method.soft, unused)
