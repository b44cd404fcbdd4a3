"""Filled up, a run's last batches give it the same bits in any stack."""

import filecmp
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig
from test_runner import Silent

from cl_runner.benchmarks.batches import stacked, total, widths
from cl_runner.runs import evaluation, fisher
from cl_runner.runs.loop import run_stack

# Seconds and versions differ between runs.
TIMED = {"run.json", "training.csv", ".lock"}


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        (1, 32, [16]),
        (17, 32, [32]),
        (65, 32, [32, 32, 16]),
        (64, 32, [32, 32]),
        (60, 20, [20, 20, 20]),
        (65, 20, [20, 20, 20, 16]),
        (41, 1000, [48]),
    ],
)
def test_a_short_last_batch_is_filled_up_and_no_other(samples: int, size: int, expected: list[int]) -> None:
    assert widths(samples, size) == expected


def test_filling_has_no_weight() -> None:
    orders = [torch.tensor([5, 3, 4]), torch.tensor([7])]
    ids, present = stacked(orders, 16, torch.empty(()))
    assert ids[0].tolist() == [5, 3, 4] + [5] * 13
    assert ids[1].tolist() == [7] * 16
    assert present.sum(1).tolist() == [3, 1]
    assert total(ids.float(), present).tolist() == [12, 7]


def test_a_sum_does_not_depend_on_the_filling() -> None:
    source = torch.Generator().manual_seed(0)
    for count in (7, 43, 559, 3000):
        values = torch.rand(count, generator=source).log()
        sums = []
        for columns in (count, count + 1, count + 16, 2 * count):
            for runs in (1, 4):
                filled = torch.nn.functional.pad(values, (0, columns - count)).expand(runs, -1)
                sums.append(total(filled, torch.ones_like(filled))[0])
        assert len(set(map(float, sums))) == 1


ESTIMATORS = [[f"fisher.estimator={name}"] for name in ("exact", "sampled", "empirical", "batched")]
METHODS = [
    ["method=finetune"],
    ["method=global_mask"],
    ["method=l2"],
    ["method=l1_sparsity"],
    *(["method=ewc", *estimator] for estimator in ESTIMATORS),
]
JOINT = [["method=joint", "method.l1_lambda=0.03"], *(["method=joint", *estimator] for estimator in ESTIMATORS)]
SPLIT = ["benchmark=split_digits", "benchmark.tasks=3", "train.epochs=1"]


@pytest.mark.parametrize(
    ("methods", "overrides"),
    [
        (METHODS, SPLIT),
        (METHODS, [*SPLIT, "benchmark.scenario=class", "train.batch_size=50"]),
        (METHODS, [*SPLIT, "benchmark.scenario=task", "train.batch_size=null"]),
        (JOINT, [*SPLIT, "benchmark.scenario=task"]),
        (METHODS, ["train.epochs=1", "benchmark.tasks=2", "benchmark.train_samples=300"]),
    ],
    ids=["domain", "class", "full batch", "joint", "permuted"],
)
def test_a_run_in_a_stack_is_the_run_alone_to_the_bit(
    methods: list[list[str]],
    overrides: list[str],
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Several chunks each, also of the largest networks' narrow ones.
    monkeypatch.setattr(evaluation, "_CHUNK", 3000)
    monkeypatch.setattr(fisher, "_CHUNK", 3000)
    configs = [make_config(*method, *overrides) for method in methods]
    together = [tmp_path / "together" / str(number) for number in range(len(configs))]
    run_stack(configs, together, Silent())
    for number, config in enumerate(configs):
        alone = tmp_path / "alone" / str(number)
        run_stack([config], [alone], Silent())
        names = {str(path.relative_to(alone)) for path in alone.rglob("*") if path.is_file()} - TIMED
        assert "significance/task_1.safetensors" in names
        assert filecmp.cmpfiles(alone, together[number], names, shallow=False)[1:] == ([], [])
        tables = [(folder / "training.csv").read_text().splitlines() for folder in (alone, together[number])]
        assert [row.rsplit(",", 2)[0] for row in tables[0]] == [row.rsplit(",", 2)[0] for row in tables[1]]
