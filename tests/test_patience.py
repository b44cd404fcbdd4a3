"""A task that ends where its epochs no longer better the score on validation samples."""

import csv
import filecmp
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, network_of
from test_runner import Silent
from test_seeds import COUNTING, SI

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.engine.mlp import MLPStack
from cl_runner.errors import ConfigError
from cl_runner.methods.method import Method
from cl_runner.results.run import load_run
from cl_runner.runs.loop import run_stack
from cl_runner.runs.training import Epoch, train_task

PATIENCE, EPOCHS = 2, 30
SETTINGS = [
    "benchmark.tasks=2",
    "benchmark.train_samples=200",
    "benchmark.validation=0.2",
    "model.hidden=[9,7]",
    "train.batch_size=16",
    "train.learning_rate=0.02",
    f"train.epochs={EPOCHS}",
    "fisher.samples=30",
]
STOPPING = [*SETTINGS, f"train.patience={PATIENCE}"]
CURVE = [
    *SETTINGS[:1],
    "benchmark=regression",
    "train.batch_size=16",
    "train.first_epochs=null",
    f"train.epochs={EPOCHS}",
]
METHODS = {
    "ewc": ["method=ewc", "method.ewc_lambda=3"],
    "soft mask and l1": ["method=layerwise_mask", "method.soft=true", "method.l1_lambda=0.01"],
    "a part": ["method=finetune", SI],
    "a part that counts": ["method=ewc", COUNTING],
    "joint": ["method=joint"],
}


def ends(directory: Path) -> list[int]:
    """The number of epochs in which each task was trained."""
    with (directory / "training.csv").open() as file:
        found = Counter(row["task"] for row in csv.DictReader(file))
    return [found[task] for task in sorted(found)]


def test_it_ends_and_goes_on_where_a_plain_loop_does(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(*STOPPING, "method=finetune", "seed=1")
    run_stack([config], [tmp_path], Silent())

    benchmark = make_benchmark(config.benchmark, "unused", [1], "cpu")
    stack = MLPStack([64, 9, 7, 10], "relu", [1])
    assert benchmark.validation
    (ids,) = benchmark.validation.samples([0])
    inputs, labels = benchmark.validation.inputs_of(ids[None], [0])[0].T, benchmark.validation.labels_of(ids[None])[0]
    right, parameters = [], []
    for epoch in train_task(stack, Method(stack, [config]), benchmark, 0, [0], config.train):
        if isinstance(epoch, Epoch):
            right.append(int((network_of(stack, 0, "relu")(inputs).argmax(1) == labels).sum()))
            parameters.append(list(network_of(stack, 0, "relu").parameters()))
    assert len(right) == EPOCHS
    best = last = 0
    for last in range(1, EPOCHS):
        if right[last] > right[best]:
            best = last
        elif last - best == PATIENCE:
            break
    assert 0 < best < last < EPOCHS - 1
    assert ends(tmp_path)[0] == last + 1
    found = load_run(tmp_path).network(1).parameters()
    for one, other in zip(found, parameters[best], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_run_of_its_best_epochs(method: str, make_config: MakeConfig, tmp_path: Path) -> None:
    stopped, plain = tmp_path / "stopped", tmp_path / "plain"
    run_stack([make_config(*STOPPING, *METHODS[method])], [stopped], Silent())
    same_as_best(make_config, [*SETTINGS, *METHODS[method]], stopped, plain)


def test_a_smaller_error_is_better(make_config: MakeConfig, tmp_path: Path) -> None:
    run_stack([make_config(*CURVE, f"train.patience={PATIENCE}")], [tmp_path / "stopped"], Silent())
    same_as_best(make_config, CURVE, tmp_path / "stopped", tmp_path / "plain")


def same_as_best(make_config: MakeConfig, settings: list[str], stopped: Path, plain: Path) -> None:
    """Hold a run of two tasks that both ended early against one that has just as many epochs as were good."""
    last = ends(stopped)
    assert max(last) < EPOCHS
    first, second = (number - PATIENCE for number in last)
    config = make_config(*settings, f"train.first_epochs={first}", f"train.epochs={second}")
    run_stack([config], [plain], Silent())
    (scores,) = (name for name in ("accuracy.csv", "mse.csv") if (plain / name).exists())
    names = [scores, "metrics.json", "significance.csv", "layers.csv"]
    names += [f"{kind}/task_{task}.safetensors" for kind in ("checkpoints", "masks", "significance") for task in (1, 2)]
    assert filecmp.cmpfiles(stopped, plain, names, shallow=False)[1:] == ([], [])
    # All that is recorded is whole, and the curve ends in what is put back.
    run = load_run(stopped)
    final = [row for row in run.learning_curves if row["epoch"] == last[int(row["task"]) - 1]]
    assert [row[run.score] for row in final] == pytest.approx([run.matrix[1, 0], *run.matrix[2]])
    assert len(run.table("training.csv")) == sum(last)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["benchmark.validation=null"],
            "with benchmark.validation=null, allowed: null, as there are no samples to judge",
        ),
        (
            ["train.keep_optimizer=true"],
            "with train.keep_optimizer=true, allowed: null, as the next task would go on with",
        ),
    ],
)
def test_what_it_contradicts_is_refused(settings: list[str], message: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=f"^train.patience: got 3 {message}"):
        make_config("train.patience=3", *settings)
