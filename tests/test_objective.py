"""The value that every run returns to whoever swept it."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from test_cli import QUICK, Runner, cl_run

from cl_runner.config.schema import Config
from cl_runner.errors import RunError
from cl_runner.metrics import less_is_better, objective
from cl_runner.results.run import load_run
from cl_runner.sweeps import sweeper

__all__ = ["cl_run"]

MINE = {
    "stacked": ["hydra/launcher=stacked", "hydra.launcher.workers=1"],
    "slurm_local": ["hydra/launcher=slurm_local", "hydra.launcher.array_parallelism=1"],
    "basic": [],
}
# What is submitted to this machine outlives the process that submits it.
OUTLIVES = "ignore:subprocess .* is still running:ResourceWarning"
DIVERGING = ["train.optimizer=sgd", "train.learning_rate=0.1,1e30"]


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[JobReturn]:
    """What the last sweep returned."""
    found: list[JobReturn] = []
    sweep = sweeper.sweep

    def spied(config: DictConfig, presets: ConfigLoader, launcher: Launcher, given: Sequence[str]) -> list[JobReturn]:
        launch = launcher.launch

        def noted(*jobs: Any, **first: Any) -> Sequence[JobReturn]:
            found[:] = launch(*jobs, **first)
            return found

        monkeypatch.setattr(launcher, "launch", noted)
        return sweep(config, presets, launcher, given)

    monkeypatch.setattr(sweeper, "sweep", spied)
    return found


def test_it_is_a_mean_over_the_validation_samples_if_there_are_any() -> None:
    names = ["average", "learning", "backward_transfer", "forward_transfer", "average_forgetting"]
    values = {"average_accuracy": 1, "learning_accuracy": 2, **dict(zip(names[2:], (3, 4, None), strict=True))}
    assert [objective(values, name) for name in names] == [1, 2, 3, 4, None]
    assert objective(values) == 1
    validation = {name: 10 * (value or 1) for name, value in values.items()}
    assert [objective({**values, "validation": validation}, name) for name in names] == [10, 20, 30, 40, 10]
    assert objective({"average_mse": 0.5, "learning_mse": 0.25}, "learning") == 0.25
    # Whatever the setting allows is a metric.
    assert [item.metadata["allowed"].options for item in fields(Config) if item.name == "objective"] == [tuple(names)]


def test_what_is_better() -> None:
    assert [less_is_better("average", "accuracy"), less_is_better("average", "mse")] == [False, True]
    assert [less_is_better("learning", "accuracy"), less_is_better("learning", "mse")] == [False, True]
    assert less_is_better("average_forgetting", "accuracy")
    assert not less_is_better("backward_transfer", "mse")


@pytest.mark.filterwarnings(OUTLIVES)
@pytest.mark.parametrize(("launcher", "held_out"), [*((name, "0.5") for name in MINE), ("stacked", "null")])
def test_every_launcher_returns_it(
    launcher: str, held_out: str, cl_run: Runner, returned: list[JobReturn], tmp_path: Path
) -> None:
    # The second and the third differ in nothing that acts.
    jobs = ["method=global_mask,finetune", "freeze=0.5,0.9", f"benchmark.validation={held_out}", "objective=learning"]
    assert cl_run("-m", *MINE[launcher], "hydra.sweep.dir=sweep", *jobs, *QUICK)[0] == 0
    stacked = launcher != "basic"
    runs = [load_run(tmp_path / "sweep" / str(number)) for number in ((0, 1, 2, 2) if stacked else range(4))]
    metrics = [run.metrics.get("validation", run.metrics) for run in runs]
    assert all((mine is run.metrics) == (held_out == "null") for mine, run in zip(metrics, runs, strict=True))
    assert [job.return_value for job in returned] == [mine["learning_accuracy"] for mine in metrics]
    if stacked:
        # Those that were finished before have a value too, by what is asked for now.
        jobs[-1] = "objective=backward_transfer"
        assert cl_run("-m", *MINE[launcher], "hydra.sweep.dir=sweep", *jobs, *QUICK)[0] == 0
        assert [job.return_value for job in returned] == [mine["backward_transfer"] for mine in metrics]


@pytest.mark.filterwarnings(OUTLIVES)
def test_what_is_not_waited_for_has_none(cl_run: Runner, returned: list[JobReturn], tmp_path: Path) -> None:
    options = [*MINE["slurm_local"], "hydra.launcher.wait=false", "hydra.sweep.dir=sweep", "seed=0,1"]
    assert cl_run("-m", *options, "train.epochs=100000", *QUICK[:2])[0] == 0
    assert [job.return_value for job in returned] == [None, None]
    (record,) = (tmp_path / "sweep" / ".submitit").glob("submission_*.json")
    for task in json.loads(record.read_text())["tasks"]:
        psutil.Process(int(task)).kill()


@pytest.mark.parametrize("launcher", ["stacked", "basic"])
def test_a_failed_job_raises_its_reason(launcher: str, cl_run: Runner, returned: list[JobReturn]) -> None:
    assert cl_run("-m", *MINE[launcher], "hydra.sweep.dir=sweep", *DIVERGING, *QUICK)[0] == 1
    good, diverged = returned
    assert 0 <= good.return_value <= 1
    with pytest.raises(RunError, match="the loss became infinite or not a number"):
        _ = diverged.return_value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective=accuracy"], "objective: got accuracy, allowed: one of average, learning, backward_transfer, "),
        (
            ["objective=backward_transfer", "benchmark.tasks=1"],
            "objective: got backward_transfer with benchmark.tasks=1, allowed: average, learning\n",
        ),
        (
            ["objective=forward_transfer", "benchmark=split_digits", "benchmark.scenario=class"],
            "objective: got forward_transfer with benchmark.scenario=class, allowed: average, learning, ",
        ),
    ],
)
def test_one_that_no_run_has_is_refused(settings: list[str], message: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*settings)
    assert code == 2
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
