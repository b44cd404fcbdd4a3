"""The fused kernels against PyTorch's classes, and rows of several settings against each alone."""

from collections.abc import Sequence

import pytest
import torch
from conftest import MakeConfig
from torch import Tensor

from cl_runner.config.schema import TrainConfig
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.optimizers import make_optimizer

RATE, DECAY = 0.01, 0.1
# Tensors of 600, 10, 30 and 3 numbers: more than whole blocks, and less than one.
SIZES = [60, 10, 3]


def settings(make_config: MakeConfig, name: str, rate: float, momentum: float, decay: float) -> TrainConfig:
    given = {"optimizer": name, "learning_rate": rate, "momentum": momentum, "weight_decay": decay}
    return make_config(*(f"train.{key}={value}" for key, value in given.items())).train


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.0), ("sgd", 0.0), ("sgd", 0.9)])
def test_steps_are_those_of_the_classes_and_go_on_from_a_moment(
    name: str, momentum: float, make_config: MakeConfig
) -> None:
    source = torch.Generator().manual_seed(0)
    stack = MLPStack(SIZES, "relu", [0, 1])
    found, gradient = stack.parameters, stack.gradient
    known = torch.nn.Parameter(found.clone())
    configs = [settings(make_config, name, RATE, momentum, DECAY)] * 2
    oracle: torch.optim.Optimizer = torch.optim.Adam([known], lr=RATE, weight_decay=DECAY, fused=True)
    if name == "sgd":
        oracle = torch.optim.SGD([known], lr=RATE, weight_decay=DECAY, momentum=momentum, fused=True)
    optimizer = make_optimizer(stack, configs)
    for step in range(6):
        gradient.normal_(generator=source)
        known.grad = gradient.clone()
        if step == 3:
            buffers = {key: buffer.clone() for key, buffer in optimizer.buffers.items()}
            counts, optimizer = optimizer.counts, make_optimizer(stack, configs)
            optimizer.restore(buffers, counts)
        optimizer.step()
        oracle.step()
        assert torch.equal(found, known)
    state = {key: value for key, value in oracle.state[known].items() if torch.is_tensor(value) and value.dim()}
    assert set(optimizer.buffers) == set(state)
    assert all(torch.equal(buffer, state[key]) for key, buffer in optimizer.buffers.items())


ADAM = [(0.01, 0.0, 0.1), (0.03, 0.0, 0.1), (0.01, 0.0, 0.0)]
SGD = [(0.01, 0.9, 0.1), (0.01, 0.0, 0.1), (0.3, 0.9, 0.0)]


# A setting of one row, of neighbours, and of rows that are apart.
@pytest.mark.parametrize("order", [[0, 1, 2], [0, 0, 0, 0, 1, 1, 2], [0, 1, 0, 2, 1, 0, 0]])
@pytest.mark.parametrize(("name", "rates"), [("adam", ADAM), ("sgd", SGD)])
def test_rows_of_several_settings_step_as_each_alone(
    name: str, rates: Sequence[tuple[float, float, float]], order: list[int], make_config: MakeConfig
) -> None:
    source = torch.Generator().manual_seed(0)
    configs = [settings(make_config, name, *rates[number]) for number in order]
    stack = MLPStack(SIZES, "relu", range(len(order)))
    alone = [MLPStack(SIZES, "relu", [row]) for row in range(len(order))]
    optimizer = make_optimizer(stack, configs)
    single = [make_optimizer(one, [config]) for one, config in zip(alone, configs, strict=True)]
    where = stack.parameters.data_ptr(), stack.gradient.data_ptr()
    for step in range(6):
        stack.gradient[: stack.layout.rows * stack.layout.per_row].normal_(generator=source)
        if step == 3:
            buffers = {key: buffer.clone() for key, buffer in optimizer.buffers.items()}
            counts, optimizer = optimizer.counts, make_optimizer(stack, configs)
            optimizer.restore(buffers, counts)
        optimizer.step()
        for row, (one, own) in enumerate(zip(alone, single, strict=True)):
            one.gradient.copy_(stack.layout.select(stack.gradient, [row]))
            own.step()
            assert same(stack.layout.vector(stack.parameters, row), one.layout.vector(one.parameters, 0))
            for key, buffer in own.buffers.items():
                assert same(stack.layout.vector(optimizer.buffers[key], row), one.layout.vector(buffer, 0))
    assert where == (stack.parameters.data_ptr(), stack.gradient.data_ptr())


def same(first: Tensor, second: Tensor) -> bool:
    """To the bit, the sign of a zero too."""
    return torch.equal(first.view(torch.int32), second.view(torch.int32))


def test_a_row_without_momentum_remembers_none(make_config: MakeConfig) -> None:
    stack = MLPStack(SIZES, "relu", [0, 1])
    optimizer = make_optimizer(stack, [settings(make_config, "sgd", 0.1, momentum, 0) for momentum in (0.9, 0)])
    stack.gradient.fill_(1)
    optimizer.step()
    momenta = [stack.layout.vector(optimizer.buffers["momentum_buffer"], row) for row in (0, 1)]
    assert (momenta[0] == 1).all()
    assert not momenta[1].any()


def test_a_new_one_knows_nothing(make_config: MakeConfig) -> None:
    stack = MLPStack(SIZES, "relu", [0])
    adam = make_optimizer(stack, [settings(make_config, "adam", RATE, 0, 0)])
    assert not any(buffer.any() for buffer in adam.buffers.values())
    sgd = make_optimizer(stack, [settings(make_config, "sgd", RATE, 0.9, 0)])
    assert sgd.buffers == {}
