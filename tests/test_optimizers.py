"""The functional forms against PyTorch's classes."""

import pytest
import torch
from conftest import MakeConfig

from cl_runner.engine.optimizers import make_optimizer

RATE, DECAY = 0.01, 0.1


@pytest.mark.parametrize(("name", "momentum"), [("adam", 0.0), ("sgd", 0.0), ("sgd", 0.9)])
def test_steps_are_those_of_the_classes_and_go_on_from_a_moment(
    name: str, momentum: float, make_config: MakeConfig
) -> None:
    source = torch.Generator().manual_seed(0)
    found, gradient = torch.randn(2, 50, generator=source)
    known = torch.nn.Parameter(found.clone())
    settings = {"optimizer": name, "learning_rate": RATE, "weight_decay": DECAY, "momentum": momentum}
    config = make_config(*(f"train.{key}={value}" for key, value in settings.items())).train
    oracle: torch.optim.Optimizer = torch.optim.Adam([known], lr=RATE, weight_decay=DECAY, fused=True)
    if name == "sgd":
        oracle = torch.optim.SGD([known], lr=RATE, weight_decay=DECAY, momentum=momentum, fused=True)
    optimizer = make_optimizer(found, gradient, config)
    for step in range(6):
        gradient.normal_(generator=source)
        known.grad = gradient.clone()
        if step == 3:
            buffers = {key: buffer.clone() for key, buffer in optimizer.buffers.items()}
            count, optimizer = optimizer.count, make_optimizer(found, gradient, config)
            optimizer.restore(buffers, count)
        optimizer.step()
        oracle.step()
        assert torch.equal(found, known)
    state = {key: value for key, value in oracle.state[known].items() if torch.is_tensor(value) and value.dim()}
    assert set(optimizer.buffers) == set(state)
    assert all(torch.equal(buffer, state[key]) for key, buffer in optimizer.buffers.items())


def test_a_new_one_knows_nothing(make_config: MakeConfig) -> None:
    parameters, gradient = torch.ones(2, 3)
    adam = make_optimizer(parameters, gradient, make_config("train.optimizer=adam").train)
    assert not any(buffer.any() for buffer in adam.buffers.values())
    sgd = make_optimizer(parameters, gradient, make_config("train.optimizer=sgd", "train.momentum=0.9").train)
    assert sgd.buffers == {}
