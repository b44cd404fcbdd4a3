"""Early stopping: epochs of a task end where they no longer better the score on validation samples."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cl_runner.methods.method import Method


class Standing(NamedTuple):
    """How a row stands.

    Attributes:
        score: its best so far, the larger the better.
        since: epochs since then.
        end: the number of its last epoch, as far as is known.
        best: its parameters and what its parts had learned then, by name.
    """

    score: float
    since: int
    end: int
    best: Mapping[str, Tensor]


class Stopping:
    """Ends a row's epochs once `patience` of them in a row have not bettered its score, and brings back its best one.

    Rows are trained on as long as one of the stack is. Of those whose epochs are over it no longer matters how.

    Args:
        method: of the rows, before the first epoch.
        patience: number of epochs.
        ends: how many epochs each row has at most.
        smaller: whether smaller scores are better.

    Attributes:
        ends: the number of each row's last epoch, as far as is known.
    """

    def __init__(self, method: Method, patience: int, ends: Sequence[int], *, smaller: bool) -> None:
        self.ends = list(ends)
        self._patience, self._sign = patience, -1 if smaller else 1
        self._scores, self._since = [-torch.inf] * len(ends), [0] * len(ends)
        self._best = method.copied()
        self._views = list(zip(self._best.views(), method.views(), strict=True))

    def after(self, epoch: int, scores: Tensor) -> None:
        """Take in the scores `(R,)` after an epoch, from 1."""
        better = []
        for row, score in enumerate((self._sign * scores).tolist()):
            if epoch > self.ends[row]:
                continue
            self._since[row] += 1
            if score > self._scores[row]:
                self._scores[row], self._since[row] = score, 0
                better.append(row)
            elif self._since[row] == self._patience:
                self.ends[row] = epoch
        for best, now in self._views:
            index = torch.tensor(better, dtype=torch.long, device=now.device)
            best.index_copy_(0, index, now.index_select(0, index))

    def put_back(self) -> None:
        """Bring every row back to its best epoch."""
        for best, now in self._views:
            now.copy_(best)

    def standings(self) -> list[Standing]:
        """How each row stands."""
        rows = enumerate(zip(self._scores, self._since, self.ends, strict=True))
        return [Standing(*numbers, self._best.vectors_of(row)) for row, numbers in rows]

    def restore(self, standings: Sequence[Standing]) -> None:
        """Go on from there."""
        self._scores = [standing.score for standing in standings]
        self._since = [standing.since for standing in standings]
        self.ends = [standing.end for standing in standings]
        self._best.take_up([standing.best for standing in standings])
