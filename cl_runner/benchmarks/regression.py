"""Regression: one smooth curve, of which each task shows the next interval."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_runner.benchmarks.likelihoods import Gaussian
from cl_runner.benchmarks.scenarios import Scenario
from cl_runner.benchmarks.splits import ArraySplit, Pair, divided
from cl_runner.config.datasets import DATASETS
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.engine.seeding import generator

LOW, HIGH = -1.5, 1.5
NOISE = 0.2


def curve(x: Tensor) -> Tensor:
    """y(x) = 25/16 x³ − 3x − 9/10: a hump of 0.7 at x = −0.8 and a dip of −2.5 at x = 0.8."""
    return 25 / 16 * x**3 - 3 * x - 0.9


class RegressionBenchmark:
    """Tasks k = 1 to T: y(x) on the k-th of T equal intervals of [−1.5, 1.5], with Gaussian noise of deviation 0.2.

    Each stream draws its own x, uniformly, and its own noise, for training and test set; no mean square error below
    the noise's variance of 0.04 is to be had on these.

    Args:
        config: its settings; `train_samples` and `test_samples` are of each task.
        seeds: of the streams.
        device, dtype: of the samples.
    """

    input_shape, outputs = (1,), 1

    def __init__(
        self,
        config: BenchmarkConfig,
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._config, self.seeds = config, tuple(seeds)
        self.device, self.dtype = torch.device(device), dtype
        self.tasks = config.tasks
        self.likelihood = Gaussian()
        info = DATASETS[config.dataset]
        sizes = config.train_samples or info.train, config.test_samples or info.test
        sources = [generator(seed, "tasks") for seed in seeds]
        self._scenario = Scenario("domain", self.tasks, self.outputs)
        train, test = (self._drawn(size, sources) for size in sizes)
        divisions = [[divided(task, config.validation) for task in tasks] for tasks in train]
        self.train = ArraySplit([[kept for kept, _ in tasks] for tasks in divisions], self._scenario)
        self.validation = ArraySplit.of_held([[held for _, held in tasks] for tasks in divisions], self._scenario)
        self.test = ArraySplit(test, self._scenario)

    def of_streams(self, seeds: Sequence[int]) -> "RegressionBenchmark":
        """As `Benchmark.of_streams`."""
        if tuple(seeds) == self.seeds:
            return self
        return RegressionBenchmark(self._config, seeds, device=self.device, dtype=self.dtype)

    def described(self, seed: int) -> list[dict[str, Any]]:  # noqa: ARG002 # the same for all
        """The `interval` of x that each task is drawn from."""
        step = (HIGH - LOW) / self.tasks
        return [{"interval": [LOW + step * task, LOW + step * (task + 1)]} for task in range(self.tasks)]

    def active_outputs(self, task: int, seen: int) -> slice:
        """As `Benchmark.active_outputs`: the one output."""
        return self._scenario.active_outputs(task, seen)

    def _drawn(self, size: int, sources: Sequence[torch.Generator]) -> list[list[Pair]]:
        """The samples of each stream's tasks."""
        drawn = [torch.rand(self.tasks, size, generator=source, dtype=torch.float64) for source in sources]
        noise = [torch.randn(self.tasks, size, generator=source, dtype=torch.float64) for source in sources]
        first = torch.arange(self.tasks, dtype=torch.float64)[:, None]
        x = LOW + (HIGH - LOW) / self.tasks * (first + torch.stack(drawn))
        y = curve(x) + NOISE * torch.stack(noise)
        x, y = (part.to(self.device, self.dtype) for part in (x, y))
        streams = zip(x[..., None], y, strict=True)
        return [list(zip(*tasks, strict=True)) for tasks in streams]
