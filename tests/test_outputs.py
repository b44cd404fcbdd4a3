"""What a task does not use of the output layer stays as it is."""

from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, network_of, tiny_pair
from safetensors.torch import load_file
from test_runner import Silent

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.config.schema import Config
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.methods.method import Method
from cl_runner.runs.loop import run_stack
from cl_runner.runs.training import train_task

ADAM = ["train.optimizer=adam", "train.weight_decay=0.1"]
SGD = ["train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.05", "train.weight_decay=0.1"]


def torch_optimizer(parameters: list[torch.nn.Parameter], config: Config) -> torch.optim.Optimizer:
    rate, decay = config.train.learning_rate, config.train.weight_decay
    if config.train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=config.train.momentum)
    return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)


@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("options", [ADAM, SGD])
def test_training_is_plain_pytorch_with_a_module_for_each_head(
    options: list[str], scenario: str, make_config: MakeConfig, tiny: Dataset
) -> None:
    tasks = 3
    config = make_config(
        "benchmark=split_digits",
        f"benchmark.scenario={scenario}",
        f"benchmark.tasks={tasks}",
        "train.epochs=3",
        "train.batch_size=10",
        *options,
    )
    benchmark, stack = tiny_pair(config, tiny, [4])
    modules = list(network_of(stack, 0, "relu").double().children())
    body, whole = torch.nn.Sequential(*modules[:-1]), modules[-1]
    assert isinstance(whole, torch.nn.Linear)
    heads: list[torch.nn.Linear] = []
    for weight, bias in zip(whole.weight.split(2), whole.bias.split(2), strict=True):
        head = torch.nn.Linear(whole.in_features, 2, dtype=torch.float64)
        head.weight.data, head.bias.data = weight.detach().clone(), bias.detach().clone()
        heads.append(head)
    parameters = [*body.parameters(), *(parameter for head in heads for parameter in head.parameters())]
    for task in range(tasks):
        # As in training, each task has an optimiser of its own; it leaves alone what has no gradient.
        optimizer, source = torch_optimizer(parameters, config), generator(4, "batches", task)
        used = [task] if scenario == "task" else list(range(task + 1))
        (pool,) = benchmark.train.samples([task])
        for _ in range(3):
            for ids in pool[torch.randperm(len(pool), generator=source)].split(10):
                hidden = body(benchmark.train.inputs_of(ids[None], [task])[0].T)
                outputs = torch.cat([heads[number](hidden) for number in used], 1)
                labels = benchmark.train.labels_of(ids[None])[0] - 2 * used[0]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(outputs, labels).backward()
                optimizer.step()

    method = Method(stack, [config])
    for task in range(tasks):
        list(train_task(stack, method, benchmark, task, [task], config.train))
    joined = [torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])]
    for found, parameter in zip(
        stack.layout.named(stack.parameters, 0).values(), [*body.parameters(), *joined], strict=True
    ):
        torch.testing.assert_close(found, parameter.detach(), rtol=1e-8, atol=1e-10)


METHODS = [
    ["method=finetune"],
    ["method=finetune", "method.l1_lambda=0.3"],
    ["method=l1_sparsity"],
    ["method=ewc"],
    ["method=online_ewc", "method.update=average"],
    ["method=l2", "method.ewc_lambda=1"],
    ["method=global_mask", "freeze=0.3", "method.l1_lambda=0.3"],
    ["method=layerwise_mask", "method.soft=true", "method.ewc_lambda=1"],
]


@pytest.mark.parametrize("options", [ADAM, SGD])
@pytest.mark.parametrize(
    ("scenario", "joint"), [("task", False), ("class", False), ("task", True)], ids=["task", "class", "joint"]
)
def test_outputs_out_of_use_do_not_change_by_a_bit(
    scenario: str, joint: bool, options: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    common = [
        "benchmark=split_digits",
        f"benchmark.scenario={scenario}",
        f"method.joint={joint}",
        "benchmark.tasks=4",
        "benchmark.train_samples=100",
        "train.epochs=2",
        "train.batch_size=8",
        "model.hidden=[9,8]",
        *options,
    ]
    # Joint training begins each task with a fresh network, which another run is for the tasks to come: one method.
    configs = [make_config(*method, *common) for method in METHODS[: 2 if joint else None]]
    directories = [tmp_path / str(number) for number in range(len(configs))]
    run_stack(configs, directories, Silent())
    for config, directory in zip(configs, directories, strict=True):
        after = [load_file(directory / "checkpoints" / f"task_{number}.safetensors") for number in (1, 2, 3, 4)]
        if joint:
            begun = [initial(configs[0], task) for task in range(4)]
            pairs = [(begun[task], after[task], range(task + 1)) for task in range(4)]
        else:
            used = [range(task if scenario == "task" else 0, task + 1) for task in range(4)]
            pairs = [(after[task - 1], after[task], used[task]) for task in (1, 2, 3)]
        for before, now, heads in pairs:
            for name in ("layers.2.weight", "layers.2.bias"):
                for head in range(4):
                    old, new = (tensors[name][2 * head : 2 * head + 2].view(torch.int32) for tensors in (before, now))
                    if head not in heads:
                        assert torch.equal(old, new), (config.method.name, name, head)
                    elif config.method.mask == "none":
                        assert not torch.equal(old, new), (config.method.name, name, head)


def initial(config: Config, task: int) -> dict[str, torch.Tensor]:
    """The fresh network from which joint training up to `task` (from 0) sets out."""
    stack = MLPStack([64, *config.model.hidden, 8], config.model.activation, [config.seed])
    stack.initialise(task)
    return stack.layout.named(stack.parameters, 0)
