"""Golden runs: short ones of every kind of method, whose results must stay as they are while the code is reorganised.

`golden.json` holds for each run hashes of its masks, checkpoints, significance, scores and losses, and names the
machine that they are of. On such a machine a run must give the same bits. Elsewhere sums are rounded differently, and
the numbers beside the hashes must be met within tolerances. All runs are trained in stacks, some alone too, and some
are stopped on the way and taken up again, none of which may change a bit.

Nothing is used but the command line and the files of the runs. Where results are meant to change, this writes the file
anew from what the stacks give:

    CL_RUNNER_GOLDEN=write uv run pytest -n 0 tests/test_golden.py
"""

import csv
import hashlib
import json
import math
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from test_cli import Runner, cl_run

__all__ = ["cl_run"]

GOLDEN = Path(__file__).with_name("golden.json")

COMMON = [
    "device=cpu",
    "threads=1",
    "plots=none",
    "save=all",
    "benchmark.tasks=3",
    "benchmark.test_samples=200",
    "model.hidden=[9,8]",
    "fisher.samples=40",
]
# Runs of one of these share a stack, or with a class order of the seed's those of one seed. Last batches are short.
NO_VALIDATION = "benchmark.validation=null"
PERMUTED_SHORT = ["benchmark.train_samples=120", "train.epochs=2", "train.batch_size=16", "train.learning_rate=0.02"]
PERMUTED = [NO_VALIDATION, *PERMUTED_SHORT]
JOINT = [*PERMUTED, "method=joint"]
CLASS = [
    NO_VALIDATION,
    "benchmark=split_digits",
    "benchmark.scenario=class",
    "benchmark.class_order=fixed",
    "benchmark.train_samples=250",
    "train.epochs=2",
    "train.batch_size=8",
    "train.learning_rate=0.01",
    "train.keep_optimizer=true",
]
TASK = [
    NO_VALIDATION,
    "benchmark=split_digits",
    "benchmark.scenario=task",
    "benchmark.train_samples=250",
    "train.epochs=2",
    "train.batch_size=8",
    "train.optimizer=sgd",
    "train.learning_rate=0.1",
    "train.momentum=0.8",
    "train.weight_decay=0.01",
    "train.keep_optimizer=true",
]
ROTATED = [
    NO_VALIDATION,
    "benchmark.family=rotated",
    "benchmark.angles=random",
    "benchmark.normalize=false",
    "benchmark.train_samples=100",
    "model.activation=tanh",
    "train.epochs=null",
    "train.iterations=20",
    "train.batch_size=16",
    "train.optimizer=sgd",
    "train.learning_rate=0.1",
    "train.momentum=0.9",
]
REGRESSION_SHORT = [
    "benchmark=regression",
    "benchmark.train_samples=100",
    "train.first_epochs=30",
    "train.epochs=20",
    "train.weight_decay=0.001",
]
REGRESSION = [NO_VALIDATION, *REGRESSION_SHORT]
REGRESSION_IN_BATCHES = [
    NO_VALIDATION,
    "benchmark=regression",
    "benchmark.train_samples=60",
    "train.epochs=4",
    "train.batch_size=16",
]
# Some differ in nothing but what makes a difference from the second or the third task on.
RUNS = {
    "finetune": [*PERMUTED, "method=finetune"],
    "finetune_other_seed": [*PERMUTED, "method=finetune", "seed=1"],
    "ewc": [*PERMUTED, "method=ewc"],
    "ewc_sampled": [*PERMUTED, "method=ewc", "method.ewc_lambda=100", "fisher.estimator=sampled", "seed=1"],
    "online_ewc_sum_empirical": [
        *PERMUTED,
        "method=online_ewc",
        "method.gamma=0.5",
        "method.ewc_lambda=30",
        "fisher.estimator=empirical",
    ],
    "online_ewc_average_batched": [
        *PERMUTED,
        "method=online_ewc",
        "method.update=average",
        "method.alpha=0.3",
        "method.ewc_lambda=100",
        "fisher.estimator=batched",
        "fisher.batch_size=8",
    ],
    "l2": [*PERMUTED, "method=l2", "method.ewc_lambda=0.03"],
    "l1_sparsity": [*PERMUTED, "method=l1_sparsity"],
    "l1_sparsity_mask": [*PERMUTED, "method=l1_sparsity", "freeze=0.3", "seed=1"],
    "global_mask_latest": [*PERMUTED, "method=global_mask"],
    "global_mask_sum_neuron": [
        *PERMUTED,
        "method=global_mask",
        "method.mask_source=sum",
        "method.unit=neuron",
    ],
    "global_mask_max_soft": [*PERMUTED, "method=global_mask", "method.mask_source=max", "method.soft=true"],
    "layerwise_mask_union": [*PERMUTED, "method=layerwise_mask", "method.mask_source=union", "freeze=0.5"],
    "layerwise_mask_all_parts": [
        *PERMUTED,
        "method=layerwise_mask",
        "method.mask_source=sum",
        "method.soft=true",
        "method.penalty=online_ewc",
        "method.ewc_lambda=30",
        "method.l1_lambda=0.01",
        "freeze=0.2",
    ],
    "joint": [*JOINT],
    "joint_other_seed": [*JOINT, "seed=1"],
    "class_ewc": [*CLASS, "method=ewc", "seed=1"],
    "class_layerwise_mask_free": [*CLASS, "method=layerwise_mask"],
    "class_layerwise_mask_counted": [*CLASS, "method=layerwise_mask", "method.unused=counted"],
    "class_global_mask_soft_ewc": [*CLASS, "method=global_mask", "method.soft=true", "method.ewc_lambda=3"],
    "task_l2": [*TASK, "method=l2"],
    "task_layerwise_mask_neuron_max": [
        *TASK,
        "method=layerwise_mask",
        "method.unit=neuron",
        "method.mask_source=max",
        "freeze=0.5",
    ],
    "task_global_mask_union_counted": [
        *TASK,
        "method=global_mask",
        "method.mask_source=union",
        "method.unused=counted",
        "freeze=0.3",
    ],
    "rotated_layerwise_mask_soft_neuron": [
        *ROTATED,
        "method=layerwise_mask",
        "method.unit=neuron",
        "method.soft=true",
        "method.mask_source=sum",
        "freeze=0.3",
    ],
    "rotated_online_ewc": [*ROTATED, "method=online_ewc", "seed=1"],
    "regression_global_mask_ewc": [*REGRESSION, "method=global_mask", "method.ewc_lambda=1", "freeze=0.2"],
    "regression_ewc": [*REGRESSION, "method=ewc", "seed=1"],
    "regression_in_batches": [*REGRESSION_IN_BATCHES, "method=online_ewc", "method.ewc_lambda=1"],
    "validation_ewc": ["benchmark.validation=0.1", *PERMUTED_SHORT, "method=ewc"],
    "validation_regression": ["benchmark.validation=0.3", *REGRESSION_SHORT, "method=ewc"],
}
ALONE = [
    "ewc_sampled",
    "online_ewc_average_batched",
    "global_mask_sum_neuron",
    "layerwise_mask_all_parts",
    "joint",
    "class_layerwise_mask_counted",
    "class_global_mask_soft_ewc",
    "task_global_mask_union_counted",
    "rotated_layerwise_mask_soft_neuron",
    "regression_in_batches",
]
# What is stopped, a sweep or one run alone; at which of its saved states, of which there is one after each step, though
# after the last step of a task only once that task is done; and how many tasks are done then.
STOPS = [
    # In the midst of the second task's second epoch.
    (["ewc_sampled", "online_ewc_average_batched", "l1_sparsity_mask", "layerwise_mask_all_parts"], 28, 1),
    # Between two tasks, when an optimiser that goes on is kept.
    (["class_global_mask_soft_ewc"], 28, 2),
]
# Calls the command line, and sends it SIGTERM when it replaces a file of this name for the nth time.
STOPPING = """
import os, runpy, signal, sys

_, name, nth, *sys.argv[1:] = sys.argv
left = int(nth)

def listen(event, arguments):
    global left
    if event == "os.rename" and os.path.basename(arguments[1]) == name:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(listen)
runpy.run_module("cl_runner", run_name="__main__")
"""

# On other machines: how far off, absolutely or relatively. Of the test samples some change sides.
TOLERANCES = {"scores": (0.03, 0.01), "frozen": (1e-5, 0), "norm": (0, 0.002), "log10_significance": (0.01, 0)}
# How much of a layer is frozen, where that is not a set number of its units: some change sides too.
UNSET = {"method=global_mask", "method.mask_source=union"}
UNSET_TOLERANCE = (0.02, 0)


@dataclass(frozen=True)
class Results:
    """What a run came to: hashes of its files, and numbers that nearly say the same, tables by task and layer."""

    hashes: dict[str, str]
    numbers: dict[str, list[list[float]]]


def results_of(run: Path) -> Results:
    hashes, layers = {}, {}
    for folder in ("masks", "checkpoints", "significance"):
        digest = hashlib.sha256()
        layers[folder] = [layers_of(file, digest.update) for file in sorted((run / folder).glob("task_*.safetensors"))]
        hashes[folder] = digest.hexdigest()
    (table,) = (file for file in (run / "accuracy.csv", run / "mse.csv") if file.exists())
    hashes[table.name] = hashlib.sha256(table.read_bytes()).hexdigest()
    with table.open(newline="") as opened:
        by_row = groupby(csv.DictReader(opened), key=lambda line: line["after_task"])
        scores = [[float(line[table.stem]) for line in lines] for _, lines in by_row]
    with (run / "training.csv").open(newline="") as opened:
        losses = [[line[term] for term in ("data_loss", "penalty", "l1")] for line in csv.DictReader(opened)]
    hashes["losses"] = hashlib.sha256(json.dumps(losses).encode()).hexdigest()
    numbers = {
        "scores": scores,
        "frozen": [[float((layer == 0).mean()) for layer in task] for task in layers["masks"]],
        "norm": [[float(np.linalg.norm(layer)) for layer in task] for task in layers["checkpoints"]],
        "log10_significance": [[math.log10(layer.sum()) for layer in task] for task in layers["significance"]],
    }
    return Results(hashes, numbers)


def layers_of(file: Path, told: Callable[[bytes], object]) -> list[NDArray[np.float64]]:
    """By layer all numbers of a file of tensors; `told` gets names and bytes of these, but nothing of the header."""
    tensors = dict(sorted(load_file(file).items()))
    for name, tensor in tensors.items():
        told(f"{file.name} {name} {tensor.dtype} {list(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    by_layer = groupby(tensors, key=lambda name: name.rpartition(".")[0])
    return [np.concatenate([tensors[name].double().flatten().numpy() for name in names]) for _, names in by_layer]


def machine() -> dict[str, str]:
    """What it depends on how sums are rounded."""
    cpuinfo = Path("/proc/cpuinfo")
    of_first = cpuinfo.read_text().partition("\n\n")[0].splitlines() if cpuinfo.exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in of_first)}
    keys = ("vendor_id", "model name", "cpu family", "model", "stepping", "CPU implementer", "CPU variant", "CPU part")
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "processor": ", ".join(f"{key} {told[key]}" for key in keys if key in told),
    }


def command_of(names: Sequence[str]) -> list[str]:
    """That trains runs in stacks, into `sweep/NUMBER` as they are listed; a single one alone, into `alone`."""
    if len(names) == 1:
        return ["hydra.run.dir=alone", *COMMON, *RUNS[names[0]]]
    settings = {name: ",".join(setting.replace("=", ":", 1) for setting in RUNS[name]) for name in names}
    grids = [f"+hydra.sweeper.grids.{name}={{{given}}}" for name, given in settings.items()]
    return ["-m", "hydra/launcher=stacked", "hydra.launcher.workers=1", "hydra.sweep.dir=sweep", *COMMON, *grids]


def places_of(names: Sequence[str], place: Path) -> dict[str, Path]:
    """Where that command leaves each run."""
    if len(names) == 1:
        return {names[0]: place / "alone"}
    return {name: place / "sweep" / str(number) for number, name in enumerate(names)}


def write(found: Mapping[str, Results]) -> None:
    """Replace the golden file."""
    runs = []
    for name, results in found.items():
        numbers = {key: [[float(f"{n:.6g}") for n in row] for row in table] for key, table in results.numbers.items()}
        lines = [f'"{key}": {json.dumps(value)}' for key, value in {"hashes": results.hashes, **numbers}.items()]
        runs.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
    text = f'{{\n"machine": {json.dumps(machine())},\n"runs": {{\n' + ",\n".join(runs) + "\n}\n}\n"
    GOLDEN.write_text(text)


@pytest.fixture(scope="module")
def found() -> dict[str, Results]:
    """What the stacks gave, kept from test to test."""
    return {}


@pytest.fixture
def stacked(found: dict[str, Results], cl_run: Runner, tmp_path: Path) -> dict[str, Results]:
    """All runs, trained in stacks."""
    if not found:
        code, _, error = cl_run(*command_of(list(RUNS)))
        assert code == 0, error
        found.update((name, results_of(run)) for name, run in places_of(list(RUNS), tmp_path).items())
        if os.environ.get("CL_RUNNER_GOLDEN") == "write":
            write(found)
    return found


@pytest.mark.usefixtures("stacked")
def test_there_is_a_golden_run_of_each() -> None:
    assert list(json.loads(GOLDEN.read_text())["runs"]) == list(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_in_a_stack_a_run_is_what_it_was(name: str, stacked: dict[str, Results]) -> None:
    golden = json.loads(GOLDEN.read_text())
    expected: dict[str, Any] = golden["runs"][name]
    for key, table in stacked[name].numbers.items():
        unset = key == "frozen" and not UNSET.isdisjoint(RUNS[name])
        absolute, relative = UNSET_TOLERANCE if unset else TOLERANCES[key]
        assert np.array(table) == pytest.approx(np.array(expected[key]), abs=absolute, rel=relative), key
    if golden["machine"] == machine():
        assert stacked[name].hashes == expected["hashes"]


@pytest.mark.parametrize("name", ALONE)
def test_alone_a_run_is_the_same(name: str, stacked: dict[str, Results], cl_run: Runner, tmp_path: Path) -> None:
    assert cl_run(*command_of([name]))[0] == 0
    assert results_of(tmp_path / "alone").hashes == stacked[name].hashes


@pytest.mark.parametrize(("names", "state", "done"), STOPS)
def test_stopped_and_taken_up_again_a_run_is_the_same(
    names: list[str], state: int, done: int, stacked: dict[str, Results], cl_run: Runner, tmp_path: Path
) -> None:
    stopping = [sys.executable, "-c", STOPPING, "state.safetensors", str(state * len(names))]
    arguments = [*command_of(names), "checkpoint.minutes=0"]
    stopped = subprocess.run([*stopping, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    places = places_of(names, tmp_path)
    for run in places.values():
        assert (run / "state.safetensors").exists()
        assert len(list((run / "checkpoints").iterdir())) == done
    assert cl_run(*command_of(names))[0] == 0
    assert {name: results_of(run).hashes for name, run in places.items()} == {n: stacked[n].hashes for n in names}
