from pathlib import Path

import pytest
from conftest import MakeConfig

from cl_runner.config.schema import Config
from cl_runner.sweeps.jobs import Job, divided, largest_stack


def jobs_of(configs: list[Config]) -> list[Job]:
    return [Job(number, config, Path(str(number))) for number, config in enumerate(configs)]


@pytest.fixture(scope="module")
def grid(make_config: MakeConfig) -> list[Config]:
    """4 freeze ratios for each of 6 seeds, by ratio."""
    ratios = (0.1, 0.3, 0.5, 0.9)
    return [
        make_config("method=global_mask", f"freeze={freeze}", f"seed={seed}") for freeze in ratios for seed in range(6)
    ]


@pytest.mark.parametrize(
    ("size", "workers", "lengths"),
    [(100, 1, [24]), (100, 2, [12, 12]), (8, 1, [8, 8, 8]), (9, 2, [6] * 4), (3, 1, [3] * 8), (5, 1, [5, 5, 5, 5, 4])],
)
def test_stacks_are_even_and_seeds_neighbours(size: int, workers: int, lengths: list[int], grid: list[Config]) -> None:
    stacks = divided(jobs_of(grid), size, workers)
    assert [len(stack) for stack in stacks] == lengths
    assert sorted(job.number for stack in stacks for job in stack) == list(range(24))
    for stack in stacks:
        seeds = [job.config.seed for job in stack]
        assert seeds == sorted(seeds)


def test_fewer_jobs_than_workers(make_config: MakeConfig) -> None:
    assert [len(stack) for stack in divided(jobs_of([make_config()] * 2), 10, 4)] == [1, 1]


def test_what_fixes_shapes_and_schedule_parts_stacks(make_config: MakeConfig) -> None:
    same = [
        [],
        ["method=ewc"],
        ["method=l1_sparsity", "freeze=0.2"],
        ["method=global_mask", "method.mask_source=union", "method.unit=neuron"],
        ["fisher.estimator=empirical"],
        ["seed=5"],
        ["train.learning_rate=0.01"],
        ["train.task_decay=0.5"],
        ["model.dropout=0.5"],
        ["train.weight_decay=0.01"],
        ["train.momentum=0.9"],
    ]
    other = [
        ["method=joint"],
        ["benchmark.tasks=4"],
        ["benchmark=split_digits"],
        ["model.hidden=[100,100]"],
        ["model.activation=tanh"],
        ["train.batch_size=64"],
        ["train.optimizer=sgd"],
        ["train.keep_optimizer=true"],
        ["plots=all"],
    ]
    stacks = divided(jobs_of([make_config(*settings) for settings in same + other]), 100, 1)
    assert sorted(job.number for job in stacks[0]) == list(range(len(same)))
    assert [len(stack) for stack in stacks[1:]] == [1] * len(other)


@pytest.mark.parametrize("order", ["seed", "fixed", "[3,1,4,0,5,9]"])
def test_seeds_of_split_tasks_share_a_stack(order: str, make_config: MakeConfig) -> None:
    options = ["benchmark=split_digits", "benchmark.tasks=3", f"benchmark.class_order={order}"]
    configs = [make_config(*options, f"seed={seed}") for seed in (0, 1, 2)]
    other = make_config(*options[:2], "benchmark.class_order=[0,1,2,3,4,6]")
    assert [len(stack) for stack in divided(jobs_of([*configs, other]), 100, 1)] == [3, 1]


def test_the_largest_stack_follows_from_memory(make_config: MakeConfig) -> None:
    digits, mnist = make_config(), make_config("benchmark=permuted_mnist")
    assert largest_stack(digits, 1, on_cpu=True) == 1
    some = largest_stack(digits, 10**10, on_cpu=False)
    assert largest_stack(digits, 2 * 10**10, on_cpu=False) == pytest.approx(2 * some, abs=1)
    assert largest_stack(mnist, 10**10, on_cpu=False) < some
    assert largest_stack(digits, 10**10, on_cpu=True) == 32
