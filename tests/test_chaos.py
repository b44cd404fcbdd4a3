"""The short form of scripts/chaos.py."""

import random
from pathlib import Path

import chaos
import pytest

SMALL = [
    "hydra/launcher=stacked",
    "hydra.launcher.workers=2",
    "benchmark.tasks=2",
    "benchmark.train_samples=100",
    "model.hidden=[9]",
    "method=ewc",
]


def test_a_sweep_that_is_killed_again_and_again_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "SWEEP", [*SMALL, "seed=0,1,2", "train.epochs=600", "checkpoint.minutes=0.005"])
    outcomes = chaos.torment(tmp_path, 3, random.Random(1))
    assert sum(outcome.kills for outcome in outcomes) == 3
    assert all(outcome.same + outcome.close == 3 for outcome in outcomes)


def test_what_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, seeds in (("one", "0,1,2"), ("other", "0,7,2")):
        monkeypatch.setattr(chaos, "SWEEP", [*SMALL, "train.epochs=1", f"seed={seeds}"])
        chaos.start(tmp_path / folder).communicate()
        chaos.check_whole(tmp_path / folder)
    (tmp_path / "other" / "2" / "metrics.json").unlink()
    found = chaos.compared(tmp_path / "one", tmp_path / "other", 0)
    assert (found.same, found.close) == (1, 0)
    assert [directory.name for directory in found.different] == ["1", "2"]
    (tmp_path / "one" / "0" / "significance" / "task_1.safetensors").unlink()
    with pytest.raises(AssertionError):
        chaos.check_whole(tmp_path / "one")
