"""Rows that a step passes over."""

from collections.abc import Sequence

import torch

from cl_runner.engine.network import Network
from cl_runner.methods.method import Method


class Waiting:
    """Keeps rows as they are, their parameters and what the parts of their methods have learned.

    Args:
        stack, method: the runs.
        rows: that wait.
    """

    def __init__(self, stack: Network, method: Method, rows: Sequence[int]) -> None:
        self.rows = frozenset(rows)
        self._index = torch.tensor(rows, dtype=torch.long, device=stack.parameters.device)
        self._views = [*stack.layout.stacked(stack.parameters).values(), *method.views()] if rows else []
        self._kept = [view.index_select(0, self._index) for view in self._views]

    def put_back(self) -> None:
        """Undo what a step has done to them."""
        for view, kept in zip(self._views, self._kept, strict=True):
            view.index_copy_(0, self._index, kept)
