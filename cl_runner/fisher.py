"""The diagonal of the Fisher information matrix: how significant each parameter is for a task.

For a Linear layer with input a and back-propagated signal d, one sample's gradient is d aᵀ; the sum of the
squares over samples is therefore (d²)ᵀ(a²), one matrix product and no loop over samples. The estimators
differ in whose labels the signals come from:

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

import torch
from torch import Tensor

from cl_runner.batches import stacked
from cl_runner.benchmarks import Benchmark
from cl_runner.config import FisherConfig
from cl_runner.seeding import generator
from cl_runner.stack import Layer, Stack

# Elements of one run's largest tensor in a chunk: bounds memory, and keeps it within the processor's cache.
_CHUNK = 2**18


def fisher_diagonal(
    stack: Stack, benchmark: Benchmark, task: int, config: FisherConfig, seeds: Sequence[int]
) -> Tensor:
    """Mean over the task's training samples of the squared derivatives of log p by each parameter.

    Args:
        stack: the networks, at the parameters where the information is wanted.
        benchmark: gives samples and likelihood.
        task: whose training set is used; its active outputs alone count.
        config: the estimator and how many samples it takes.
        seeds: of the runs; they fix a subset of samples and the labels drawn by `sampled`.

    Returns:
        A buffer of the stack's layout, `(R·P,)`.
    """
    sources = [generator(seed, "fisher", task) for seed in seeds]
    orders = [
        ids if config.samples is None else ids[torch.randperm(len(ids), generator=source)[: config.samples]]
        for ids, source in zip(benchmark.samples([task], train=True), sources, strict=True)
    ]
    total = torch.zeros_like(stack.parameters)
    if config.estimator == "batched":
        counts = _add_batched(total, stack, benchmark, task, orders, config.batch_size)
    else:
        _add_per_sample(total, stack, benchmark, task, orders, config.estimator, sources)
        counts = torch.tensor([float(len(order)) for order in orders])
    return total.div_(stack.layout.spread(counts.to(total)))


def add_squared_gradients(total: list[Layer], activations: list[Tensor], signals: list[Tensor]) -> None:
    """Add Σ over samples (and over K signals a sample) of the squared gradients to `total`.

    Args:
        total: one `Layer` of sums per Linear layer.
        activations: inputs of the layers, `(R, B, in)` each.
        signals: of the layers, `(R, K·B, out)` each, as `Stack.signals` gives them; overwritten.
    """
    for layer, inputs, signal in zip(total, activations, signals, strict=False):
        runs, size, _ = inputs.shape
        squares = signal.square_().view(runs, -1, size, signal.shape[-1]).sum(1)
        layer.weight.baddbmm_(squares.mT, inputs.square())
        layer.bias.add_(squares.sum(1))


def _add_per_sample(
    total: Tensor,
    stack: Stack,
    benchmark: Benchmark,
    task: int,
    orders: Sequence[Tensor],
    estimator: str,
    sources: Sequence[torch.Generator],
) -> None:
    sums, likelihood = stack.layout.layers(total), benchmark.likelihood
    classes = benchmark.active_classes(task, task + 1)
    several = classes.stop - classes.start - 1 if estimator == "exact" else 1
    size = max(1, _CHUNK // max(benchmark.inputs, several * max(stack.layout.sizes[1:])))
    draws = [torch.rand(len(order), generator=source) for order, source in zip(orders, sources, strict=True)]
    columns = (part.split(size, 1) for part in (*stacked(orders, total), stacked(draws, total)[0]))
    ragged = len({len(order) for order in orders}) > 1
    for ids, present, uniform in zip(*columns, strict=True):
        activations = stack.forward(benchmark.inputs_of(ids, [task], train=True))
        logits = benchmark.mask_inactive(activations[-1], ids, [task], task + 1, train=True)
        if estimator == "exact":
            signal = likelihood.expected_signals(logits, classes)
        else:
            labels = (
                likelihood.draw(logits, uniform) if estimator == "sampled" else benchmark.labels_of(ids, train=True)
            )
            signal = likelihood.loss_and_signal(logits, labels)[1][:, None]
        if ragged:
            signal.mul_(present[:, None, :, None])
        add_squared_gradients(sums, activations, stack.signals(activations, signal.flatten(1, 2)))


def _add_batched(
    total: Tensor, stack: Stack, benchmark: Benchmark, task: int, orders: Sequence[Tensor], size: int
) -> Tensor:
    """Add the squared mean gradient of every batch; returns the number of batches of each run, `(R,)`."""
    columns = (part.split(size, 1) for part in stacked(orders, total))
    for ids, present in zip(*columns, strict=True):
        activations = stack.forward(benchmark.inputs_of(ids, [task], train=True))
        logits = benchmark.mask_inactive(activations[-1], ids, [task], task + 1, train=True)
        signal = benchmark.likelihood.loss_and_signal(logits, benchmark.labels_of(ids, train=True))[1]
        weights = present / present.sum(1, keepdim=True).clamp(min=1)
        stack.backward(activations, signal.mul_(weights[..., None]))
        total.addcmul_(stack.gradient, stack.gradient)
    return torch.tensor([-(-len(order) // size) for order in orders])
