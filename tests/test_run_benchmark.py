"""The samples that a finished run gives back are those that it was tested on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeArrays, MakeConfig
from test_runner import Silent

from cl_runner import load_run
from cl_runner.benchmarks import base
from cl_runner.errors import ConfigError, DataError
from cl_runner.results.run import Run
from cl_runner.runs.loop import run_stack

SPLITS = ("train", "test")
SMALL = ["benchmark.tasks=3", "benchmark.test_samples=60", "benchmark.train_samples=60", "train.epochs=2"]
SMALL += ["model.hidden=[12]", "fisher.samples=20"]
FAMILIES = {
    "permuted": ["benchmark=permuted_digits"],
    "split": ["benchmark=split_digits"],
    "rotated": ["benchmark=rotated_mnist", "benchmark.dataset=digits", "benchmark.angles=random"],
    "given": ["benchmark=arrays", "benchmark.family=given", *(f"benchmark.{part}_samples=null" for part in SPLITS)],
}


def trained(place: Path, make_config: MakeConfig, *overrides: str) -> list[Run]:
    """Finished runs of the seeds 3 and 4, which share a stack where they can."""
    configs = [make_config(*SMALL, *overrides, f"seed={seed}") for seed in (3, 4)]
    directories = [place / str(config.seed) for config in configs]
    apart = configs[0].benchmark.family == "split"
    for part in ([0], [1]) if apart else ([0, 1],):
        run_stack([configs[at] for at in part], [directories[at] for at in part], Silent())
    return [load_run(directory) for directory in directories]


@pytest.mark.parametrize("model", [[], ["model=module", "model.target=own_nets.convolutional"]])
@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_have_their_recorded_accuracy(
    family: str, scenario: str, model: list[str], make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path
) -> None:
    overrides = [*FAMILIES[family], *model, f"benchmark.scenario={scenario}"]
    if family == "given":
        overrides.append(f"benchmark.path={make_arrays(tasks=4)}")
    for run in trained(tmp_path, make_config, *overrides):
        benchmark = run.benchmark()
        for after in range(1, 4):
            network = run.network(after)
            for task in range(1, 4):
                inputs, labels = benchmark.test(task)
                active = benchmark.active_outputs(task, after)
                predicted = network(inputs)[:, active].argmax(1) + active.start
                accuracy = (predicted == labels).double().mean().item()
                assert accuracy == pytest.approx(run.matrix[after, task - 1], abs=1e-6)


def test_networks_have_their_recorded_error(make_config: MakeConfig, tmp_path: Path) -> None:
    for run in trained(tmp_path, make_config, "benchmark=regression"):
        for task in range(1, 4):
            inputs, labels = run.benchmark().test(task)
            error = (run.network(3)(inputs)[:, 0] - labels).square().mean().item()
            assert error == pytest.approx(run.matrix[3, task - 1], rel=1e-4)
            low, high = run.tasks[task]["interval"]
            train = run.benchmark().train(task).inputs
            assert low <= train.min() <= train.max() <= high


def test_tasks_are_numbered_from_1(make_config: MakeConfig, tmp_path: Path) -> None:
    benchmark = trained(tmp_path, make_config)[0].benchmark()
    assert benchmark.input_shape == (1, 8, 8)
    assert benchmark.train(1).inputs.shape == (50, 64)
    assert torch.equal(benchmark.train(1).labels, benchmark.train(3).labels)
    assert not torch.equal(benchmark.train(1).inputs, benchmark.train(3).inputs)
    for task in (0, 4):
        with pytest.raises(ValueError, match=f"task: got {task}, allowed: 1 to 3"):
            benchmark.test(task)


def test_the_file_of_a_run_may_move_but_not_change(
    make_config: MakeConfig, make_arrays: MakeArrays, tmp_path: Path
) -> None:
    file = make_arrays()
    run = trained(tmp_path, make_config, "benchmark=arrays", f"benchmark.path={file}")[0]
    before = run.benchmark().test(2)
    moved = file.rename(tmp_path / "moved.npz")
    # Nobody needs it who reads what the run recorded.
    found = load_run(run.path)
    assert found.config.benchmark.classes_per_task == 10
    assert found.config.benchmark.input_shape == [1, 8, 8]
    assert found.network(3) is not None
    base._arrays.cache_clear()
    with pytest.raises(ConfigError, match=rf"benchmark\.path: got {file}, .*No such file"):
        found.benchmark()
    after = found.benchmark(path=str(moved)).test(2)
    assert torch.equal(before.inputs, after.inputs)
    base._arrays.cache_clear()
    with np.load(moved) as arrays:
        np.savez(moved, **(dict(arrays) | {"y_test": arrays["y_test"][::-1]}))
    with pytest.raises(DataError, match=rf"{moved} is another file than its run was begun with"):
        load_run(run.path).benchmark(path=str(moved))
