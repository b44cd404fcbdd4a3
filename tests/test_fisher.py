from collections.abc import Callable

import pytest
import torch
from conftest import MakeConfig, network_of, tiny_pair
from torch import Tensor
from torch.func import functional_call, grad, vmap

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.config.schema import Config, FisherConfig
from cl_runner.engine.mlp import ACTIVATIONS, MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.runs import fisher
from cl_runner.runs.fisher import fisher_diagonal, fisher_diagonals

TASK = 1
SEEDS = [3, 8]


def per_sample_squares(
    benchmark: ImageBenchmark,
    stack: MLPStack,
    run: int,
    activation: str,
    ids: Tensor,
    label_weights: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Σ over samples and labels of weight · (d log p / dθ)², by autograd a sample and a label at a time."""
    network = network_of(stack, run, activation)
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    inputs = benchmark.train.inputs_of(ids.repeat(len(SEEDS), 1), [TASK])[run].T
    active = benchmark.active_outputs(TASK, TASK + 1)

    def log_probability(values: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(network, values, (sample,))
        return torch.log_softmax(logits[active], 0) @ label

    weights = label_weights(torch.softmax(network(inputs)[:, active], -1).detach())
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for label in range(active.stop - active.start):
        labels = torch.eye(active.stop - active.start, dtype=inputs.dtype)[label].expand(len(inputs), -1)
        gradients = vmap(grad(log_probability), (None, 0, 0))(parameters, inputs, labels)
        for name, values in gradients.items():
            total[name] += torch.einsum("n,n...->...", weights[:, label], values.square())
    return total


def expect(stack: MLPStack, found: Tensor, run: int, expected: dict[str, Tensor]) -> None:
    for mine, theirs in zip(stack.layout.named(found, run).values(), expected.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-14)


def settings(make_config: MakeConfig, name: str, scenario: str, activation: str) -> Config:
    return make_config(
        f"benchmark={name}", "benchmark.tasks=3", f"benchmark.scenario={scenario}", f"model.activation={activation}"
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["permuted_digits", "split_digits"])
@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
@pytest.mark.parametrize("estimator", ["exact", "empirical", "sampled"])
def test_estimators_equal_per_sample_autograd(
    estimator: str, scenario: str, name: str, activation: str, make_config: MakeConfig, tiny: Dataset
) -> None:
    benchmark, stack = tiny_pair(settings(make_config, name, scenario, activation), tiny, SEEDS)
    found = fisher_diagonal(stack, benchmark, TASK, FisherConfig(estimator, None, 16))
    first = benchmark.active_outputs(TASK, TASK + 1).start
    for run, ids in enumerate(benchmark.train.samples([TASK])):

        def weights(probabilities: Tensor, run: int = run, ids: Tensor = ids) -> Tensor:
            if estimator == "exact":
                return probabilities
            labels = benchmark.train.labels_of(ids.repeat(len(SEEDS), 1))[run] - first
            if estimator == "sampled":
                uniform = torch.rand(len(ids), generator=generator(SEEDS[run], "fisher", TASK))
                labels = (probabilities.cumsum(1) <= uniform[:, None]).sum(1)
            return torch.nn.functional.one_hot(labels, probabilities.shape[1]).double()

        total = per_sample_squares(benchmark, stack, run, activation, ids, weights)
        expect(stack, found, run, {key: value / len(ids) for key, value in total.items()})


@pytest.mark.parametrize("name", ["permuted_digits", "split_digits"])
def test_batched_is_the_mean_of_squared_batch_gradients(name: str, make_config: MakeConfig, tiny: Dataset) -> None:
    benchmark, stack = tiny_pair(settings(make_config, name, "domain", "relu"), tiny, SEEDS)
    found = fisher_diagonal(stack, benchmark, TASK, FisherConfig("batched", None, 16))
    for run, ids in enumerate(benchmark.train.samples([TASK])):
        network = network_of(stack, run, "relu")
        squares = [torch.zeros_like(parameter) for parameter in network.parameters()]
        parts = ids.split(16)
        for part in parts:
            both = part.repeat(len(SEEDS), 1)
            inputs = benchmark.train.inputs_of(both, [TASK])[run].T
            labels = benchmark.train.labels_of(both)[run]
            loss = torch.nn.functional.cross_entropy(network(inputs), labels)
            for square, gradient in zip(squares, torch.autograd.grad(loss, list(network.parameters())), strict=True):
                square += gradient.square() / len(parts)
        expect(stack, found, run, dict(enumerate(squares)))  # type: ignore[arg-type]


def test_chunks_do_not_matter(make_config: MakeConfig, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, stack = tiny_pair(settings(make_config, "split_digits", "domain", "relu"), tiny, SEEDS)
    for estimator in ("exact", "sampled", "empirical"):
        config = FisherConfig(estimator, None, 16)
        whole = fisher_diagonal(stack, benchmark, TASK, config)
        monkeypatch.setattr(fisher, "_CHUNK", 500)
        torch.testing.assert_close(fisher_diagonal(stack, benchmark, TASK, config), whole)
        monkeypatch.undo()


def test_a_subset_of_samples_is_drawn_by_seed(make_config: MakeConfig, tiny: Dataset) -> None:
    config = settings(make_config, "permuted_digits", "domain", "relu")
    benchmark, stack = tiny_pair(config, tiny, SEEDS)
    found = fisher_diagonal(stack, benchmark, TASK, FisherConfig("exact", 20, 16))
    for run, ids in enumerate(benchmark.train.samples([TASK])):
        chosen = ids[torch.randperm(len(ids), generator=generator(SEEDS[run], "fisher", TASK))[:20]]
        total = per_sample_squares(benchmark, stack, run, "relu", chosen, lambda probabilities: probabilities)
        expect(stack, found, run, {key: value / 20 for key, value in total.items()})
    everything = FisherConfig("exact", None, 16)
    more = FisherConfig("exact", 10**6, 16)
    torch.testing.assert_close(
        fisher_diagonal(stack, benchmark, TASK, more), fisher_diagonal(stack, benchmark, TASK, everything)
    )


def test_sampled_approaches_exact(make_config: MakeConfig, tiny: Dataset) -> None:
    benchmark, stack = tiny_pair(settings(make_config, "permuted_digits", "domain", "tanh"), tiny, [3])
    exact = fisher_diagonal(stack, benchmark, TASK, FisherConfig("exact", None, 16))
    sampled = FisherConfig("sampled", None, 16)
    draws = [fisher_diagonal(stack.fan_out([0], [seed]), benchmark, TASK, sampled) for seed in range(200)]
    ratio = torch.stack(draws).mean(0).sum() / exact.sum()
    assert abs(ratio - 1) < 0.02


def test_several_networks_by_several_estimators(make_config: MakeConfig, tiny: Dataset) -> None:
    benchmark, stack = tiny_pair(settings(make_config, "permuted_digits", "domain", "relu"), tiny, SEEDS)
    exact, empirical = FisherConfig("exact", None, 16), FisherConfig("empirical", None, 16)
    wanted = [(0, exact), (1, empirical), (1, exact), (0, exact)]
    layout, buffer, rows = fisher_diagonals(stack, benchmark, TASK, wanted)
    assert layout.rows == 3
    for (network, config), row in zip(wanted, rows, strict=True):
        expected = stack.layout.named(fisher_diagonal(stack, benchmark, TASK, config), network)
        for name, tensor in layout.named(buffer, row).items():
            torch.testing.assert_close(tensor, expected[name])
