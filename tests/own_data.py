"""Benchmarks of one's own, as somebody may write them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cl_runner.benchmarks.datasets import load_dataset
from cl_runner.benchmarks.images import ImageBenchmark
from cl_runner.benchmarks.likelihoods import Gaussian
from cl_runner.benchmarks.own import TaskBenchmark
from cl_runner.config.schema import BenchmarkConfig

Arrays = tuple[np.ndarray, np.ndarray]


class Waves(TaskBenchmark):
    """Sines of `width` points, whose frequencies are classes, each task's its own; later ones have more samples."""

    def task(self, number: int, seed: int, width: int = 6, noise: float = 0.1) -> tuple[Arrays, Arrays]:
        source = np.random.default_rng([seed, number])
        time = np.linspace(0, 2 * np.pi, width)

        def drawn(count: int) -> Arrays:
            labels = np.arange(count) % 3
            waves = np.sin((1 + 3 * number + labels[:, None]) * time)
            return waves + noise * source.standard_normal((count, width)), labels

        return drawn(40 + 5 * number), drawn(20)


class Lines(TaskBenchmark):
    """A regression: each task shows a line through the origin of another slope, and random points."""

    likelihood = Gaussian()

    def task(self, number: int, seed: int) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        source = torch.Generator().manual_seed(10 * seed + number)
        x, x_test = torch.randn(30, 2, generator=source), torch.randn(15, 2, generator=source)
        return (x, (number + 1) * x[:, 0]), (x_test, (number + 1) * x_test[:, 0])

    def described(self, seed: int) -> list[dict[str, Any]]:  # noqa: ARG002 # the same for all
        return [{"slope": number + 1} for number in range(self.config.tasks)]


class Digits(ImageBenchmark):
    """Permuted digits by way of the protocol, with no help of `TaskBenchmark`."""

    def __init__(self, config: BenchmarkConfig, seeds: Sequence[int], device: str, *, samples: int = 60) -> None:
        own = BenchmarkConfig(**(vars(config) | {"family": "permuted"}))
        super().__init__(own, load_dataset("digits", "", samples, 60, config.validation), seeds, device=device)


class Empty(TaskBenchmark):
    pass


class Uneven(Waves):
    """The number of samples depends on the seed."""

    def task(self, number: int, seed: int, width: int = 6, noise: float = 0.1) -> tuple[Arrays, Arrays]:
        (inputs, labels), test = super().task(number, seed, width, noise)
        return (inputs[: 10 + 16 * seed], labels[: 10 + 16 * seed]), test


class Wrong(Waves):
    """Wrong in a way that its argument chooses."""

    def task(self, number: int, seed: int, way: str = "") -> Any:  # type: ignore[override] # other arguments
        (x, y), test = super().task(number, seed)
        if way == "raises":
            raise KeyError("nowhere")
        ways: dict[str, Any] = {
            "one": x,
            "none": None,
            "shape": ((x[:, :5], y), test),
            "empty": ((x[:0], y[:0]), test),
            "infinite": ((x * np.nan, y), test),
            "length": ((x, y[:7]), test),
            "float": ((x, y + 0.5), test),
            "high": ((x, y + 1), test),
            "low": ((x, y - 1), test),
            "ragged": (([[1.0], [1.0, 2.0]], y), test),
        }
        return ways[way]


def waves() -> None:
    """No class."""
