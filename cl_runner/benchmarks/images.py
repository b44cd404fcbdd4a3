"""Tasks made from one dataset: by permuting its pixels, rotating it, splitting its classes, or as it says.

The dataset lies on the device once, as it was read. A task is a way to index and transform it, applied batch by
batch; the tasks (permutations, class order, random angles) are drawn from a seed, and so are common to the runs of a
stream.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_runner.benchmarks.datasets import Dataset, Samples
from cl_runner.benchmarks.families import Family, Given, Permuted, Rotated, SplitClasses
from cl_runner.benchmarks.likelihoods import Categorical
from cl_runner.benchmarks.scenarios import Scenario
from cl_runner.benchmarks.splits import NumberedSplit
from cl_runner.config.schema import BenchmarkConfig

# Elements that are taken to double precision in one piece.
_PIECE = 2**24


class ImageSplit(NumberedSplit):
    """Samples of a dataset, N of them, as tasks show them. Ids are task · N + index.

    Args:
        samples: the dataset's.
        family: makes tasks of them.
        scenario: says which outputs are whose.
        streams: how many there are.
        shift: added to inputs after their product with `scale`, a scalar of the device and dtype of the inputs.
        scale: see there.
    """

    def __init__(
        self, samples: Samples, family: Family, scenario: Scenario, streams: int, shift: Tensor, scale: float
    ) -> None:
        super().__init__(len(samples.labels), scenario)
        self._held, self._family, self._streams = samples, family, streams
        self._inputs, self._labels = samples.inputs.to(shift.device), samples.labels.to(shift.device)
        if self._inputs.is_floating_point():
            self._inputs = self._inputs.to(shift.dtype)
        self._shift, self._scale = shift, scale

    def samples(self, tasks: Sequence[int]) -> list[Tensor]:
        """As `Split.samples`."""
        everything = torch.arange(self.size)
        ids: list[Tensor] = []
        for stream in range(self._streams):
            of_task = self._family.task_of(self._held, stream)
            parts = [everything if of_task is None else everything[of_task == task] for task in tasks]
            ids.append(torch.cat([task * self.size + part for task, part in zip(tasks, parts, strict=True)]))
        return ids

    def inputs_of(self, ids: Tensor, tasks: Sequence[int]) -> Tensor:
        """As `Split.inputs_of`."""
        index = ids - tasks[0] * self.size if len(tasks) == 1 else ids % self.size
        # index_select moves whole rows of bytes, several times faster than indexing by a matrix.
        rows = self._inputs.index_select(0, index.flatten()).view(*ids.shape, -1)
        columns = self._family.columns(rows, tasks[0] if len(tasks) == 1 else ids // self.size)
        # To normalised numbers in one pass.
        return torch.add(self._shift, columns, alpha=self._scale)

    def labels_of(self, ids: Tensor) -> Tensor:
        """As `Split.labels_of`: indices of outputs."""
        return self.scenario.outputs_of(self._family.labels(self._labels[ids % self.size]), ids // self.size)


class ImageBenchmark:
    """The tasks of S streams.

    Args:
        config: its settings.
        dataset: the images.
        seeds: of the streams; each draws its own permutations, and, if it is to, class order or angles.
        device, dtype: of the batches.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        dataset: Dataset,
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._config, self._dataset, self.seeds = config, dataset, tuple(seeds)
        self.device, self.dtype = torch.device(device), dtype
        self.input_shape = dataset.info.shape
        self.likelihood = Categorical()
        self._scenario = Scenario(config.scenario, config.tasks, config.classes)
        self.outputs = self._scenario.outputs
        self._family = _family(config, dataset, seeds, self.device, dtype)
        mean, deviation = _mean_and_deviation(dataset.train.inputs) if config.normalize else (0.0, dataset.info.scale)
        shift = torch.tensor(-mean / deviation, device=self.device, dtype=dtype)

        def split(samples: Samples) -> ImageSplit:
            return ImageSplit(samples, self._family, self._scenario, len(seeds), shift, 1 / deviation)

        self.train, self.test = split(dataset.train), split(dataset.test)
        self.validation = split(dataset.validation) if dataset.validation else None

    def of_streams(self, seeds: Sequence[int]) -> "ImageBenchmark":
        """As `Benchmark.of_streams`."""
        if tuple(seeds) == self.seeds:
            return self
        return ImageBenchmark(self._config, self._dataset, seeds, device=self.device, dtype=self.dtype)

    def described(self, seed: int) -> list[dict[str, Any]]:
        """As `Benchmark.described`, in the words of the family."""
        return self._family.described(self.seeds.index(seed))

    def active_outputs(self, task: int, seen: int) -> slice:
        """As `Benchmark.active_outputs`: the classes that compete."""
        return self._scenario.active_outputs(task, seen)


def _family(
    config: BenchmarkConfig, dataset: Dataset, seeds: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Family:
    if config.family == "permuted":
        return Permuted(config, dataset.info, seeds, device)
    if config.family == "rotated":
        return Rotated(config, dataset.info, seeds, device, dtype)
    if config.family == "given":
        return Given(config)
    return SplitClasses(config, dataset.info, seeds, device)


def _mean_and_deviation(inputs: Tensor) -> tuple[float, float]:
    """Over all elements, without a copy of the inputs in double precision; 1 for a deviation of zero."""
    if inputs.is_floating_point():
        parts = inputs.split(max(1, _PIECE // inputs.shape[1]))
        mean = sum(float(part.sum(dtype=torch.float64)) for part in parts) / inputs.numel()
        squares = sum(float((part.double() - mean).square().sum()) for part in parts)
        return mean, math.sqrt(squares / inputs.numel()) or 1.0
    # From the histogram of bytes, which is exact.
    counts = torch.bincount(inputs.flatten().int()).double()
    values = torch.arange(len(counts), dtype=torch.float64)
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(((counts * (values - mean) ** 2).sum() / counts.sum()).sqrt()) or 1.0
