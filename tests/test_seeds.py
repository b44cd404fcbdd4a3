"""Seeds whose tasks differ in size, and so in the number of steps, in one stack."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeArrays, MakeConfig
from test_resuming import StopAt, folders, same
from test_runner import Silent

from cl_runner.benchmarks.datasets import Dataset
from cl_runner.config.schema import Config
from cl_runner.errors import StoppedError
from cl_runner.methods.part import Part, Step
from cl_runner.results.run import load_run
from cl_runner.runs import evaluation, fisher, loop
from cl_runner.runs.loop import run_stack
from cl_runner.sweeps.jobs import Job, divided

SEEDS = range(3)
SPLIT = [
    "benchmark=arrays",
    "benchmark.family=split",
    "benchmark.class_order=seed",
    "benchmark.classes_per_task=2",
    "benchmark.tasks=3",
    "model.hidden=[9,7]",
    "fisher.samples=60",
    "train.batch_size=8",
    "train.epochs=2",
    "train.curve_points=2",
]
# By the number of steps: seeds need different numbers of epochs.
ITERATIONS = ["train.epochs=null", "train.iterations=13"]
SGD = ["train.optimizer=sgd", "train.learning_rate=0.1"]
SI = "+method.parts.si={_target_:examples.own_method.si.SynapticIntelligence}"
CASES = {
    "adam": [],
    "decay": ["train.weight_decay=0.1", "benchmark.scenario=class"],
    "sgd": [*SGD, "benchmark.scenario=task"],
    "momentum": [*SGD, "train.momentum=0.9", *ITERATIONS],
    "iterations": [*ITERATIONS, "benchmark.scenario=class"],
    "kept": ["train.keep_optimizer=true", "train.first_epochs=3"],
    "kept iterations": ["train.keep_optimizer=true", *ITERATIONS],
    "full batch": ["train.batch_size=null"],
    "dropout": ["model.dropout=0.4"],
    "patience": ["train.patience=1", "train.epochs=5", "train.learning_rate=0.02", "benchmark.validation=0.3"],
    "patience and iterations": ["train.patience=1", *ITERATIONS[:1], "train.iterations=30", "train.learning_rate=0.02"],
    "filled beyond a batch": ["train.batch_size=20"],
}
COUNTING = "+method.parts.counting={_target_:test_seeds.Counting}"
METHODS = [
    ["method=ewc"],
    ["method=l1_sparsity", "freeze=0.5"],
    ["method=layerwise_mask", "method.soft=true"],
    ["method=ewc", "fisher.estimator=batched"],
    ["method=finetune", SI],
    ["method=ewc", COUNTING],
]
JOINT = [["method=joint"], ["method=joint", "method.l1_lambda=0.03", "fisher.estimator=sampled"]]


@dataclass
class CountingSettings:
    strength: float = 0.1


class Counting(Part):
    """Signals grow smaller, by a count of steps that is a part's own."""

    Settings = CountingSettings

    def setup(self) -> None:
        self.strength, self.steps = self.by_row("strength"), self.state.rows("steps")

    def on_outputs(self, step: Step) -> None:
        self.steps += 1
        step.signal.div_((1 + self.strength * self.steps)[:, None, None])


@pytest.fixture
def split(make_arrays: MakeArrays, digits: Dataset) -> list[str]:
    """A benchmark of classes that differ in size, from 10 samples to 46."""
    arrays: dict[str, np.ndarray] = {}
    for name, samples in (("train", digits.train), ("test", digits.test)):
        chosen = np.concatenate([np.flatnonzero(samples.labels == label)[: 10 + 4 * label] for label in range(10)])
        arrays |= {f"x_{name}": samples.inputs.numpy()[chosen], f"y_{name}": samples.labels.numpy()[chosen]}
    return [*SPLIT, f"benchmark.path={make_arrays(**arrays)}"]


def configs_of(make_config: MakeConfig, split: list[str], overrides: list[str]) -> list[Config]:
    return [make_config(*split, *overrides, *method, f"seed={seed}") for seed in SEEDS for method in METHODS]


def alone(configs: list[Config], place: Path) -> list[Path]:
    found = folders(place, len(configs))
    for config, directory in zip(configs, found, strict=True):
        run_stack([config], [directory], Silent())
    return found


def epochs_of(directory: Path) -> list[tuple[str, str]]:
    """Task and epoch of each line of a table."""
    lines = (directory / "training.csv").read_text().splitlines()[1:]
    return [(task, epoch) for task, epoch, *_ in (line.split(",") for line in lines)]


@pytest.mark.parametrize("case", CASES)
def test_each_is_to_the_bit_what_it_is_alone(
    case: str, split: list[str], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several chunks each.
    monkeypatch.setattr(evaluation, "_CHUNK", 3000)
    monkeypatch.setattr(fisher, "_CHUNK", 3000)
    configs = configs_of(make_config, split, CASES[case])
    stacked = folders(tmp_path / "stacked", len(configs))
    run_stack(configs, stacked, Silent())
    assert load_run(stacked[0]).facts["runs_in_stack"] == len(configs)
    for one, other in zip(stacked, alone(configs, tmp_path / "alone"), strict=True):
        same(one, other)
    if "iterations" in case or "patience" in case:
        assert len({len(epochs_of(directory)) for directory in stacked}) > 1


def test_joint_training_too(split: list[str], make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [make_config(*split, *joint, f"seed={seed}") for seed in SEEDS for joint in JOINT]
    stacked = folders(tmp_path / "stacked", len(configs))
    run_stack(configs, stacked, Silent())
    for one, other in zip(stacked, alone(configs, tmp_path / "alone"), strict=True):
        same(one, other)


def go_on(configs: list[Config], directories: list[Path], *, size: int) -> None:
    """Train runs in stacks of at most so many that stand at the same point."""
    jobs = [Job(number, *job) for number, job in enumerate(zip(configs, directories, strict=True))]
    for stack in divided(jobs, size, 1):
        run_stack([job.config for job in stack], [job.directory for job in stack], Silent())


# Where one seed waits for the end of the first epoch; where one has had all its epochs, or has stopped.
@pytest.mark.parametrize(
    ("case", "last"),
    [("kept", 7), ("momentum", 28), ("kept iterations", 28), ("patience", 22), ("patience and iterations", 30)],
)
def test_stopped_in_a_stack_or_alone_and_taken_up_in_the_other(
    case: str, last: int, split: list[str], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = configs_of(make_config, split, CASES[case])
    undisturbed = folders(tmp_path / "undisturbed", len(configs))
    run_stack(configs, undisturbed, Silent())
    for size in (1, len(configs)):
        disturbed = folders(tmp_path / str(size), len(configs))
        with monkeypatch.context() as patch:
            patch.setattr(loop, "Pauses", StopAt)
            for number in range(0, len(configs), size):
                StopAt.count, StopAt.last = itertools.count(), last
                with pytest.raises(StoppedError):
                    run_stack(configs[number:][:size], disturbed[number:][:size], Silent())
        go_on(configs, disturbed, size=len(configs) + 1 - size)
        for one, other in zip(undisturbed, disturbed, strict=True):
            same(one, other)


@pytest.mark.parametrize("case", ["kept iterations", "patience"])
def test_stopped_at_every_step_and_taken_up_again(
    case: str, split: list[str], make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = configs_of(make_config, split, ["benchmark.tasks=2", *CASES[case]])
    undisturbed, disturbed = (folders(tmp_path / name, len(configs)) for name in ("undisturbed", "disturbed"))
    run_stack(configs, undisturbed, Silent())
    monkeypatch.setattr(loop, "Pauses", StopAt)
    stopped = True
    while stopped:
        StopAt.count, StopAt.last = itertools.count(), 1
        try:
            run_stack(configs, disturbed, Silent())
            stopped = False
        except StoppedError:
            pass
    for one, other in zip(undisturbed, disturbed, strict=True):
        same(one, other)
