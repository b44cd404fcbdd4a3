"""The samples that are held out from training: which they are, and that nothing but their own scores knows of them."""

import csv
import filecmp
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeArrays, MakeConfig
from test_runner import Silent
from torch import Tensor

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.benchmarks.holdout import held_out
from cl_runner.benchmarks.own import TaskBenchmark
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DamagedError, DataError
from cl_runner.results.record import complete
from cl_runner.results.run import Run, load_run
from cl_runner.runs.loop import run_stack

SHORT = ["benchmark.tasks=2", "train.epochs=2", "train.learning_rate=0.01", "model.hidden=[9,8]", "method=ewc"]


def trained(directory: Path, *configs: Config) -> list[Run]:
    directories = [directory / str(number) for number in range(len(configs))]
    run_stack(configs, directories, Silent())
    return [load_run(each) for each in directories]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_the_fraction_of_each_group_is_held_out(fraction: float) -> None:
    sizes = [1, 2, 3, 10, 57]
    groups = torch.repeat_interleave(torch.arange(5), torch.tensor(sizes))[torch.randperm(73)]
    kept, held = held_out(groups, fraction)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(73))
    for tensor in (kept, held):
        assert tensor.tolist() == sorted(tensor.tolist())
    for group, size in enumerate(sizes):
        count = int((groups[held] == group).sum())
        assert count == max(min(1, size - 1), min(round(fraction * size), size - 1))
    # The same ones whatever random numbers were drawn before.
    assert torch.equal(held_out(groups, fraction)[1], held)


@pytest.mark.parametrize(
    "settings",
    [
        ["benchmark=permuted_digits"],
        ["benchmark=split_digits", "benchmark.scenario=task"],
        ["benchmark.family=rotated"],
        ["benchmark=regression", "train.first_epochs=null", "train.epochs=2"],
    ],
)
def test_held_out_samples_are_those_that_training_lacks(settings: list[str], make_config: MakeConfig) -> None:
    whole, parted = (
        make_benchmark(make_config(*settings, f"benchmark.validation={part}").benchmark, "", [3, 4], "cpu")
        for part in ("null", 0.2)
    )
    assert whole.validation is None
    assert parted.validation is not None
    for task in (0, 2):
        for stream, everything in enumerate(whole.train.samples([task])):
            kept, held = (split.samples([task])[stream] for split in (parted.train, parted.validation))
            assert len(held) == pytest.approx(0.2 * len(everything), abs=3)
            assert len(kept) + len(held) == len(everything)
            labels = [
                split.labels_of(ids.repeat(2, 1))[stream]
                for split, ids in ((parted.train, kept), (parted.validation, held), (whole.train, everything))
            ]
            assert sorted([*labels[0].tolist(), *labels[1].tolist()]) == sorted(labels[2].tolist())


def test_they_are_the_same_for_every_seed(make_config: MakeConfig) -> None:
    config = make_config("benchmark.normalize=false").benchmark
    found = []
    for seed in (0, 1):
        split = make_benchmark(config, "", [seed], "cpu").validation
        assert split is not None
        # The first task shows images as they are.
        found.append(split.inputs_of(split.samples([0])[0][None], [0]))
    assert torch.equal(*found)


@pytest.mark.parametrize("normalize", ["true", "false"])
@pytest.mark.parametrize("family", ["permuted", "split", "given"])
def test_absurd_held_out_samples_change_nothing_but_their_scores(
    family: str, normalize: str, make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path
) -> None:
    runs = []
    for poison in (False, True):
        with np.load(make_arrays(tasks=2)) as file:
            x, y, t = (file[name] for name in ("x_train", "y_train", "t_train"))
        if poison:
            groups = torch.from_numpy(y + 10 * t if family == "given" else y)
            x[held_out(groups, 0.1)[1]] = 255 - x[held_out(groups, 0.1)[1]]
        path = make_arrays(tasks=2, x_train=x, **({} if family == "given" else {"t_train": None, "t_test": None}))
        settings = [*SHORT, "benchmark=arrays", f"benchmark.path={path}", f"benchmark.family={family}"]
        settings += ["benchmark.classes_per_task=2"] * (family == "split") + [f"benchmark.normalize={normalize}"]
        methods = ["freeze=0.3", "method=layerwise_mask", "method.penalty=ewc", "method.ewc_lambda=3"]
        runs.append(trained(tmp_path / f"poisoned_{poison}", make_config(*settings, *methods))[0])
    same_but_for_validation(*(run.path for run in runs))
    assert losses(runs[0]) != losses(runs[1])


def losses(run: Run) -> list[float]:
    return [row["validation_loss"] for row in run.table("accuracy.csv")]


def same_but_for_validation(one: Path, other: Path) -> None:
    tensors = [str(path.relative_to(one)) for path in one.rglob("*.safetensors")]
    assert len(tensors) == 6
    tables = ["accuracy_matrix.csv", "significance.csv", "significance_histograms.csv", "layers.csv"]
    assert filecmp.cmpfiles(one, other, tensors + tables, shallow=False)[1:] == ([], [])
    unaffected: list[list[Any]] = []
    for directory in (one, other):
        of_test = [
            [{key: value for key, value in row.items() if not key.startswith(("validation", "s"))} for row in table]
            for table in map(load_run(directory).table, ("accuracy.csv", "learning_curves.csv", "training.csv"))
        ]
        metrics = {key: value for key, value in load_run(directory).metrics.items() if key != "validation"}
        unaffected.append([of_test, metrics])
    assert unaffected[0] == unaffected[1]


class Noise(TaskBenchmark):
    """Random samples, of which those that are held out may be `absurd`."""

    def task(self, number: int, seed: int, *, absurd: bool = False) -> Any:
        source = np.random.default_rng([number, seed])
        inputs, labels = source.random((50, 6)).astype("float32"), np.arange(50) % 2
        if absurd:
            inputs[held_out(torch.from_numpy(labels), 0.1)[1]] = 1e6
        return (inputs, labels), (source.random((40, 6)).astype("float32"), np.arange(40) % 2)


def test_absurd_held_out_samples_of_ones_own(make_config: MakeConfig, tmp_path: Path) -> None:
    settings = [*SHORT, "benchmark=own", "benchmark.target=test_validation.Noise", "benchmark.input_shape=[6]"]
    settings += ["benchmark.classes_per_task=2"]
    configs = [make_config(*settings, f"+benchmark.arguments.absurd={absurd}") for absurd in ("false", "true")]
    runs = [trained(tmp_path / str(number), config)[0] for number, config in enumerate(configs)]
    same_but_for_validation(*(run.path for run in runs))
    assert losses(runs[0]) != losses(runs[1])


@pytest.mark.parametrize("benchmark", ["permuted_digits", "split_digits", "regression"])
def test_validation_scores_are_those_of_the_network(benchmark: str, make_config: MakeConfig, tmp_path: Path) -> None:
    settings = [*SHORT, f"benchmark={benchmark}", "benchmark.validation=0.3", "train.first_epochs=null"]
    (run,) = trained(tmp_path, make_config(*settings, "benchmark.train_samples=200"))
    assert run.validation_matrix is not None
    for after in (1, 2):
        for task in (1, 2):
            samples = run.benchmark().validation(task)
            with torch.no_grad():
                outputs = run.network(after)(samples.inputs)
            score = float(scored(outputs, samples.labels, run))
            assert run.validation_matrix[after, task - 1] == pytest.approx(score, rel=1e-5)
            (found,) = [
                row for row in run.table(f"{run.score}.csv") if (row["after_task"], row["eval_task"]) == (after, task)
            ]
            assert found["validation_samples"] == len(samples.labels)
            assert found[f"validation_{run.score}"] == pytest.approx(score, rel=1e-5)
    assert run.metrics["validation"][f"average_{run.score}"] == pytest.approx(run.validation_matrix[-1].mean())
    last = run.learning_curves[-2:]
    assert [row[f"validation_{run.score}"] for row in last] == pytest.approx(run.validation_matrix[-1].tolist(), 1e-5)


def scored(outputs: Tensor, labels: Tensor, run: Run) -> Tensor:
    if run.score == "mse":
        return (outputs[:, 0] - labels).square().mean()
    return (outputs.argmax(1) == labels).double().mean()


def test_none_are_held_out_of_a_run_that_is_to_have_none(make_config: MakeConfig, tmp_path: Path) -> None:
    (run,) = trained(tmp_path, make_config(*SHORT, "benchmark.validation=null", "benchmark.train_samples=100"))
    assert run.validation_matrix is None
    assert "validation" not in run.metrics
    assert len(run.benchmark().train(1).labels) == 100
    with pytest.raises(ValueError, match="held out no samples"):
        run.benchmark().validation(1)
    with (run.path / "accuracy.csv").open() as file:
        assert next(csv.reader(file)) == ["after_task", "eval_task", "accuracy", "loss", "samples"]


def test_a_task_with_nothing_to_hold_out_is_refused(
    make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path
) -> None:
    # Each class of the second task has one sample.
    tasks = np.zeros(1297, int)
    y = np.arange(1297) % 10
    tasks[:10] = 1
    path = make_arrays(tasks=2, t_train=tasks, y_train=y)
    settings = ["benchmark=arrays", f"benchmark.path={path}", "benchmark.family=given", *SHORT]
    with pytest.raises(DataError, match=r"^benchmark.validation: got 0.1, but task 2 has no .* allowed: null$"):
        trained(tmp_path / "refused", make_config(*settings))
    trained(tmp_path / "taken", make_config(*settings, "benchmark.validation=null"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["benchmark.validation=0"], "got 0.0, allowed: a number above 0, below 1, or null"),
        (["benchmark.validation=1"], "got 1.0, allowed: a number above 0, below 1, or null"),
        (["benchmark.train_samples=19"], "got 0.1 with 19 training samples, allowed: null, or at least 20 samples"),
        (
            ["benchmark=regression", "benchmark.train_samples=1"],
            "got 0.1 with 1 training samples, allowed: null, or at least 2 samples",
        ),
    ],
)
def test_what_is_refused(settings: list[str], words: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(*settings)
    assert str(caught.value) == f"benchmark.validation: {words}"


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("accuracy.csv", lambda line: [*line[:5], "1.5", *line[6:]], "validation_accuracy: got 1.5"),
        ("accuracy.csv", lambda line: [*line[:5], "0.123", *line[6:]], "validation_accuracy: is no share"),
        ("learning_curves.csv", lambda line: [*line[:4], "0.123"], "not those of this run"),
    ],
)
def test_altered_validation_scores_are_named(
    name: str, line: Any, words: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    (run,) = trained(tmp_path, make_config(*SHORT, "benchmark.train_samples=100"))
    lines = (run.path / name).read_text().splitlines()
    (run.path / name).write_text("\n".join([*lines[:-1], ",".join(line(lines[-1].split(",")))]) + "\n")
    check_in(run.path)
    with pytest.raises(DamagedError, match=words):
        _ = load_run(run.path).validation_matrix, load_run(run.path).learning_curves


def test_altered_validation_metrics_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    (run,) = trained(tmp_path, make_config(*SHORT, "benchmark.train_samples=100"))
    metrics = json.loads((run.path / "metrics.json").read_text())
    metrics["validation"]["average_accuracy"] += 0.1
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    check_in(run.path)
    with pytest.raises(DamagedError, match=r"validation_average_accuracy is not what accuracy\.csv gives"):
        _ = load_run(run.path).metrics


def check_in(directory: Path) -> None:
    """Have the record name the files as they are now."""
    complete(directory, {}, (directory / "metrics.json").read_bytes())
