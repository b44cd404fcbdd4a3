"""Results of version 0.1 stay readable.

`stored_run_0.1` is what this command left, with the code of commit df09b5c and Hydra 1.3.2:

    cl-run model.hidden=[4] benchmark.tasks=2 train.epochs=1 benchmark.train_samples=60 method=ewc plots=none

But for the directories that Hydra noted, and the system's version; the lock and the empty log are left out.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from test_cli import Runner, cl_run

from cl_runner.config.plain_settings import dotted
from cl_runner.config.schema import values_before
from cl_runner.report.cli import main
from cl_runner.results.run import load_run

__all__ = ["cl_run"]

STORED = Path(__file__).parent / "stored_run_0.1"
AS_STORED = ["model.hidden=[4]", "benchmark.tasks=2", "train.epochs=1", "benchmark.train_samples=60", "method=ewc"]


def test_the_run_is_read_whole() -> None:
    run = load_run(STORED)
    assert run.matrix.tolist() == [[0.102, 0.042], [0.104, 0.038], [0.096, 0.038]]
    assert run.metrics == json.loads((STORED / "metrics.json").read_text())
    for tensors in (run.significance, run.masks):
        assert list(tensors) == [1, 2]
        assert {name: tuple(value.shape) for name, value in tensors[2].items()} == {
            "layers.0.weight": (4, 64),
            "layers.0.bias": (4,),
            "layers.1.weight": (10, 4),
            "layers.1.bias": (10,),
        }
    assert run.network(2)(torch.zeros(3, 64)).shape == (3, 10)
    assert [(row["task"], row["eval_task"]) for row in run.learning_curves] == [(1, 1), (2, 1), (2, 2)]


def settings_in(recorded: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in recorded.items():
        if isinstance(value, dict):
            yield from settings_in(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_what_it_did_not_know_is_what_runs_had_before() -> None:
    recorded = dict(settings_in(yaml.safe_load((STORED / ".hydra" / "config.yaml").read_text())))
    later = dict(values_before())
    assert later
    assert not later.keys() & recorded.keys()
    assert dict(dotted(load_run(STORED).config)) == recorded | later


def test_a_report_takes_it_in_beside_a_new_run(cl_run: Runner, tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "stored")
    assert cl_run(*AS_STORED, "benchmark.validation=null", "seed=1", "plots=none", "hydra.run.dir=new")[0] == 0
    assert main([str(tmp_path)]) == 0
    runs = pd.read_csv(tmp_path / "report" / "runs.csv")
    assert [Path(directory).name for directory in runs["directory"]] == ["new", "stored"]
    assert runs["average_accuracy"][1] == 0.067
    # They are of the same settings: what came later does nothing in either.
    assert pd.read_csv(tmp_path / "report" / "summary.csv")["seeds"].tolist() == [2]
    assert (tmp_path / "report" / "report.html").exists()
