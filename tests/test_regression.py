"""The regression benchmark: data, likelihood, Fisher information and what a run leaves."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeConfig, network_of
from test_runner import Silent
from torch import Tensor
from torch.func import functional_call, grad, vmap

import cl_runner
from cl_runner.benchmarks.regression import HIGH, LOW, NOISE, RegressionBenchmark, curve
from cl_runner.cli.main import main
from cl_runner.config.schema import FisherConfig
from cl_runner.engine.mlp import MLPStack
from cl_runner.results.run import Run, load_run
from cl_runner.runs.fisher import fisher_diagonal
from cl_runner.runs.loop import run_stack

SHORT = ["benchmark=regression", "train.epochs=20", "train.first_epochs=30", "model.hidden=[12,10]"]


def benchmark_of(make_config: MakeConfig, *overrides: str, seeds: tuple[int, ...] = (0,)) -> RegressionBenchmark:
    config = make_config("benchmark=regression", *overrides).benchmark
    return RegressionBenchmark(config, seeds, dtype=torch.float64)


def points(benchmark: RegressionBenchmark, task: int, *, train: bool = True, stream: int = 0) -> tuple[Tensor, Tensor]:
    split = benchmark.train if train else benchmark.test
    ids = split.samples([task])[stream].repeat(len(benchmark.seeds), 1)
    return split.inputs_of(ids, [task])[stream, 0], split.labels_of(ids)[stream]


def test_the_curve_has_one_hump_and_one_deep_dip() -> None:
    x = torch.linspace(LOW, HIGH, 30_001, dtype=torch.float64, requires_grad=True)
    y = curve(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    turns = x[1:][slope[1:].sign() != slope[:-1].sign()]
    torch.testing.assert_close(turns, torch.tensor([-0.8, 0.8], dtype=torch.float64), atol=2e-4, rtol=0)
    assert float(y.detach().max()) == pytest.approx(0.7)
    assert float(y.detach().min()) == pytest.approx(-2.5)


@pytest.mark.parametrize("tasks", [1, 3, 4])
def test_tasks_are_adjoining_intervals(tasks: int, make_config: MakeConfig) -> None:
    benchmark = benchmark_of(make_config, f"benchmark.tasks={tasks}")
    width = (HIGH - LOW) / tasks
    for task in range(tasks):
        for train in (True, False):
            x, _ = points(benchmark, task, train=train)
            assert len(x) == (270 if train else 300)
            assert LOW + task * width <= x.min() < LOW + (task + 0.05) * width
            assert LOW + (task + 0.95) * width < x.max() <= LOW + (task + 1) * width


def test_noise_is_normal_around_the_curve(make_config: MakeConfig) -> None:
    benchmark = benchmark_of(make_config, "benchmark.train_samples=20000")
    x, y = points(benchmark, 1)
    noise = (y - curve(x)) / NOISE
    # Four standard errors of the mean and the variance of 20,000 normal numbers.
    assert abs(noise.mean()) < 4 / 20_000**0.5
    assert abs(noise.var() - 1) < 4 * (2 / 20_000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([noise, x]))[0, 1]) < 4 / 20_000**0.5


def test_streams_draw_their_own_samples_and_keep_them_among_others(make_config: MakeConfig) -> None:
    alone, among = benchmark_of(make_config, seeds=(5,)), benchmark_of(make_config, seeds=(6, 5))
    for train in (True, False):
        own, same = points(alone, 2, train=train), points(among, 2, train=train, stream=1)
        assert all(torch.equal(a, b) for a, b in zip(own, same, strict=True))
        assert not torch.equal(own[0], points(among, 2, train=train)[0])
    assert not torch.equal(points(alone, 0)[0], points(alone, 0, train=False)[0])
    assert all(torch.equal(a, b) for a, b in zip(points(among.of_streams([5]), 1), points(alone, 1), strict=True))


@pytest.mark.parametrize("estimator", ["exact", "empirical", "sampled", "batched"])
def test_fisher_equals_autograd_of_the_gaussian_log_density(estimator: str, make_config: MakeConfig) -> None:
    benchmark = benchmark_of(make_config, seeds=(3, 8))
    stack = MLPStack([1, 7, 6, 1], "sigmoid", [3, 8], dtype=torch.float64)
    # Far from where a network starts, whose outputs hardly depend on the lower layers.
    stack.parameters.mul_(3)
    found = fisher_diagonal(stack, benchmark, 1, FisherConfig(estimator, None, None))
    for run in range(2):
        network = network_of(stack, run, "sigmoid")
        parameters = {name: value.detach() for name, value in network.named_parameters()}
        x, y = points(benchmark, 1, stream=run)
        mean = network(x[:, None])[:, 0].detach()

        def log_density(values: dict[str, Tensor], x: Tensor, y: Tensor, network: torch.nn.Module = network) -> Tensor:
            output = functional_call(network, values, (x[None],))
            normal = torch.distributions.Normal(output[0], torch.ones((), dtype=x.dtype))
            density: Tensor = normal.log_prob(y)
            return density

        # The variance of a label drawn from the model is 1: so two labels one deviation off give the expectation.
        labels = {"exact": [mean - 1, mean + 1]}.get(estimator, [y])
        each = [vmap(grad(log_density), (None, 0, 0))(parameters, x, label) for label in labels]
        for (name, mine), key in zip(stack.layout.named(found, run).items(), parameters, strict=True):
            if estimator == "batched":
                expected = each[0][key].mean(0).square()
            else:
                expected = torch.stack([gradient[key].square().mean(0) for gradient in each]).mean(0)
            if estimator == "sampled":
                # The same expectation as `exact`, over 300 drawn labels.
                of_output = vmap(grad(log_density), (None, 0, 0))(parameters, x, mean + 1)[key].square().mean(0)
                assert float((mine.sum() / of_output.sum()).log().abs()) < 0.5, name
            else:
                torch.testing.assert_close(mine, expected, rtol=1e-8, atol=1e-14)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("regression")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setattr(sys, "argv", ["cl-run", "hydra.run.dir=here", "method=global_mask", "benchmark.tasks=2", *SHORT])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        assert main() == 0
    found: Run = cl_runner.load_run(directory / "here")
    return found


def test_files_are_named_after_the_score(run: Run) -> None:
    names = {path.name for path in run.path.iterdir()}
    assert {"mse.csv", "mse_matrix.csv", "mse_matrix.png", "fit.png", "training.png"} <= names
    assert not any(name.startswith("accuracy") for name in names)
    assert set(run.metrics) - {"per_task", "validation"} == {
        "average_mse",
        "learning_mse",
        "backward_transfer",
        "forward_transfer",
        "average_forgetting",
    }
    assert {"task", "epoch", "eval_task", "mse", "validation_mse"} == set(run.learning_curves[0])


def test_the_matrix_is_of_mean_squared_errors(run: Run) -> None:
    benchmark = RegressionBenchmark(run.config.benchmark, [run.config.seed])
    for after in (1, 2):
        for task in (0, 1):
            x, y = points(benchmark, task, train=False)
            with torch.no_grad():
                errors = (run.network(after)(x[:, None])[:, 0] - y).square()
            assert run.matrix[after, task] == pytest.approx(errors.mean().item(), rel=1e-5)


def test_the_first_task_has_epochs_of_its_own(run: Run) -> None:
    rows = run.table("training.csv")
    assert [row["epoch"] for row in rows] == [*range(1, 31), *range(1, 21)]
    # Full batches: an epoch is one step, whose loss is half the squared error before it.
    first = next(row for row in run.learning_curves if row["task"] == 2)
    assert first["epoch"] == 1
    assert rows[0]["data_loss"] > rows[29]["data_loss"]


def test_forgetting_is_positive_where_an_error_grew(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("benchmark=regression", "train.epochs=150", "train.first_epochs=300", "method=finetune")
    run_stack([config], [tmp_path], Silent())
    run = load_run(tmp_path)
    assert run.matrix[1, 0] < 0.1 < run.matrix[3, 0]
    grown = np.mean([run.matrix[3, task] - run.matrix[task + 1, task] for task in (0, 1)])
    assert run.metrics["backward_transfer"] == pytest.approx(-grown)
    assert run.metrics["average_forgetting"] > 0.1
