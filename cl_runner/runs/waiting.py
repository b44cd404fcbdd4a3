"""Rows that a step passes over."""

from collections.abc import Sequence

import torch

from cl_runner.methods.method import Method


class Waiting:
    """Keeps rows as they are, their parameters and what the parts of their methods have learned.

    Args:
        method: of the rows.
        rows: that wait.
    """

    def __init__(self, method: Method, rows: Sequence[int]) -> None:
        self.rows = frozenset(rows)
        self._views = method.views() if rows else []
        self._index = torch.tensor(rows, dtype=torch.long, device=method.stack.parameters.device)
        self._kept = [view.index_select(0, self._index) for view in self._views]

    def put_back(self) -> None:
        """Undo what a step has done to them."""
        for view, kept in zip(self._views, self._kept, strict=True):
            view.index_copy_(0, self._index, kept)
