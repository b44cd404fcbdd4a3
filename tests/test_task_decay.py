"""A learning rate that decays from task to task."""

from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, network_of
from safetensors.torch import load_file
from test_keep_optimizer import SGD, SMALL, order
from test_runner import Silent

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.methods.acting import unused_settings
from cl_runner.runs.loop import run_stack

STRENGTH = 0.5


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("options", [["train.optimizer=adam", "train.learning_rate=0.003"], SGD])
def test_it_is_plain_pytorch_with_a_rate_set_by_hand(
    options: list[str], kept: bool, make_config: MakeConfig, tmp_path: Path
) -> None:
    common = [*SMALL, *options, f"train.keep_optimizer={str(kept).lower()}"]
    # The first two have the first task in common, and so have the last two.
    own = [
        ["train.task_decay=0.5"],
        ["train.task_decay=0.1"],
        [f"method.l1_lambda={STRENGTH}", "train.task_decay=0.5"],
        [f"method.l1_lambda={STRENGTH}"],
    ]
    configs = [make_config(*common, *settings) for settings in own]
    run_stack(configs, [tmp_path / str(number) for number in range(len(configs))], Silent())
    for number, config in enumerate(configs):
        benchmark = make_benchmark(config.benchmark, "unused", [config.seed], "cpu")
        network = network_of(MLPStack([64, 9, 8, 10], "relu", [config.seed]), 0, "relu")
        rate, decay = config.train.learning_rate, config.train.weight_decay
        for task in range(3):
            if task == 0 or not kept:
                optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), weight_decay=decay)
                if config.train.optimizer == "sgd":
                    optimizer = torch.optim.SGD(network.parameters(), weight_decay=decay, momentum=0.9)
            for group in optimizer.param_groups:
                group["lr"] = rate
            source = generator(config.seed, "batches", task)
            (pool,) = benchmark.train.samples([task])
            for _ in range(3):
                for ids in pool[torch.randperm(len(pool), generator=source)].split(32):
                    outputs = network(benchmark.train.inputs_of(ids[None], [task])[0].T)
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(outputs, benchmark.train.labels_of(ids[None])[0]).backward()
                    optimizer.step()
                    with torch.no_grad():
                        for weight in [weight for weight in network.parameters() if weight.dim() > 1]:
                            shrunk = (weight.abs() - rate * config.method.l1_lambda).clamp(min=0)
                            weight.copy_(weight.sign() * shrunk)
            rate *= config.train.task_decay
            found = load_file(tmp_path / str(number) / "checkpoints" / f"task_{task + 1}.safetensors")
            for name, parameter in zip(sorted(found, key=order), network.parameters(), strict=True):
                torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-4, atol=1e-5)


def test_with_joint_training_each_task_starts_afresh_at_its_own_rate(make_config: MakeConfig, tmp_path: Path) -> None:
    found = []
    for number, rates in enumerate([["0.01", "1"], ["0.01", "0.5"], ["0.005", "1"]]):
        settings = [f"train.{key}={rate}" for key, rate in zip(("learning_rate", "task_decay"), rates, strict=True)]
        run_stack([make_config(*SMALL, "method=joint", *settings)], [tmp_path / str(number)], Silent())
        found.append([load_file(tmp_path / str(number) / "checkpoints" / f"task_{k}.safetensors") for k in (1, 2)])
    constant, decaying, half = found
    name = "layers.1.weight"
    assert torch.equal(decaying[0][name], constant[0][name])
    assert torch.equal(decaying[1][name], half[1][name])


def test_where_no_task_follows_it_is_said_that_nothing_decays(make_config: MakeConfig) -> None:
    given = "train.task_decay=0.5"
    assert not unused_settings(make_config(given), [given])
    (line,) = unused_settings(make_config(given, "benchmark.tasks=1"), [given]).values()
    assert line == "train.task_decay was set but is not used: with benchmark.tasks=1 there is no second task"
