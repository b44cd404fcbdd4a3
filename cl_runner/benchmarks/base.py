"""What training, testing and the Fisher information ask of a benchmark, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from cl_runner.benchmarks.datasets import load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.benchmarks.likelihoods import Likelihood
from cl_runner.benchmarks.regression import RegressionBenchmark
from cl_runner.config.schema import BenchmarkConfig

# The stacks of a sweep mostly have the same.
_dataset = lru_cache(maxsize=1)(load_dataset)


class Benchmark(Protocol):
    """The tasks of S streams, numbered from 0. A stream has a seed, and tasks drawn from it.

    Samples are named by ids, which say of which task they are too; training and test set have their own.
    """

    @property
    def inputs(self) -> int:
        """Width of an input."""

    @property
    def outputs(self) -> int:
        """Number of a network's outputs."""

    @property
    def likelihood(self) -> Likelihood:
        """What the outputs mean."""

    def of_streams(self, seeds: Sequence[int]) -> Benchmark:
        """The same benchmark for the streams of these seeds."""

    def described(self, seed: int) -> list[dict[str, Any]]:
        """What tells each task from the others in the stream of a seed, ready for JSON."""

    def samples(self, tasks: Sequence[int], *, train: bool) -> list[Tensor]:
        """Per stream, the ids of the samples of these tasks, `(n,)` each (on the CPU)."""

    def inputs_of(self, ids: Tensor, tasks: Sequence[int], *, train: bool) -> Tensor:
        """Inputs `(S, D, B)` of the samples `ids` `(S, B)`, which are of `tasks`; one task is faster than a mixture."""

    def labels_of(self, ids: Tensor, *, train: bool) -> Tensor:
        """Labels `(S, B)` of samples: indices of outputs, or values."""

    def mask_inactive(self, outputs: Tensor, ids: Tensor, tasks: Sequence[int], seen: int, *, train: bool) -> Tensor:
        """Outputs `(R, C, B)` with −inf for the classes that do not compete for these samples, with ids `(R, B)`."""

    def active_outputs(self, task: int, seen: int) -> slice:
        """The outputs that count in `task` after `seen` tasks."""


def make_benchmark(
    config: BenchmarkConfig, data_dir: str, seeds: Sequence[int], device: torch.device | str
) -> Benchmark:
    """The benchmark of these settings.

    Args:
        config: of the runs.
        data_dir: root of the image datasets.
        seeds: of the streams.
        device: where the samples go.

    Raises:
        DataError: a file is missing or damaged.
    """
    if config.family == "regression":
        return RegressionBenchmark(config, seeds, device=device)
    dataset = _dataset(config.dataset, data_dir, config.train_samples, config.test_samples)
    return ImageBenchmark(config, dataset, seeds, device=device)
