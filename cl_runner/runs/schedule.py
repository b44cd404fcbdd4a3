"""Which samples of a task each stream of a stack takes when.

The streams' epochs begin together. One that has fewer steps in an epoch than others waits at its end, and one that
needs fewer epochs for its steps in all waits from then on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import Batch, batches, stacked
from cl_runner.config.schema import TrainConfig


@dataclass(frozen=True)
class Order:
    """The samples of an epoch: ids `(S, n)`; `present` `(S, n)`, 1 for one that is trained on; and their batches."""

    ids: Tensor
    present: Tensor
    batches: list[Batch]


class Schedule:
    """When the streams take which samples.

    Args:
        benchmark: of the streams.
        task: that is trained, from 0.
        tasks: whose samples are taken.
        config: says how many at a time, and how long.

    Attributes:
        steps: of each stream in an epoch.
        epochs: of each stream.
    """

    def __init__(self, benchmark: Benchmark, task: int, tasks: Sequence[int], config: TrainConfig) -> None:
        self._pools = benchmark.train.samples(tasks)
        self._batches = batches([len(pool) for pool in self._pools], config.batch_size)
        columns = zip(*(batch.widths for batch in self._batches), strict=True)
        self.steps = [sum(width > 0 for width in widths) for widths in columns]
        epochs = (config.first_epochs if task == 0 else None) or config.epochs or 0
        self._in_all = [config.iterations or epochs * steps for steps in self.steps]
        self.epochs = [math.ceil(in_all / steps) for in_all, steps in zip(self._in_all, self.steps, strict=True)]

    def _taken(self, epoch: int) -> list[int]:
        """Steps of each stream in an epoch."""
        before = [(epoch - 1) * steps for steps in self.steps]
        left = [max(0, in_all - done) for in_all, done in zip(self._in_all, before, strict=True)]
        return list(map(min, self.steps, left))

    def drawn(self, epoch: int, sources: Sequence[torch.Generator], like: Tensor) -> Order:
        """The samples of an epoch, from 1, in the order that each stream's generator gives."""
        orders = [
            pool[torch.randperm(len(pool), generator=source)] for pool, source in zip(self._pools, sources, strict=True)
        ]
        ids, present = stacked(orders, self._batches[-1].columns.stop, like)
        taken = self._taken(epoch)
        if taken == self.steps:
            return Order(ids, present, self._batches)
        for stream, steps in enumerate(taken):
            for batch in self._batches[steps : steps + 1]:
                present[stream, batch.samples.start :] = 0
        found = []
        for number, batch in enumerate(self._batches[: max(taken)]):
            widths = (width * (number < steps) for width, steps in zip(batch.widths, taken, strict=True))
            found.append(replace(batch, widths=tuple(widths)))
        return Order(ids, present, found)
