"""What parts of methods promise: ours keep it, in every value of every setting, and parts that do not are caught."""

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from cl_runner.config.allowed import Choice, Range
from cl_runner.config.schema import MethodConfig
from cl_runner.methods.l1 import L1Proximal
from cl_runner.methods.mask import GradientMask
from cl_runner.methods.part import Part, Step
from cl_runner.methods.quadratic import QuadraticPenalty
from cl_runner.testing import check_part, variants


@dataclass
class Strength:
    strength: float = field(default=0.5, metadata={"allowed": Range(0, 1e6)})


class PathIntegral(Part):
    """Synaptic Intelligence (Zenke et al. 2017)."""

    Settings: ClassVar[type] = Strength

    def setup(self) -> None:
        self.strength = self.by_parameter("strength")
        self.importance, self.path = self.state.buffer("importance"), self.state.buffer("path")
        self.anchor, self.before = self.state.buffer("anchor"), self.state.buffer("before")
        self.gradient = torch.zeros_like(self.before)

    def begin(self, task: int) -> None:  # noqa: ARG002
        self.anchor.copy_(self.stack.parameters)
        self.path.zero_()

    def on_gradient(self) -> None:
        self.gradient.copy_(self.stack.gradient)
        self.before.copy_(self.stack.parameters)
        self.stack.gradient.addcmul_(self.strength * self.importance, self.stack.parameters - self.anchor, value=2)

    def on_update(self) -> None:
        self.path.addcmul_(self.gradient, self.before - self.stack.parameters)

    def end(self, task: int, fisher: Tensor, used: int) -> None:  # noqa: ARG002
        drift = self.stack.parameters - self.anchor
        self.importance += self.path.clamp(min=0) / (drift.square() + 0.1)


class TooCoarse(PathIntegral):
    """Says that its first task is like any other's, in which it has learned already."""

    @classmethod
    def history(cls, settings: Any, task: int) -> Hashable:
        return settings.strength if task else None


class LateEnough(PathIntegral):
    """Says rightly that the strength makes no difference in the first task."""

    @classmethod
    def history(cls, settings: Any, task: int) -> Hashable:
        return settings.strength if task else "path"


class Forgetful(PathIntegral):
    """Keeps what it has learned beside its state."""

    def setup(self) -> None:
        super().setup()
        self.path = torch.zeros_like(self.path)


class Rebinding(PathIntegral):
    """Puts another tensor in the place of one of its state."""

    def end(self, task: int, fisher: Tensor, used: int) -> None:
        before = self.importance
        super().end(task, fisher, used)
        self.importance = before + 0


class Moving(PathIntegral):
    """Makes a tensor of its steps anew."""

    def on_gradient(self) -> None:
        super().on_gradient()
        self.gradient = self.stack.gradient.clone()


class Nosy(PathIntegral):
    """Pulls towards the mean over all rows."""

    def on_gradient(self) -> None:
        super().on_gradient()
        weight, gradient = (
            self.stack.layout.layers(buffer)[0][0] for buffer in (self.stack.parameters, self.stack.gradient)
        )
        gradient += (weight - weight.mean(0)) * self.by_row("strength").sign()[:, None, None]


class Meddling(PathIntegral):
    """Acts on rows that do not have it."""

    def on_update(self) -> None:
        super().on_update()
        self.stack.parameters.mul_(0.99)


class Waiting(PathIntegral):
    """Asks for a value in each step."""

    def on_update(self) -> None:
        if self.gradient.abs().sum() > 0:
            super().on_update()


class Masking(PathIntegral):
    """Indexes by a tensor of true and false."""

    def on_update(self) -> None:
        super().on_update()
        self.gradient[self.gradient < 0] = 0


class Asking(PathIntegral):
    """Asks for a number."""

    def on_gradient(self) -> None:
        super().on_gradient()
        self.gradient.mul_(self.gradient.max().item())


class Drawing(PathIntegral):
    """Draws random numbers."""

    def on_update(self) -> None:
        super().on_update()
        self.path.add_(torch.randn_like(self.path))


class Smoothed(Part):
    """Pulls the outputs towards zero, by signal and loss."""

    Settings: ClassVar[type] = Strength

    def setup(self) -> None:
        self.strength = self.by_row("strength")

    def on_outputs(self, step: Step) -> None:
        finite = torch.where(step.outputs.isinf(), 0, step.outputs)
        step.losses.add_(0.5 * self.strength[:, None] * finite.square().sum(1))
        step.signal.addcmul_(self.strength[:, None, None], finite)


@pytest.mark.parametrize("kind", [PathIntegral, LateEnough, Smoothed])
def test_parts_of_ones_own_keep_the_contract(kind: type[Part]) -> None:
    assert len(check_part(kind, {"strength": 0.5}, {"strength": 2.0})) == 8


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (TooCoarse, "after task 1 differs in a row shared with others: part."),
        (Forgetful, "stopped and taken up differs in task 2, epoch 1, step 0: part.importance"),
        (Rebinding, "stopped and taken up differs in task 3, epoch 1, step 0: "),
        (Moving, "gradient moves in memory between steps"),
        (Nosy, "after task 1 differs beside others in a stack: parameters"),
        (Meddling, "without the part, permuted, fisher.estimator=exact, seed=0: after task 1 differs beside others"),
        (Waiting, "on_update waits for the device (bool)"),
        (Masking, "on_update waits for the device (an index of true and false)"),
        (Asking, "on_gradient waits for the device (item)"),
        (Drawing, "and it must draw no random numbers"),
    ],
)
def test_parts_that_break_it_are_caught(kind: type[Part], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_part(kind, {"strength": 0.5}, {"strength": 2.0})
    assert words in str(caught.value)


def every(name: str) -> list[Any]:
    """The values of a setting of methods."""
    (item,) = (item for item in fields(MethodConfig) if item.name == name)
    allowed = item.metadata.get("allowed")
    if isinstance(allowed, Choice):
        return list(allowed.options)
    if isinstance(allowed, Range):
        return [allowed.low, 0.3, min(1.0, allowed.high)]
    return [True, False]


def changed(base: dict[str, Any], names: dict[str, str]) -> list[dict[str, Any]]:
    """`base`, and it with each setting at each of its values; `names` are those of the method's settings."""
    found = [base]
    for own, name in names.items():
        found += [{**base, own: value} for value in every(name) if value != "none"]
    return [one for number, one in enumerate(found) if one not in found[:number]]


def test_penalties_keep_the_contract() -> None:
    base: dict[str, Any] = {"kind": "online_ewc", "strength": 30.0, "update": "sum", "gamma": 0.5, "alpha": 0.5}
    names = {"kind": "penalty", "update": "update", "gamma": "gamma", "strength": "ewc_lambda"}
    settings = changed(base, names) + changed({**base, "update": "average"}, {"alpha": "alpha"})
    check_part(QuadraticPenalty, *settings)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", every("mask")[1:])
def test_masks_keep_the_contract(kind: str, soft: bool) -> None:
    base: dict[str, Any] = {
        "kind": kind,
        "fraction": 0.5,
        "source": "sum",
        "unit": "parameter",
        "soft": soft,
        "unused": "free",
    }
    names = {"source": "mask_source", "unit": "unit", "unused": "unused"}
    check_part(GradientMask, *changed(base, names), {**base, "fraction": 0.0}, {**base, "fraction": 1.0})


def test_l1_sparsity_keeps_the_contract() -> None:
    check_part(L1Proximal, {"strength": 0.1, "learning_rate": 0.01}, {"strength": 1.0, "learning_rate": 0.01})


def test_variants_take_every_value() -> None:
    @dataclass
    class Settings:
        kind: str = field(default="a", metadata={"allowed": Choice(("a", "b"))})
        share: float = field(default=0.1, metadata={"allowed": Range(0, 1, open_low=True)})
        fast: bool = True
        size: int = field(default=3, metadata={"allowed": Range(1, 9)})
        rate: float = 0.5

    class Kind(Part):
        pass

    Kind.Settings = Settings
    base: dict[str, Any] = {"kind": "a", "share": 0.1, "fast": True, "size": 3, "rate": 0.5}
    others: list[dict[str, Any]] = [
        {"kind": "b"},
        {"share": 1.0},
        {"share": 0.5},
        {"fast": False},
        {"size": 1},
        {"size": 9},
        {"rate": 1.0},
    ]
    assert variants(Kind) == [base, *({**base, **other} for other in others)]
