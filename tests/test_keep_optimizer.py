"""An optimiser that goes on from task to task."""

from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, network_of
from safetensors.torch import load_file
from test_runner import Silent

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.methods.acting import unused_settings
from cl_runner.runs.loop import run_stack

SMALL = [
    "benchmark.tasks=3",
    "benchmark.train_samples=100",
    "train.epochs=3",
    "model.hidden=[9,8]",
    "fisher.samples=30",
    "train.weight_decay=0.01",
]
SGD = ["train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.01"]


@pytest.mark.parametrize("options", [["train.optimizer=adam"], SGD])
def test_training_is_plain_pytorch_with_one_optimiser(
    options: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    common = [*SMALL, *options, "train.keep_optimizer=true"]
    # Rows fan out: these have the first task in common.
    methods = [["method=finetune"], ["method=ewc"], ["method=global_mask"], ["method=finetune", "seed=1"]]
    configs = [make_config(*common, *method) for method in methods]
    run_stack(configs, [tmp_path / str(number) for number in range(len(configs))], Silent())
    for number in (0, 3):
        config = configs[number]
        benchmark = make_benchmark(config.benchmark, "unused", [config.seed], "cpu")
        initial = MLPStack([64, 9, 8, 10], "relu", [config.seed])
        network = network_of(initial, 0, "relu")
        rate, decay = config.train.learning_rate, config.train.weight_decay
        optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
        if config.train.optimizer == "sgd":
            optimizer = torch.optim.SGD(network.parameters(), lr=rate, weight_decay=decay, momentum=0.9)
        for task in range(3):
            source = generator(config.seed, "batches", task)
            (pool,) = benchmark.train.samples([task])
            for _ in range(3):
                for ids in pool[torch.randperm(len(pool), generator=source)].split(32):
                    outputs = network(benchmark.train.inputs_of(ids[None], [task])[0].T)
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(outputs, benchmark.train.labels_of(ids[None])[0]).backward()
                    optimizer.step()
            found = load_file(tmp_path / str(number) / "checkpoints" / f"task_{task + 1}.safetensors")
            for name, parameter in zip(sorted(found, key=order), network.parameters(), strict=True):
                torch.testing.assert_close(found[name], parameter.detach(), rtol=1e-4, atol=1e-5)


def order(name: str) -> tuple[str, bool]:
    """Layer by layer, weight before bias."""
    return name.rsplit(".", 1)[0], name.endswith("bias")


def test_the_setting_makes_a_difference_from_the_second_task_on(make_config: MakeConfig, tmp_path: Path) -> None:
    found = []
    for kept in ("false", "true"):
        run_stack([make_config(*SMALL, f"train.keep_optimizer={kept}")], [tmp_path / kept], Silent())
        found.append([load_file(tmp_path / kept / "checkpoints" / f"task_{k}.safetensors") for k in (1, 2)])
    (first, second), (first_kept, second_kept) = found
    assert torch.equal(first["layers.0.weight"], first_kept["layers.0.weight"])
    assert not torch.equal(second["layers.0.weight"], second_kept["layers.0.weight"])


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_a_new_output_has_no_momentum_of_decay_and_penalty(
    scenario: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    # With a batch as large as the set and SGD, the first step of an output is that of its gradient and decay alone.
    options = ["benchmark=split_digits", f"benchmark.scenario={scenario}", "benchmark.tasks=3", "train.epochs=1"]
    sgd = ["train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.001", "train.weight_decay=1"]
    full = ["train.batch_size=null", "model.hidden=[9]", "benchmark.train_samples=100", "method=l2"]
    found = []
    for kept in ("false", "true"):
        directory = tmp_path / kept
        run_stack([make_config(*options, *sgd, *full, f"train.keep_optimizer={kept}")], [directory], Silent())
        found.append(load_file(directory / "checkpoints" / "task_2.safetensors")["layers.1.weight"])
    # At the second task's one step both set out from the same network: what differs is remembered.
    assert torch.equal(found[0][2:4], found[1][2:4])
    assert torch.equal(found[0][:2], found[1][:2]) == (scenario == "task")


def test_where_nothing_can_be_kept_it_is_said(make_config: MakeConfig) -> None:
    given = "train.keep_optimizer=true"
    assert not unused_settings(make_config(given), [given])
    for options in (["method=joint"], ["train.optimizer=sgd"]):
        (line,) = unused_settings(make_config(given, *options), [given]).values()
        assert line.startswith("train.keep_optimizer was set but is not used: ")
