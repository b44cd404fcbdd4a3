"""The quadratic penalties, EWC and L2, kept as one quadratic function however many tasks it sums up."""

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from cl_runner.methods.part import PENALTY, Part
from cl_runner.methods.settings import PenaltySettings


class QuadraticPenalty(Part):
    """Penalty ½ Σ_i A_i (θ_i − m_i)² + c of each run, with precision A, centre m and constant c.

    EWC (Kirkpatrick et al. 2017, eq. 3) sums λ/2 · F_ki (θ_i − θ*_ki)² over past tasks k. A sum of quadratics is
    a quadratic, with A = Σ_k λF_k and A·m = Σ_k λF_k θ*_k: the same function, at a cost that does not grow with
    the number of tasks. Keeping m and c instead of A·m loses no digits where θ is close to m. L2 is the same with
    F = 1 (ibid., figure 2).

    Online EWC keeps m = θ*, the latest parameters, and of the Fisher information

    =========  ===============================================================================================
    `sum`      A ← γA + λF (Schwarz et al. 2018, section 4)
    `average`  A ← αA + (1 − α)λF, a moving average; after the first task A = λF
    =========  ===============================================================================================
    """

    Settings: ClassVar[type] = PenaltySettings
    order = PENALTY

    @classmethod
    def history(cls, settings: PenaltySettings, task: int) -> Hashable:
        """The first task knows no penalty; while the second is trained it comes from one task, and EWC is online EWC,
        however that is updated.
        """
        if task == 0:
            return None
        if task == 1:
            return settings.kind == "l2", settings.strength
        return settings

    @classmethod
    def uses_fisher(cls, settings: PenaltySettings) -> bool:
        """Of L2 it is 1."""
        return settings.kind != "l2"

    @classmethod
    def describe(cls, settings: PenaltySettings) -> str:
        """`λ=10`."""
        return f"λ={settings.strength:g}"

    def setup(self) -> None:
        """No task is in it yet."""
        known = [settings or PenaltySettings("none", 0.0) for settings in self.settings]
        online = [settings.kind == "online_ewc" for settings in known]
        average = [settings.update == "average" for settings in known]
        kept = [
            settings.alpha if is_average else settings.gamma
            for is_average, settings in zip(average, known, strict=True)
        ]
        added = [1 - settings.alpha if is_average else 1.0 for is_average, settings in zip(average, known, strict=True)]
        uniform = [settings.kind == "l2" for settings in known]
        layout, like = self.stack.layout, self.stack.parameters
        self._strength = self.by_parameter("strength")
        self._kept, self._added = layout.spread(like.new_tensor(kept)), layout.spread(like.new_tensor(added))
        self._online, self._uniform = (
            layout.spread(torch.tensor(flags, device=like.device)) for flags in (online, uniform)
        )
        self.precision, self.centre = self.state.buffer("precision"), self.state.buffer("centre")
        self.constant = self.state.rows("constant")

    def end(self, task: int, fisher: Tensor, used: int) -> None:
        """Add the task. L2 does not hold outputs of tasks to come where they were drawn."""
        parameters, layout = self.stack.parameters, self.stack.layout
        weight = torch.where(self._uniform, 1.0, fisher)
        for tensor in layout.layers(weight)[-1]:
            tensor[:, used:] = 0
        added, kept = self._strength * weight, self._kept * self.precision
        if task > 0:
            added *= self._added
        precision = kept + added
        share = torch.where(self._online | (precision == 0), 1.0, added / precision)
        offset = parameters - self.centre
        # What is left when both quadratics are at their common minimum; online EWC forgets it.
        left = torch.where(self._online, 0.0, kept * share * offset.square())
        self.constant += 0.5 * layout.totals(left)
        # Exact where the share is 1, so that the latest parameters are not pulled by a rounding, which Adam blows up.
        self.centre.lerp_(parameters, share)
        self.precision.copy_(precision)

    def on_gradient(self) -> None:
        """Add A (θ − m)."""
        self.stack.gradient.addcmul_(self.precision, self.stack.parameters - self.centre)

    def value(self) -> Tensor:
        """The penalty."""
        quadratic = self.precision * (self.stack.parameters - self.centre).square()
        return 0.5 * self.stack.layout.totals(quadratic) + self.constant
