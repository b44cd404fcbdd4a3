from collections.abc import Sequence

import pytest
import torch
from conftest import MakeConfig, network_of, tiny_pair

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.config.schema import Config
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.seeding import generator
from cl_runner.methods.method import Method
from cl_runner.runs.training import Epoch, divergence, train_task


def train(config: Config, dataset: Dataset, seeds: list[int], tasks: int = 1) -> tuple[MLPStack, list[Epoch]]:
    benchmark, stack = tiny_pair(config, dataset, seeds)
    method = Method(stack, [config] * len(seeds))
    epochs = [
        epoch
        for task in range(tasks)
        for epoch in train_task(stack, method, benchmark, task, [task], config.train)
        if isinstance(epoch, Epoch)
    ]
    return stack, epochs


@pytest.mark.parametrize(
    "options",
    [
        ["train.optimizer=adam", "train.weight_decay=0.1"],
        ["train.optimizer=sgd", "train.momentum=0.9", "train.learning_rate=0.1"],
    ],
)
def test_training_equals_plain_pytorch(options: list[str], make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("train.epochs=3", "train.batch_size=20", *options)
    benchmark, initial = tiny_pair(config, tiny, [4])
    network = network_of(initial, 0, "relu").double()
    rate, decay = config.train.learning_rate, config.train.weight_decay
    optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
    if config.train.optimizer == "sgd":
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    source = generator(4, "batches", 0)
    losses = []
    for _ in range(3):
        order = torch.randperm(len(tiny.train.labels), generator=source)
        total = 0.0
        for ids in order.split(20):
            outputs = network(benchmark.train.inputs_of(ids[None], [0])[0].T)
            loss = torch.nn.functional.cross_entropy(outputs, tiny.train.labels[ids])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(ids)
        losses.append(total / len(order))

    stack, epochs = train(config, tiny, [4])
    for found, parameter in zip(stack.layout.named(stack.parameters, 0).values(), network.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.detach(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(
        torch.cat([epoch.data_loss for epoch in epochs]).double(),
        torch.tensor(losses, dtype=torch.float64),
        rtol=1e-5,
        atol=0,
    )
    assert [epoch.samples for epoch in epochs] == [len(tiny.train.labels)] * 3


def test_iterations_stop_in_mid_epoch(make_config: MakeConfig, tiny: Dataset) -> None:
    whole = make_config("train.epochs=2", "train.batch_size=20")
    steps = -(-len(tiny.train.labels) // 20)
    same = make_config("train.epochs=null", f"train.iterations={2 * steps}", "train.batch_size=20")
    assert torch.equal(train(whole, tiny, [4])[0].parameters, train(same, tiny, [4])[0].parameters)
    part = make_config("train.epochs=null", f"train.iterations={steps + 2}", "train.batch_size=20")
    epochs = train(part, tiny, [4])[1]
    assert [epoch.samples for epoch in epochs] == [len(tiny.train.labels), 40]
    assert torch.isfinite(epochs[1].data_loss).all()
    few = make_config("train.epochs=null", "train.iterations=1", "train.batch_size=20")
    first_batch = train(few, tiny, [4])[1]
    assert [epoch.samples for epoch in first_batch] == [20]


@pytest.mark.parametrize("method", ["finetune", "ewc", "global_mask", "l1_sparsity"])
def test_the_same_seed_gives_the_same_bits(method: str, make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config(f"method={method}", "train.epochs=2", "train.batch_size=20")
    assert torch.equal(train(config, tiny, [4], 2)[0].parameters, train(config, tiny, [4], 2)[0].parameters)
    assert not torch.equal(train(config, tiny, [4], 2)[0].parameters, train(config, tiny, [5], 2)[0].parameters)


@pytest.mark.parametrize("name", ["permuted_digits", "split_digits"])
def test_a_run_in_a_stack_is_the_run_alone(name: str, make_config: MakeConfig, tiny: Dataset) -> None:
    # Split tasks differ in size between the runs, so here their last batches do.
    config = make_config(f"benchmark={name}", "train.epochs=3", "train.batch_size=40")
    among = train(config, tiny, [9, 4, 7], 2)
    for run, seed in enumerate([9, 4, 7]):
        alone = train(config, tiny, [seed], 2)
        own = alone[0].layout.named(alone[0].parameters, 0)
        for key, tensor in among[0].layout.named(among[0].parameters, run).items():
            torch.testing.assert_close(tensor, own[key], rtol=1e-8, atol=1e-10)
        for mine, theirs in zip(among[1], alone[1], strict=True):
            torch.testing.assert_close(mine.data_loss[run], theirs.data_loss[0])


@pytest.mark.parametrize(
    "options",
    [
        ["train.optimizer=adam", "train.weight_decay=0.1"],
        ["train.optimizer=sgd", "train.momentum=0.9", "train.weight_decay=0.1", "train.learning_rate=0.1"],
        ["train.optimizer=adam", "method.l1_lambda=0.5"],
        ["train.optimizer=adam", "method.ewc_lambda=100"],
    ],
)
@pytest.mark.parametrize("method", ["global_mask", "layerwise_mask"])
def test_a_frozen_parameter_does_not_change_by_a_bit(
    options: list[str], method: str, make_config: MakeConfig, tiny: Dataset
) -> None:
    config = make_config(f"method={method}", "freeze=0.6", "train.epochs=5", "train.batch_size=20", *options)
    benchmark, stack = tiny_pair(config, tiny, [4, 5], torch.float32)
    part = Method(stack, [config] * 2)
    list(train_task(stack, part, benchmark, 0, [0], config.train))
    part.end(0, torch.rand_like(stack.parameters), stack.sizes[-1])
    before = stack.parameters.clone()
    list(train_task(stack, part, benchmark, 1, [1], config.train))
    frozen = part.scale == 0
    in_use = 2 * stack.layout.per_row
    assert frozen.sum() > 0.59 * in_use
    assert torch.equal(stack.parameters.view(torch.int32)[frozen], before.view(torch.int32)[frozen])
    assert (stack.parameters != before).sum() > 0.2 * in_use


@pytest.mark.parametrize("freeze", [0.0, 0.5])
@pytest.mark.parametrize("unit", ["parameter", "neuron"])
def test_a_soft_mask_is_plain_adam_with_each_update_scaled(
    unit: str, freeze: float, make_config: MakeConfig, tiny: Dataset
) -> None:
    options = [f"method.unit={unit}", f"freeze={freeze}", "train.epochs=2", "train.batch_size=20"]
    config = make_config("method=layerwise_mask", "method.soft=true", *options)
    benchmark, stack = tiny_pair(config, tiny, [4])
    network = network_of(stack, 0, "relu").double()
    fisher = torch.rand(stack.layout.numel, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    scales: list[torch.Tensor] = []
    for weight, bias in stack.layout.layers(fisher):
        rows = torch.cat([weight[0], bias[0][:, None]], 1)
        ranked = rows.sum(1, keepdim=True) if unit == "neuron" else rows
        count = round(freeze * ranked.numel())
        threshold = ranked.flatten().sort(descending=True).values[max(count - 1, 0)]
        scale = (1 - ranked / threshold).clamp(min=0).expand_as(rows)
        scales += [scale[:, :-1], scale[:, -1]]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.train.learning_rate)
    source = generator(4, "batches", 0)
    for _ in range(2):
        for ids in torch.randperm(len(tiny.train.labels), generator=source).split(20):
            outputs = network(benchmark.train.inputs_of(ids[None], [0])[0].T)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(outputs, tiny.train.labels[ids]).backward()
            before = [parameter.detach().clone() for parameter in network.parameters()]
            optimizer.step()
            with torch.no_grad():
                for parameter, old, scale in zip(network.parameters(), before, scales, strict=True):
                    parameter.copy_(old + scale * (parameter - old))

    method = Method(stack, [config])
    method.end(0, fisher, stack.sizes[-1])
    list(train_task(stack, method, benchmark, 0, [0], config.train))
    for found, parameter in zip(stack.layout.named(stack.parameters, 0).values(), network.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.detach(), rtol=1e-8, atol=1e-10)


def test_a_hard_mask_is_the_same_to_the_bit_beside_a_soft_one(make_config: MakeConfig, tiny: Dataset) -> None:
    hard = make_config("method=global_mask", "train.epochs=3", "train.batch_size=20", "method.l1_lambda=0.5")
    soft = make_config("method=global_mask", "method.soft=true", "train.epochs=3", "train.batch_size=20")
    found = []
    for neighbour in (hard, soft):
        benchmark, stack = tiny_pair(hard, tiny, [4, 5], torch.float32)
        method = Method(stack, [hard, neighbour])
        method.end(0, torch.rand(stack.layout.numel, generator=torch.Generator().manual_seed(1)), stack.sizes[-1])
        list(train_task(stack, method, benchmark, 1, [1], hard.train))
        found.append(stack.layout.select(stack.parameters, [0]).view(torch.int32))
    assert torch.equal(*found)


def test_joint_training_sees_every_task(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("method=joint", "train.epochs=1", "train.batch_size=20")
    benchmark, stack = tiny_pair(config, tiny, [4])
    (epoch,) = train_task(stack, Method(stack, [config]), benchmark, 2, [0, 1, 2], config.train)
    assert isinstance(epoch, Epoch)
    assert epoch.samples == 3 * len(tiny.train.labels)


def test_divergence_is_told_by_run(make_config: MakeConfig, tiny: Dataset) -> None:
    config = make_config("train.optimizer=sgd", "train.learning_rate=1e-3", "train.epochs=2")
    benchmark, stack = tiny_pair(config, tiny, [4, 5])
    method = Method(stack, [config] * 2)
    stack.layers[-1].bias[1, 0] = torch.inf
    found = train_task(stack, method, benchmark, 0, [0], config.train)
    epochs = [epoch for epoch in found if isinstance(epoch, Epoch)]
    assert [epoch.diverged.tolist() for epoch in epochs] == [[False, True]] * 2
    reason = divergence(1, epochs[0], 1, config)
    assert "task 1, epoch 1: try a smaller train.learning_rate (now 0.001)" in reason


def test_samples_are_visited_once_an_epoch(
    make_config: MakeConfig, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    # A last batch of 32, which is not filled up.
    config = make_config("train.epochs=2", "train.batch_size=133")
    benchmark, stack = tiny_pair(config, tiny, [4])
    inputs_of = benchmark.train.inputs_of

    def watched(ids: torch.Tensor, tasks: Sequence[int]) -> torch.Tensor:
        seen.extend(ids.flatten().tolist())
        return inputs_of(ids, tasks)

    monkeypatch.setattr(benchmark.train, "inputs_of", watched)
    list(train_task(stack, Method(stack, [config]), benchmark, 0, [0], config.train))
    size = len(tiny.train.labels)
    assert sorted(seen[:size]) == sorted(seen[size:]) == list(range(size))
    assert seen[:size] != seen[size:]
