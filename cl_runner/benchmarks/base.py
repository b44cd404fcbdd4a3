"""What training, testing and the Fisher information ask of a benchmark, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch

from cl_runner.benchmarks.datasets import load_arrays, load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.benchmarks.likelihoods import Likelihood
from cl_runner.benchmarks.own import make_own
from cl_runner.benchmarks.regression import RegressionBenchmark
from cl_runner.benchmarks.splits import Split
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.errors import DataError

# The stacks of a sweep mostly have the same.
_dataset, _arrays = lru_cache(maxsize=1)(load_dataset), lru_cache(maxsize=1)(load_arrays)


class Benchmark(Protocol):
    """The tasks of S streams, numbered from 0. A stream has a seed, and tasks drawn from it."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample: (channels, height, width) of an image, or (D,)."""

    @property
    def outputs(self) -> int:
        """Number of a network's outputs."""

    @property
    def likelihood(self) -> Likelihood:
        """What the outputs mean."""

    @property
    def train(self) -> Split:
        """The samples to train on."""

    @property
    def test(self) -> Split:
        """The samples to test on."""

    @property
    def validation(self) -> Split | None:
        """The training samples that are held out from training, to choose settings by; None if there are none."""

    def of_streams(self, seeds: Sequence[int]) -> Benchmark:
        """The same benchmark for the streams of these seeds."""

    def described(self, seed: int) -> list[dict[str, Any]]:
        """What tells each task from the others in the stream of a seed, ready for JSON."""

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
        DataError: a file is missing, damaged or another one, or a task has nothing to hold out.
    """
    if config.family == "regression":
        return _with_validation(RegressionBenchmark(config, seeds, device=device), config)
    if config.family == "own":
        made: Benchmark = make_own(config, seeds, device)
        absent = [name for name in vars(Benchmark) if not name.startswith("_") and not hasattr(made, name)]
        if absent:
            raise DataError(f"benchmark.target: {config.target} has no {', '.join(absent)}, allowed: a benchmark")
        return _with_validation(made, config)
    subset = config.train_samples, config.test_samples, config.validation
    if config.dataset == "arrays":
        dataset = _arrays(str(config.path), config.sha256, *subset)
    else:
        dataset = _dataset(config.dataset, data_dir, *subset)
    return _with_validation(ImageBenchmark(config, dataset, seeds, device=device), config)


def _with_validation(benchmark: Benchmark, config: BenchmarkConfig) -> Benchmark:
    """The same benchmark; raises `DataError` if a task lacks validation samples that settings ask for."""
    if config.validation is not None:
        split = benchmark.validation
        lacking = [task for task in range(config.tasks) if not split or not all(map(len, split.samples([task])))]
        if lacking:
            raise DataError(
                f"benchmark.validation: got {config.validation}, but task {lacking[0] + 1} has no training sample to "
                "hold out, allowed: null"
            )
    return benchmark
