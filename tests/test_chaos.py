"""The short form of scripts/chaos.py."""

import random
from pathlib import Path

import chaos
import pytest
from test_cli import Runner, cl_run

from cl_runner.errors import DamagedError

__all__ = ["cl_run"]

SMALL = [
    "hydra/launcher=stacked",
    "hydra.launcher.workers=2",
    "benchmark.tasks=2",
    "benchmark.train_samples=100",
    "model.hidden=[9]",
    "method=ewc",
    "save=last",
]


def test_a_sweep_that_is_killed_again_and_again_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "SWEEP", [*SMALL, "seed=0,1,2", "train.epochs=300", "checkpoint.minutes=0.005"])
    outcomes = chaos.torment(tmp_path, 2, random.Random(1))
    assert sum(outcome.kills for outcome in outcomes) == 2
    assert all(outcome.same + outcome.close == 3 for outcome in outcomes)


def test_what_differs_is_found(cl_run: Runner, tmp_path: Path) -> None:
    for folder, seeds in (("one", "0,1,2"), ("other", "0,7,2")):
        quick = [*SMALL, "hydra.launcher.workers=1", "train.epochs=1", f"seed={seeds}"]
        assert cl_run("-m", *quick, f"hydra.sweep.dir={folder}")[0] == 0
        chaos.check_whole(tmp_path / folder)
    (tmp_path / "other" / "2" / "metrics.json").unlink()
    found = chaos.compared(tmp_path / "one", tmp_path / "other", 0)
    assert (found.same, found.close) == (1, 0)
    assert [directory.name for directory in found.different] == ["1", "2"]
    (tmp_path / "one" / "0" / "significance" / "task_2.safetensors").unlink()
    with pytest.raises(DamagedError, match="significance/task_2"):
        chaos.check_whole(tmp_path / "one")
