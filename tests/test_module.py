"""Networks of any module: the mathematics of a stack of them."""

import pytest
import torch
from conftest import MakeConfig, tiny_pair
from own_nets import Constant, convolutional, perceptron
from torch import Tensor, nn

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.config.schema import Config, FisherConfig
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.module import Blueprint, ModuleStack, layers_of
from cl_runner.engine.network import Named, Network
from cl_runner.engine.seeding import generator
from cl_runner.methods.method import Method
from cl_runner.runs.fisher import fisher_diagonal
from cl_runner.runs.training import train_task

SEEDS = [3, 8, 3]


def convolutions(shape: tuple[int, ...], outputs: int, seeds: list[int]) -> tuple[Blueprint, ModuleStack]:
    blueprint = Blueprint(lambda: convolutional(shape, outputs), shape)
    return blueprint, ModuleStack(blueprint, seeds, dtype=torch.float64)


def alone(blueprint: Blueprint, stack: ModuleStack, run: int) -> nn.Module:
    """One network of a stack by itself."""
    found = blueprint.drawn(0).double()
    found.load_state_dict(found.state_dict() | stack.layout.named(stack.parameters, run))
    return found


@pytest.fixture
def pair(make_config: MakeConfig, tiny: Dataset) -> tuple[ImageBenchmark, MLPStack, ModuleStack, Config]:
    """Hand-written networks, and modules of the same weights."""
    config = make_config("benchmark=split_digits", "benchmark.tasks=3", "benchmark.scenario=class")
    benchmark, written = tiny_pair(config, tiny, SEEDS)
    blueprint = Blueprint(lambda: perceptron(benchmark.input_shape, benchmark.outputs), benchmark.input_shape)
    modules = ModuleStack(blueprint, SEEDS, dtype=torch.float64)
    modules.parameters.copy_(written.parameters)
    return benchmark, written, modules, config


def test_a_module_that_is_a_perceptron_is_the_hand_written_one(
    pair: tuple[ImageBenchmark, MLPStack, ModuleStack, Config],
) -> None:
    benchmark, written, modules, _ = pair
    assert [[shape for _, shape in layer] for layer in modules.layout.tensors] == [
        [shape for _, shape in layer] for layer in written.layout.tensors
    ]
    inputs = torch.randn(2, 9, 5, dtype=torch.float64)
    signal = torch.randn(3, benchmark.outputs, 5, dtype=torch.float64)
    one, other = written.forward(inputs), modules.forward(inputs)
    torch.testing.assert_close(other.outputs, one.outputs)
    written.backward(one, signal.clone())
    modules.backward(other, signal.clone())
    torch.testing.assert_close(modules.gradient, written.gradient)


@pytest.mark.parametrize("estimator", ["exact", "sampled", "empirical", "batched"])
def test_its_fisher_diagonals_are_too(
    estimator: str, pair: tuple[ImageBenchmark, MLPStack, ModuleStack, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, written, modules, _ = pair
    config = FisherConfig(estimator, None, 16)
    expected = fisher_diagonal(written, benchmark, 1, config)
    torch.testing.assert_close(fisher_diagonal(modules, benchmark, 1, config), expected)
    # Chunks of two samples.
    monkeypatch.setattr("cl_runner.engine.module._CHUNK", 2 * modules.layout.per_row)
    torch.testing.assert_close(fisher_diagonal(modules, benchmark, 1, config), expected)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_its_training_is_too(
    optimizer: str, pair: tuple[ImageBenchmark, MLPStack, ModuleStack, Config], make_config: MakeConfig
) -> None:
    benchmark, written, modules, _ = pair
    config = make_config(
        "benchmark=split_digits", "benchmark.scenario=class", "method=ewc", f"train.optimizer={optimizer}"
    )
    before = modules.parameters.clone()
    places = modules.parameters.data_ptr(), modules.gradient.data_ptr()
    stacks: list[Network] = [written, modules]
    for stack in stacks:
        for _ in train_task(stack, Method(stack, [config] * 3), benchmark, 0, [0], config.train):
            pass
    torch.testing.assert_close(modules.parameters, written.parameters)
    assert not torch.equal(modules.parameters, before)
    assert (modules.parameters.data_ptr(), modules.gradient.data_ptr()) == places


def test_gradients_of_convolutions_equal_autograd() -> None:
    blueprint, stack = convolutions((2, 6, 5), 4, SEEDS)
    inputs = torch.randn(2, 60, 7, dtype=torch.float64)
    signal = torch.randn(3, 4, 7, dtype=torch.float64)
    forward = stack.forward(inputs)
    stack.backward(forward, signal)
    for run in range(3):
        network = alone(blueprint, stack, run)
        outputs = network(inputs[[0, 1, 0][run]].T.view(7, 2, 6, 5))
        outputs.backward(signal[run].T)
        torch.testing.assert_close(forward.outputs[run].T, outputs.detach())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(stack.layout.named(stack.gradient, run)[name], parameter.grad)


def test_the_exact_fisher_diagonal_of_convolutions_equals_per_sample_autograd(
    make_config: MakeConfig, digits: Dataset
) -> None:
    config = make_config("benchmark=split_digits", "benchmark.scenario=task")
    benchmark = ImageBenchmark(config.benchmark, digits, [5], dtype=torch.float64)
    blueprint, stack = convolutions(benchmark.input_shape, benchmark.outputs, [5])
    found = stack.layout.named(fisher_diagonal(stack, benchmark, 1, FisherConfig("exact", 12, None)), 0)
    network = alone(blueprint, stack, 0)
    ids = benchmark.train.samples([1])[0]
    ids = ids[torch.randperm(len(ids), generator=generator(5, "fisher", 1))[:12]]
    samples = benchmark.train.inputs_of(ids[None], [1])[0].T.view(12, *benchmark.input_shape)
    expected = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for sample in samples:
        log_probabilities = torch.log_softmax(network(sample[None])[0, benchmark.active_outputs(1, 2)], 0)
        for log_probability in log_probabilities:
            gradients = torch.autograd.grad(log_probability, list(network.parameters()), retain_graph=True)
            for square, gradient in zip(expected.values(), gradients, strict=True):
                square += log_probability.exp().detach() * gradient.square() / 12
    for name, square in expected.items():
        torch.testing.assert_close(found[name], square)


def test_networks_in_a_stack_are_as_they_are_alone() -> None:
    blueprint, stack = convolutions((1, 6, 5), 4, [3, 8, 8, 1])
    by_seed = {seed: convolutions((1, 6, 5), 4, [seed])[1] for seed in (3, 8, 1)}
    inputs = torch.randn(3, 30, 7, dtype=torch.float64)
    for task in (0, 2):
        stack.initialise(task)
        outputs = stack.forward(inputs).outputs
        for row, seed in enumerate(stack.seeds):
            by_seed[seed].initialise(task)
            drawn = blueprint.drawn(seed, task).double().state_dict()
            for name, tensor in stack.layout.named(stack.parameters, row).items():
                assert torch.equal(tensor, drawn[name])
            single = by_seed[seed].forward(inputs[None, stack.streams.index(seed)]).outputs[0]
            torch.testing.assert_close(outputs[row], single)
    fanned = stack.fan_out([1, 1, 3], [8, 8, 1])
    assert fanned.streams == (8, 1)
    torch.testing.assert_close(fanned.forward(inputs[1:]).outputs, outputs[[1, 2, 3]])


def test_networks_computed_at_once_are_as_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where all rows are one call."""
    _, stack = convolutions((1, 6, 5), 4, SEEDS)
    inputs = torch.randn(2, 30, 7, dtype=torch.float64)
    signals = torch.randn(3, 4, 2, 7, dtype=torch.float64)

    def computed() -> list[Tensor]:
        forward = stack.forward(inputs)
        stack.backward(forward, signals[:, :, 0])
        squares = torch.zeros_like(stack.parameters)
        stack.add_squared_gradients(squares, forward, signals.clone())
        return [forward.outputs, stack.gradient.clone(), squares]

    one_by_one = computed()
    monkeypatch.setattr(ModuleStack, "_at_once", True)
    for found, expected in zip(computed(), one_by_one, strict=True):
        torch.testing.assert_close(found, expected)


def test_random_numbers_of_others_stay_as_they_were() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    convolutions((1, 6, 5), 4, SEEDS)
    assert torch.equal(torch.rand(3), expected)


def test_layers_are_modules_with_parameters() -> None:
    assert layers_of(convolutional((1, 4, 4), 2, width=1)) == (
        (Named("0.weight", (1, 1, 3, 3)), Named("0.bias", (1,))),
        (Named("3.weight", (2, 1, 3, 3)), Named("3.bias", (2,))),
        (Named("4.weight", (2,)), Named("4.bias", (2,))),
        (Named("7.weight", (2, 8)), Named("7.bias", (2,))),
    )
    # Of unequal first axes.
    assert layers_of(Constant((3,), 2)) == (
        (Named("mix.weight", (3, 4, 1)),),
        (Named("mix.bias", (4,)),),
        (Named("out.weight", (2, 4)), Named("out.bias", (2,))),
    )


def test_the_widest_output_of_a_module_is_known() -> None:
    # Three channels of 6 x 5.
    assert convolutions((1, 6, 5), 4, [0])[1].widest() == 90
