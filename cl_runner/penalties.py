"""The quadratic penalty of EWC, kept as one quadratic function however many tasks it sums up."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_runner.stack import Layout


class QuadraticPenalty:
    """Penalty ½ Σ_i A_i (θ_i − m_i)² + c of each run, with precision A, centre m and constant c.

    EWC (Kirkpatrick et al. 2017, eq. 3) sums λ/2 · F_ki (θ_i − θ*_ki)² over past tasks k. A sum of quadratics is
    a quadratic, with A = Σ_k λF_k and A·m = Σ_k λF_k θ*_k: the same function, at a cost that does not grow with
    the number of tasks. Keeping m and c instead of A·m loses no digits where θ is close to m.

    Online EWC (Schwarz et al. 2018, section 4) has A ← γA + λF and m ← θ*, the latest parameters.

    Args:
        layout: of all buffers `(R·P,)`.
        strength: λ of each run, `(R,)`.
        online: which runs are online EWC, bool `(R,)`.
        decay: γ of each run, used by online EWC, `(R,)`.
    """

    def __init__(self, layout: Layout, strength: Tensor, online: Tensor, decay: Tensor) -> None:
        self._layout = layout
        self._strength = layout.spread(strength)
        self._online = layout.spread(online)
        self._decay = layout.spread(torch.where(online, decay, 1.0))
        self.precision = torch.zeros_like(self._strength)
        self.centre = torch.zeros_like(self._strength)
        self.constant = torch.zeros_like(strength)

    def inherit(self, parent: "QuadraticPenalty", rows: Sequence[int]) -> None:
        """Start from the penalties that `parent` has for the runs `rows`, which may repeat."""
        self.precision = parent._layout.select(parent.precision, rows)
        self.centre = parent._layout.select(parent.centre, rows)
        self.constant = parent.constant[list(rows)]

    def consolidate(self, parameters: Tensor, fisher: Tensor) -> None:
        """Add the task that ended at `parameters` with Fisher diagonal `fisher`, both `(R·P,)`."""
        added, kept = self._strength * fisher, self._decay * self.precision
        precision = kept + added
        share = torch.where(self._online | (precision == 0), 1.0, added / precision)
        offset = parameters - self.centre
        # What is left when both quadratics are at their common minimum; online EWC forgets it.
        left = torch.where(self._online, 0.0, kept * share * offset.square())
        self.constant += 0.5 * self._layout.totals(left)
        self.centre += share * offset
        self.precision = precision

    def add_gradient(self, parameters: Tensor, gradient: Tensor) -> None:
        """Add A (θ − m) to `gradient`, in place."""
        gradient.addcmul_(self.precision, parameters - self.centre)

    def value(self, parameters: Tensor) -> Tensor:
        """The penalty of each run, `(R,)`, in the units of the loss (nats)."""
        quadratic = self.precision * (parameters - self.centre).square()
        return 0.5 * self._layout.totals(quadratic) + self.constant
