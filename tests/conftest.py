import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_runner.benchmarks.datasets import Dataset, Samples, load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.config.datasets import DatasetInfo
from cl_runner.config.presets import composed
from cl_runner.config.schema import Config
from cl_runner.engine.mlp import MLPStack
from cl_runner.runs.checks import checked

# As a launcher has it, but for the whole process, since submitit reads it when it is imported.
os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"

MakeConfig = Callable[..., Config]
Squeue = Callable[..., Path]
MakeArrays = Callable[..., Path]


@pytest.fixture
def squeue(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    """Puts a stand-in for `squeue` first on PATH, which answers by these lines, or fails with an `error`; gives the
    file to which it writes what it was asked.
    """
    folder = tmp_path_factory.mktemp("slurm")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(*lines: str, error: str | None = None) -> Path:
        (folder / "answer").write_text("".join(f"{line}\n" for line in lines))
        (folder / "error").write_text(error or "")
        script = f'#!/bin/sh\necho "$@" >> {folder}/asked\ncat {folder}/answer\ncat {folder}/error >&2\n'
        (folder / "squeue").write_text(f"{script}exit {int(error is not None)}\n")
        (folder / "squeue").chmod(0o755)
        return folder / "asked"

    return answer


@pytest.fixture
def no_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is on PATH, and so none of SLURM's."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


@pytest.fixture(scope="session")
def mnist_dir() -> str:
    """Where the real MNIST lies: CL_RUNNER_DATA, or a folder shared beside the checkout."""
    places = [os.environ.get("CL_RUNNER_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for place in places:
        if place and (Path(place) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
            return str(place)
    pytest.skip("MNIST is not here: set CL_RUNNER_DATA to a folder that holds it in torchvision's layout")


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """Compose a config from overrides, as the command line does."""

    def make(*overrides: str) -> Config:
        return checked(composed(*overrides))

    return make


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits", "unused")


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Random images of 3×3 pixels in 10 classes, class c having 12 + c of them, and a test set of 30."""
    source = torch.Generator().manual_seed(7)
    labels = torch.repeat_interleave(torch.arange(10), torch.arange(12, 22))
    images = torch.randint(0, 17, (len(labels), 9), generator=source, dtype=torch.uint8)
    test = Samples(torch.randint(0, 17, (30, 9), generator=source, dtype=torch.uint8), torch.arange(30) % 10)
    return Dataset(DatasetInfo(len(labels), 30, shape=(1, 3, 3), scale=16), Samples(images, labels), test)


@pytest.fixture
def make_arrays(tmp_path: Path, digits: Dataset) -> MakeArrays:
    """Writes digits.npz: the digits as images `(N, 8, 8)` of bytes, with the arrays of these names in place of theirs
    or added, without those that are None; and if there are to be `tasks`, task ids that are drawn.
    """

    def make(tasks: int = 0, **others: np.ndarray | None) -> Path:
        arrays: dict[str, np.ndarray] = {}
        source = np.random.default_rng(0)
        for split in ("train", "test"):
            part: Samples = getattr(digits, split)
            arrays[f"x_{split}"] = part.inputs.numpy().reshape(-1, 8, 8)
            arrays[f"y_{split}"] = part.labels.numpy()
            if tasks:
                arrays[f"t_{split}"] = source.integers(0, tasks, len(part.labels))
        found = {name: array for name, array in (arrays | others).items() if array is not None}
        file = tmp_path / "digits.npz"
        np.savez(file, **found)  # type: ignore[arg-type] # none is called allow_pickle
        return file

    return make


def tiny_pair(
    config: Config, dataset: Dataset, seeds: list[int], dtype: torch.dtype = torch.float64
) -> tuple[ImageBenchmark, MLPStack]:
    """A benchmark on `dataset` and a stack of small networks for it."""
    benchmark = ImageBenchmark(config.benchmark, dataset, list(dict.fromkeys(seeds)), dtype=dtype)
    sizes = [math.prod(benchmark.input_shape), 7, 6, benchmark.outputs]
    return benchmark, MLPStack(sizes, config.model.activation, seeds, dtype=dtype)


def network_of(stack: MLPStack, run: int, activation: str) -> torch.nn.Module:
    """One network of a stack as plain PyTorch, with parameters of its own."""
    layer = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}[activation]
    modules: list[torch.nn.Module] = []
    for weight, bias in stack.layers:
        linear = torch.nn.Linear(weight.shape[2], weight.shape[1], dtype=weight.dtype)
        linear.weight.data.copy_(weight[run])
        linear.bias.data.copy_(bias[run])
        modules += [linear, layer()]
    return torch.nn.Sequential(*modules[:-1])
