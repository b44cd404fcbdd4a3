"""The quadratic penalties, EWC and L2, kept as one quadratic function however many tasks it sums up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_runner.engine.network import Layout


@dataclass(frozen=True)
class PenaltyRule:
    """How one run is penalised: see `MethodConfig`; `kind` "none" never is. `strength` is λ."""

    kind: str
    strength: float
    update: str = "sum"
    gamma: float = 1.0
    alpha: float = 0.5


class QuadraticPenalty:
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

    Args:
        layout: of all buffers `(R·P,)`.
        rules: one for each run.
        like: a tensor of the device and dtype.
    """

    def __init__(self, layout: Layout, rules: Sequence[PenaltyRule], like: Tensor) -> None:
        self._layout = layout
        online = [rule.kind == "online_ewc" for rule in rules]
        average = [is_online and rule.update == "average" for is_online, rule in zip(online, rules, strict=True)]
        kept = [
            (rule.alpha if is_average else rule.gamma) if is_online else 1.0
            for is_average, is_online, rule in zip(average, online, rules, strict=True)
        ]
        strength = like.new_tensor([rule.strength if rule.kind != "none" else 0.0 for rule in rules])
        added = [1 - rule.alpha if is_average else 1.0 for is_average, rule in zip(average, rules, strict=True)]
        self._strength = layout.spread(strength)
        self._kept, self._added = layout.spread(like.new_tensor(kept)), layout.spread(like.new_tensor(added))
        uniform = [rule.kind == "l2" for rule in rules]
        self._online, self._uniform = (
            layout.spread(torch.tensor(flags, device=like.device)) for flags in (online, uniform)
        )
        self.precision = torch.zeros_like(self._strength)
        self.centre = torch.zeros_like(self._strength)
        self.constant = torch.zeros_like(strength)
        self.tasks = 0

    def inherit(self, parent: "QuadraticPenalty", rows: Sequence[int]) -> None:
        """Start from the penalties that `parent` has for the runs `rows`, which may repeat."""
        self.precision = parent._layout.select(parent.precision, rows)
        self.centre = parent._layout.select(parent.centre, rows)
        self.constant = parent.constant[list(rows)]
        self.tasks = parent.tasks

    def state(self) -> dict[str, Tensor]:
        """What it has learned, as buffers `(R·P,)`; `constant` and `tasks` belong to it."""
        return {"precision": self.precision, "centre": self.centre}

    def load(self, state: Mapping[str, Tensor], constant: Tensor, tasks: int) -> None:
        """Go on from what `state` gave, with the constants `(R,)` and the number of tasks."""
        self.precision, self.centre = state["precision"], state["centre"]
        self.constant, self.tasks = constant.to(self.constant), tasks

    def consolidate(self, parameters: Tensor, fisher: Tensor, used: int) -> None:
        """Add the task that ended at `parameters` with Fisher diagonal `fisher`, both `(R·P,)`, when the tasks so far
        have had the first `used` outputs: L2 does not hold the others where they were drawn.
        """
        weight = torch.where(self._uniform, 1.0, fisher)
        for part in self._layout.layers(weight)[-1]:
            part[:, used:] = 0
        added, kept = self._strength * weight, self._kept * self.precision
        if self.tasks:
            added *= self._added
        self.tasks += 1
        precision = kept + added
        share = torch.where(self._online | (precision == 0), 1.0, added / precision)
        offset = parameters - self.centre
        # What is left when both quadratics are at their common minimum; online EWC forgets it.
        left = torch.where(self._online, 0.0, kept * share * offset.square())
        self.constant += 0.5 * self._layout.totals(left)
        # Exact where the share is 1, so that the latest parameters are not pulled by a rounding, which Adam blows up.
        self.centre = torch.lerp(self.centre, parameters, share)
        self.precision = precision

    def add_gradient(self, parameters: Tensor, gradient: Tensor) -> None:
        """Add A (θ − m) to `gradient`, in place."""
        gradient.addcmul_(self.precision, parameters - self.centre)

    def value(self, parameters: Tensor) -> Tensor:
        """The penalty of each run, `(R,)`, in the units of the loss (nats)."""
        quadratic = self.precision * (parameters - self.centre).square()
        return 0.5 * self._layout.totals(quadratic) + self.constant
