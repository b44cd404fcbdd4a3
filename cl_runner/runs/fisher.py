"""The diagonal of the Fisher information matrix: how significant each parameter is for a task.

It is the mean over samples of squared gradients. The estimators differ in whose labels these are of:

======================  ======================================================================================
`exact`                 E over x, and over y under the model: Σ_c p(c|x) (∂ log p(c|x) / ∂θ)²
`sampled`               one y per x drawn from the model: `exact` in expectation, with noise
`empirical`             the true label of x (Kunstner et al. 2019, arXiv 1905.12558, on what that loses)
`batched`               squared mean gradient of a batch of B samples with true labels, mean over batches. What
                        many repositories compute; it is biased: with g the mean and s² the variance of a
                        parameter's per-sample gradients, it estimates g² + s²/B where `empirical` gives g² + s².
======================  ======================================================================================
"""

from collections.abc import Sequence
from dataclasses import astuple, replace

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import batches, filled, stacked
from cl_runner.config.schema import FisherConfig
from cl_runner.engine.apart import apart, of_samples
from cl_runner.engine.network import Layout, Network
from cl_runner.engine.seeding import generator
from cl_runner.runs.outputs import outputs_on

# Elements of a network's largest tensor in a chunk: bounds memory, and keeps it within the processor's cache.
_CHUNK = 2**17


def fisher_diagonal(stack: Network, benchmark: Benchmark, task: int, config: FisherConfig) -> Tensor:
    """Mean over the task's training samples of the squared derivatives of log p by each parameter.

    Args:
        stack: the networks, at the parameters where the information is wanted.
        benchmark: gives samples and likelihood.
        task: whose training set is used; its active outputs alone count.
        config: the estimator and how many samples it takes; the runs' seeds fix a subset of samples and the labels
            drawn by `sampled`.

    Returns:
        A buffer of the stack's layout, `(R·P,)`.
    """
    sources = [generator(seed, "fisher", task) for seed in stack.streams]
    orders = [
        ids if config.samples is None else ids[torch.randperm(len(ids), generator=source)[: config.samples]]
        for ids, source in zip(benchmark.train.samples([task]), sources, strict=True)
    ]
    total = torch.zeros_like(stack.parameters)
    if config.estimator == "batched":
        counts = _add_batched(total, stack, benchmark, task, orders, config.batch_size)
    else:
        _add_per_sample(total, stack, benchmark, task, orders, config.estimator, sources)
        counts = torch.tensor([float(len(order)) for order in orders])
    return total.div_(stack.layout.spread(stack.per_row(counts.to(total))))


def fisher_diagonals(
    stack: Network, benchmark: Benchmark, task: int, wanted: Sequence[tuple[int, FisherConfig]]
) -> tuple[Layout, Tensor, list[int]]:
    """`fisher_diagonal` of several networks by several estimators, each pair computed once.

    Args:
        stack, benchmark, task: as there.
        wanted: pairs of a row of the stack and an estimator.

    Returns:
        A layout, a buffer of it, and for each pair wanted the row that holds it.
    """
    parts: list[tuple[Layout, Tensor]] = []
    position: dict[tuple[int, object], int] = {}
    for key, config in {astuple(config): config for _, config in wanted}.items():
        rows = sorted({row for row, other in wanted if astuple(other) == key})
        needed = stack if len(rows) == stack.layout.rows else stack.fan_out(rows, [stack.seeds[row] for row in rows])
        parts.append((needed.layout, fisher_diagonal(needed, benchmark.of_streams(needed.streams), task, config)))
        position |= {(row, key): len(position) + number for number, row in enumerate(rows)}
    layout = replace(stack.layout, rows=len(position))
    buffer = parts[0][1] if len(parts) == 1 else layout.joined(parts)
    return layout, buffer, [position[row, astuple(config)] for row, config in wanted]


def _add_per_sample(
    total: Tensor,
    stack: Network,
    benchmark: Benchmark,
    task: int,
    orders: Sequence[Tensor],
    estimator: str,
    sources: Sequence[torch.Generator],
) -> None:
    likelihood = benchmark.likelihood
    active = benchmark.active_outputs(task, task + 1)
    several = likelihood.rank(active) if estimator == "exact" else 1
    size = filled(_CHUNK // stack.widest(several))
    draws = [torch.rand(len(order), generator=source) for order, source in zip(orders, sources, strict=True)]
    found = batches([len(order) for order in orders], size)
    columns = found[-1].columns.stop
    (every_id, every_present), (uniforms, _) = stacked(orders, columns, total), stacked(draws, columns, total)
    for batch in found:
        ids, uniform, present = every_id[:, batch.columns], uniforms[:, batch.columns], batch.own(every_present)
        networks = apart(stack, batch.widths)
        forward, outputs = outputs_on(networks, benchmark.train, ids, [task], task + 1)
        if estimator == "exact":
            signal = likelihood.expected_signals(outputs, active)
        elif estimator == "sampled":
            drawn = likelihood.draw(outputs, stack.per_row(uniform))
            signal = likelihood.loss_and_signal(outputs, drawn)[1][:, :, None]
        else:
            labels = stack.per_row(benchmark.train.labels_of(ids))
            signal = likelihood.loss_and_signal(outputs, labels)[1][:, :, None]
        signal.mul_(stack.per_row(present)[:, None, None])
        networks.add_squared_gradients(total, forward, signal)


def _add_batched(
    total: Tensor, stack: Network, benchmark: Benchmark, task: int, orders: Sequence[Tensor], size: int | None
) -> Tensor:
    """Add the squared mean gradient of every batch; returns the number of batches of each stream, `(S,)`."""
    found = batches([len(order) for order in orders], size)
    every_id, every_present = stacked(orders, found[-1].columns.stop, total)
    for batch in found:
        ids, weights = every_id[:, batch.columns], batch.weights(every_present)
        networks = apart(stack, batch.widths)
        forward, outputs = outputs_on(networks, benchmark.train, ids, [task], task + 1)
        labels = stack.per_row(benchmark.train.labels_of(ids))
        _, signal = of_samples(networks, benchmark.likelihood.loss_and_signal, outputs, labels)
        networks.backward(forward, signal.mul_(stack.per_row(weights)[:, None]))
        total.addcmul_(stack.gradient, stack.gradient)
    return torch.tensor([[width > 0 for width in batch.widths] for batch in found]).sum(0)
