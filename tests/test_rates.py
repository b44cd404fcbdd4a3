"""Runs of several learning rates, decays of them, momenta, weight decays and dropouts in one stack."""

import itertools
import json
from pathlib import Path

import pytest
from conftest import MakeConfig
from test_cli import QUICK, Runner, cl_run
from test_resuming import SMALL, StopAt, folders, same
from test_runner import Silent

from cl_runner.config.schema import Config
from cl_runner.errors import StoppedError
from cl_runner.results.run import load_run
from cl_runner.runs import loop
from cl_runner.runs.loop import run_stack

__all__ = ["cl_run"]

RATES = {
    "adam": [
        ["train.learning_rate=0.02", "method=ewc", "seed=1"],
        ["train.learning_rate=0.003", "method=ewc"],
        ["train.learning_rate=0.003", "method=global_mask"],
        ["train.learning_rate=0.003", "train.weight_decay=0.1"],
        ["train.learning_rate=0.003", "model.dropout=0.3", "method=ewc"],
        ["train.learning_rate=0.02", "model.dropout=0.1", "seed=1"],
        ["train.learning_rate=0.003", "train.task_decay=0.5", "method=ewc"],
        ["train.learning_rate=0.003", "train.task_decay=0.5", "method=l1_sparsity", "seed=1"],
        ["train.learning_rate=0.02", "method=l1_sparsity"],
        ["train.learning_rate=0.003", "method=l1_sparsity", "seed=1"],
    ],
    "sgd": [
        ["train.learning_rate=0.1"],
        ["train.learning_rate=0.1", "train.task_decay=0.2"],
        ["train.learning_rate=0.1", "model.dropout=0.5", "method=global_mask"],
        ["train.learning_rate=0.1", "train.momentum=0.5", "method=ewc"],
        ["train.learning_rate=0.1", "train.momentum=0.9", "train.weight_decay=0.1", "method=ewc"],
        ["train.learning_rate=0.02", "train.momentum=0.9", "method=global_mask", "seed=1"],
        ["train.learning_rate=0.02", "train.momentum=0.9", "seed=1"],
    ],
}
KEPT = "train.keep_optimizer=true"
CASES = [("adam", []), ("adam", [KEPT]), ("sgd", []), ("sgd", [KEPT])]


def configs_of(make_config: MakeConfig, name: str, overrides: list[str]) -> list[Config]:
    return [make_config(*SMALL, f"train.optimizer={name}", *overrides, *own) for own in RATES[name]]


def alone(configs: list[Config], place: Path) -> list[Path]:
    found = folders(place, len(configs))
    for config, directory in zip(configs, found, strict=True):
        run_stack([config], [directory], Silent())
    return found


@pytest.mark.parametrize(("name", "overrides"), CASES)
def test_each_is_to_the_bit_what_it_is_alone(
    name: str, overrides: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    configs = configs_of(make_config, name, overrides)
    stacked = folders(tmp_path / "stacked", len(configs))
    run_stack(configs, stacked, Silent())
    assert load_run(stacked[0]).facts["runs_in_stack"] == len(configs)
    for one, other in zip(stacked, alone(configs, tmp_path / "alone"), strict=True):
        same(one, other)


# Within the first task, at the second one's start, and within the third.
@pytest.mark.parametrize("last", [3, 8, 18])
@pytest.mark.parametrize(("name", "overrides"), CASES)
def test_stopped_in_a_stack_or_alone_and_taken_up_in_the_other(
    name: str, overrides: list[str], last: int, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = configs_of(make_config, name, overrides)
    undisturbed = folders(tmp_path / "undisturbed", len(configs))
    run_stack(configs, undisturbed, Silent())
    parts = [configs], [[config] for config in configs]
    for number, (before, after) in enumerate([parts, parts[::-1]]):
        disturbed = folders(tmp_path / str(number), len(configs))
        where = {id(config): directory for config, directory in zip(configs, disturbed, strict=True)}
        with monkeypatch.context() as patch:
            patch.setattr(loop, "Pauses", StopAt)
            for stack in before:
                StopAt.count, StopAt.last = itertools.count(), last
                with pytest.raises(StoppedError):
                    run_stack(stack, [where[id(config)] for config in stack], Silent())
        for stack in after:
            run_stack(stack, [where[id(config)] for config in stack], Silent())
        for one, other in zip(undisturbed, disturbed, strict=True):
            same(one, other)


def test_what_diverges_names_its_own_rate_and_leaves_the_others_as_they_are(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    configs = [make_config(*SMALL, "train.optimizer=sgd", f"train.learning_rate={rate}") for rate in ("0.1", "1e30")]
    recorders = run_stack(configs, folders(tmp_path, 2), Silent())
    assert recorders[0].failure is None
    reason = json.loads((tmp_path / "1" / "failed.json").read_text())["reason"]
    assert reason.endswith("try a smaller train.learning_rate (now 1e+30)")
    same(tmp_path / "0", alone(configs[:1], tmp_path / "alone")[0])


def test_a_sweep_over_learning_rates_is_one_stack(cl_run: Runner, tmp_path: Path) -> None:
    sweep = ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", *QUICK]
    code, _, error = cl_run(*sweep, "train.learning_rate=1e-3,3e-3,1e-2")
    assert code == 0
    assert "3 runs in 1 stack" in error
    assert [load_run(tmp_path / "sweep" / str(number)).config.train.learning_rate for number in range(3)] == [
        0.001,
        0.003,
        0.01,
    ]
