"""Searches by the sweeper of hydra-optuna-sweeper, with the real one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from test_cli import QUICK, Runner, cl_run

from cl_runner.metrics import objective
from cl_runner.report.cli import main as report
from cl_runner.results.run import load_run

__all__ = ["cl_run"]

pytest.importorskip("optuna", reason="hydra-optuna-sweeper is not installed: it is the extra `optuna`")
# What Optuna 2, of that sweeper's version 1.3, imports of SQLAlchemy has another place by now.
pytestmark = pytest.mark.filterwarnings("ignore:.*declarative_base:DeprecationWarning")

SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=search", "hydra.sweeper.sampler.seed=1"]
HERE = ["hydra/launcher=stacked", "hydra.launcher.workers=1"]
RATES = ["train.optimizer=sgd", "train.learning_rate=tag(log,interval(0.001,1e30))"]


def batches(trials: int, each: int) -> list[str]:
    return [f"hydra.sweeper.n_trials={trials}", f"hydra.sweeper.n_jobs={each}", *QUICK]


def found(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = yaml.safe_load((folder / "search" / "optimization_results.yaml").read_text())
    return results


@pytest.mark.parametrize("launcher", [HERE, []], ids=["stacked", "basic"])
def test_the_best_trial_is_that_of_the_best_run(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    space = ["+hydra.sweeper.params={method.ewc_lambda:'tag(log,interval(1,1e4))'}", "method=ewc,online_ewc"]
    space += ["benchmark.validation=0.5", "train.epochs=3", "seed=range(0,100)"]
    code, _, error = cl_run(*SEARCH, *launcher, *space, *batches(5, 3))
    assert code == 0
    if launcher:
        assert [line for line in error.splitlines() if " in 1 stack" in line] == [
            "3 runs in 1 stack",
            "2 runs in 1 stack",
        ]
    # The second batch goes on counting.
    runs = [load_run(tmp_path / "search" / str(number)) for number in range(5)]
    assert not (tmp_path / "search" / "5").exists()
    best = max(runs, key=lambda run: objective(run.metrics) or 0)
    assert found(tmp_path) == {
        "name": "optuna",
        "best_params": {
            "method": best.config.method.name,
            "method.ewc_lambda": best.config.method.ewc_lambda,
            "seed": best.config.seed,
        },
        "best_value": objective(best.metrics),
    }
    assert len({objective(run.metrics) for run in runs}) > 1
    assert objective(best.metrics) == best.metrics["validation"]["average_accuracy"]


def test_started_again_it_finds_its_trials(cl_run: Runner, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = [*SEARCH, *HERE, "method=ewc", "method.ewc_lambda=tag(log,interval(1,1e4))"]
    assert cl_run(*command, *batches(4, 2))[0] == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("search/*/*")}
    code, _, error = cl_run(*command, *batches(6, 2))
    assert code == 0
    assert error.count("0 runs in 0 stacks, 2 finished before") == 2
    assert error.count("2 runs in 1 stack") == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (tmp_path / "search" / "5" / "metrics.json").exists()
    assert report(["--status", "search"]) == 0
    assert capsys.readouterr().out.startswith("search: 6 jobs, 6 finished\n")


def test_the_objective_is_minimised_where_less_is_better(cl_run: Runner, tmp_path: Path) -> None:
    space = ["objective=average_forgetting", "hydra.sweeper.direction=minimize", "seed=range(0,100)"]
    assert cl_run(*SEARCH, *HERE, *space, "benchmark.validation=null", *batches(3, 3))[0] == 0
    runs = [load_run(tmp_path / "search" / str(number)) for number in range(3)]
    assert found(tmp_path)["best_value"] == min(run.metrics["average_forgetting"] for run in runs)


@pytest.mark.parametrize("launcher", [HERE, []], ids=["stacked", "basic"])
def test_a_trial_that_diverges_does_not_end_the_search(launcher: list[str], cl_run: Runner, tmp_path: Path) -> None:
    code, output, error = cl_run(*SEARCH, *launcher, *RATES, *batches(4, 2))
    assert code == 0
    assert "Failed experiment: the loss became infinite or not a number in task" in output
    assert "Traceback" not in error
    failed = [(tmp_path / "search" / str(number) / "failed.json").exists() for number in range(4)]
    assert any(failed[:2])
    assert not all(failed)
    assert found(tmp_path)["best_params"]["train.learning_rate"] < 1e12


def test_a_search_of_failures_has_failed(cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*SEARCH, *HERE, RATES[0], "train.learning_rate=interval(1e29,1e30)", *batches(2, 1))
    assert code == 1
    assert error.count("error: job") == 2
    assert "Traceback" not in error
    assert not (tmp_path / "search" / "optimization_results.yaml").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["hydra.sweeper.n_trialss=3"], "hydra.sweeper.n_trialss: unknown setting, allowed: sampler, direction, "),
        (["hydra.sweeper.n_trials=many"], "hydra.sweeper.n_trials: got many, allowed: an integer"),
        (["hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs: got 0, allowed: an integer from 1"),
        (["hydra.sweeper.max_failure_rate=2"], "hydra.sweeper.max_failure_rate: got 2.0, allowed: a number from 0 to"),
        (
            ["hydra.sweeper.sampler.sed=3"],
            "hydra.sweeper.sampler.sed: unknown setting, allowed: seed, consider_prior, ",
        ),
        (
            ["hydra.sweeper.sampler.n_startup_trials=x"],
            "hydra.sweeper.sampler.n_startup_trials: got x, allowed: what optuna.samplers.TPESampler takes",
        ),
        (
            ["hydra/sweeper/sampler=tp"],
            "hydra/sweeper/sampler: got 'tp' (in hydra/sweeper/optuna.yaml), allowed: one of",
        ),
        (
            ["hydra.sweeper.direction=minimize"],
            "hydra.sweeper.direction: got minimize with objective=average and benchmark=permuted_digits, allowed: max",
        ),
        (
            ["benchmark=regression"],
            "hydra.sweeper.direction: got maximize with objective=average and benchmark=regression, allowed: minimize",
        ),
        (
            ["benchmark=own", "objective=learning", "hydra.sweeper.direction=down"],
            "hydra.sweeper.direction: got down with objective=learning and benchmark=own, allowed: minimize or max",
        ),
        (["freeze=interval(2,1)"], "freeze: got interval(2,1) ("),
        (
            ["+hydra.sweeper.params={freeze:interval(0,1)}"],
            "hydra.sweeper.params: got {freeze:interval(0,1)}, allowed: ",
        ),
        (["experiment=pile_up"], "hydra.sweeper.grids: unknown setting (in experiment/pile_up.yaml), allowed: "),
        (
            ["hydra/launcher=slurm_local", "hydra.launcher.wait=false"],
            "hydra.launcher.wait: got false, allowed: true, as what is tried next rests on what runs return",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(settings: list[str], message: str, cl_run: Runner, tmp_path: Path) -> None:
    code, _, error = cl_run(*SEARCH, *settings)
    assert code == 2
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_values_of_a_preset_are_searched(cl_run: Runner, tmp_path: Path) -> None:
    preset = ["experiment=global_or_layerwise_digits", "seed=3", "hydra.launcher.workers=1"]
    assert cl_run(*SEARCH, *preset, *batches(3, 3))[0] == 0
    configs = [load_run(path.parent).config for path in tmp_path.glob("search/*/metrics.json")]
    assert {(config.seed, config.method.mask_source) for config in configs} == {(3, "sum")}
    assert {config.freeze for config in configs} <= {0.2, 0.5, 0.8, 0.95}


def test_other_applications_keep_its_defaults(cl_run: Runner) -> None:
    assert cl_run(*SEARCH, "hydra.sweeper.n_jobs=0")[0] == 2
    node = ConfigStore.instance().load("hydra/sweeper/optuna.yaml").node
    assert (node.max_failure_rate, node.params) == (0.0, None)


def test_it_is_told_how_to_install_it(cl_run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["sweeper"], "optuna.yaml")
    code, _, error = cl_run(*SEARCH[:3])
    assert code == 2
    assert error.startswith("error: hydra/sweeper: got 'optuna', allowed: one of basic, cl_runner")
    assert error.endswith("; the other needs: pip install cl-runner[optuna]\n")
