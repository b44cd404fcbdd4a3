"""Testing a stack of networks on one task."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import filled, stacked, total, widths
from cl_runner.engine.network import Network
from cl_runner.runs.outputs import outputs_on

# Elements of a network's largest tensor in a chunk: bounds memory.
_CHUNK = 2**18


@dataclass(frozen=True)
class Score:
    """Over a test set: mean score (accuracy from 0 to 1, or squared error), mean loss in nats and number of samples,
    `(R,)` each."""

    score: Tensor
    loss: Tensor
    samples: Tensor


def evaluate(stack: Network, benchmark: Benchmark, task: int, seen: int) -> Score:
    """Test on the test set of `task` after `seen` tasks were trained."""
    orders = benchmark.test.samples([task])
    size = filled(_CHUNK // max(math.prod(benchmark.input_shape), stack.widest()))
    sizes = widths(max(len(order) for order in orders), size)
    every_id, every_present = stacked(orders, sum(sizes), stack.parameters)
    score = loss = stack.parameters.new_zeros(stack.layout.rows)
    for ids, present in zip(every_id.split(sizes, 1), every_present.split(sizes, 1), strict=True):
        _, outputs = outputs_on(stack, benchmark.test, ids, [task], seen)
        labels, present = stack.per_row(benchmark.test.labels_of(ids)), stack.per_row(present)
        score = score + total(benchmark.likelihood.score(outputs, labels), present)
        loss = loss + total(benchmark.likelihood.loss_and_signal(outputs, labels)[0], present)
    samples = stack.per_row(torch.tensor([len(order) for order in orders]).to(every_id.device)).cpu()
    return Score(score.cpu().double() / samples, loss.cpu().double() / samples, samples)
