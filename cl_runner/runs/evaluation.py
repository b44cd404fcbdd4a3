"""Testing a stack of networks on one task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import batches, filled, stacked, total
from cl_runner.benchmarks.splits import Split
from cl_runner.engine.apart import apart
from cl_runner.engine.network import Network
from cl_runner.runs.outputs import outputs_on

# Elements of a network's largest tensor in a chunk: bounds memory.
_CHUNK = 2**18


@dataclass(frozen=True)
class Score:
    """Over a task's samples: mean score (accuracy from 0 to 1, or squared error), mean loss in nats and number of
    samples, `(R,)` each."""

    score: Tensor
    loss: Tensor
    samples: Tensor


@dataclass(frozen=True)
class Scores:
    """On some tasks, in order: over their test samples, and over their validation samples if there are such."""

    test: Sequence[Score]
    validation: Sequence[Score] | None

    def first(self, tasks: int) -> "Scores":
        """Those on the first so many tasks."""
        return Scores(self.test[:tasks], self.validation and self.validation[:tasks])


def evaluate(stack: Network, benchmark: Benchmark, tasks: Sequence[int], seen: int) -> Scores:
    """Test on `tasks` after `seen` tasks were trained."""

    def on(split: Split) -> list[Score]:
        return [_evaluated(stack, benchmark, split, task, seen) for task in tasks]

    return Scores(on(benchmark.test), on(benchmark.validation) if benchmark.validation else None)


def validation_scores(stack: Network, benchmark: Benchmark, tasks: Sequence[int], seen: int) -> Tensor:
    """Mean score over the validation samples of these tasks, `(R,)`."""
    assert benchmark.validation, "there are such samples"
    found = [_evaluated(stack, benchmark, benchmark.validation, task, seen) for task in tasks]
    return torch.stack([of.score * of.samples for of in found]).sum(0) / torch.stack([of.samples for of in found]).sum(
        0
    )


def _evaluated(stack: Network, benchmark: Benchmark, split: Split, task: int, seen: int) -> Score:
    orders = split.samples([task])
    size = filled(_CHUNK // max(math.prod(benchmark.input_shape), stack.widest()))
    found = batches([len(order) for order in orders], size)
    every_id, every_present = stacked(orders, found[-1].columns.stop, stack.parameters)
    score = loss = stack.parameters.new_zeros(stack.layout.rows)
    for batch in found:
        ids = every_id[:, batch.columns]
        _, outputs = outputs_on(apart(stack, batch.widths), split, ids, [task], seen)
        labels, present = stack.per_row(split.labels_of(ids)), stack.per_row(batch.own(every_present))
        score = score + total(benchmark.likelihood.score(outputs, labels), present)
        loss = loss + total(benchmark.likelihood.loss_and_signal(outputs, labels)[0], present)
    samples = stack.per_row(torch.tensor([len(order) for order in orders]).to(every_id.device)).cpu()
    return Score(score.cpu().double() / samples, loss.cpu().double() / samples, samples)
