"""Regression: one smooth curve, of which each task shows the next interval."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_runner.benchmarks.likelihoods import Gaussian
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

    Samples are named by ids: task · N + index, N the number of a task's training or test samples.
    """

    inputs = outputs = 1

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
        self._sizes = {True: config.train_samples or info.train, False: config.test_samples or info.test}
        self._x, self._y = {}, {}
        sources = [generator(seed, "tasks") for seed in seeds]
        for train, size in self._sizes.items():
            drawn = [torch.rand(self.tasks, size, generator=source, dtype=torch.float64) for source in sources]
            noise = [torch.randn(self.tasks, size, generator=source, dtype=torch.float64) for source in sources]
            first = torch.arange(self.tasks, dtype=torch.float64)[:, None]
            x = LOW + (HIGH - LOW) / self.tasks * (first + torch.stack(drawn))
            y = curve(x) + NOISE * torch.stack(noise)
            self._x[train], self._y[train] = (part.flatten(1).to(self.device, dtype) for part in (x, y))

    def of_streams(self, seeds: Sequence[int]) -> "RegressionBenchmark":
        """The same benchmark for the streams of these seeds."""
        if tuple(seeds) == self.seeds:
            return self
        return RegressionBenchmark(self._config, seeds, device=self.device, dtype=self.dtype)

    def described(self, seed: int) -> list[dict[str, Any]]:  # noqa: ARG002 # the same for all
        """The `interval` of x that each task is drawn from."""
        step = (HIGH - LOW) / self.tasks
        return [{"interval": [LOW + step * task, LOW + step * (task + 1)]} for task in range(self.tasks)]

    def samples(self, tasks: Sequence[int], *, train: bool) -> list[Tensor]:
        """Per stream, the ids of the samples of these tasks, `(n,)` each (on the CPU)."""
        size = self._sizes[train]
        return [torch.cat([torch.arange(task * size, (task + 1) * size) for task in tasks]) for _ in self.seeds]

    def inputs_of(self, ids: Tensor, tasks: Sequence[int], *, train: bool) -> Tensor:  # noqa: ARG002 # ids tell the task
        """x `(S, 1, B)` of samples `ids` `(S, B)`."""
        return self._x[train].gather(1, ids)[:, None]

    def labels_of(self, ids: Tensor, *, train: bool) -> Tensor:
        """y `(S, B)` of samples."""
        return self._y[train].gather(1, ids)

    def mask_inactive(self, outputs: Tensor, *_: object, **__: object) -> Tensor:
        """The outputs as they are: there is one."""
        return outputs

    def active_outputs(self, *_: object) -> slice:
        """The one output."""
        return slice(0, 1)
