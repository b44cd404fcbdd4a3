"""How the tasks of S streams are made from one dataset: drawn from the streams' seeds, and applied batch by batch."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_runner.benchmarks.datasets import Samples
from cl_runner.config.datasets import DatasetInfo
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.engine.seeding import generator


class Family:
    """Tasks that all show every sample as it is, which each family changes in its own way."""

    def described(self, stream: int) -> list[dict[str, Any]]:
        """What each task is in a stream, ready for JSON."""
        raise NotImplementedError

    def task_of(self, samples: Samples, stream: int) -> Tensor | None:  # noqa: ARG002 # it depends on the family
        """The task of each sample in a stream, `(N,)` on the CPU; None where each is in all."""
        return None

    def labels(self, classes: Tensor) -> Tensor:
        """Of samples of these classes of the dataset `(S, B)`, the numbers of their classes within the task."""
        return classes

    def columns(self, rows: Tensor, task: int | Tensor) -> Tensor:  # noqa: ARG002 # it depends on the family
        """Inputs `(S, D, B)` as tasks show them.

        Args:
            rows: of the dataset, `(S, B, D)`.
            task: of all, or of each, `(S, B)`.
        """
        return rows.mT.contiguous()


class Permuted(Family):
    """Each task permutes the pixels in its own way, the first one not at all."""

    def __init__(
        self, config: BenchmarkConfig, info: DatasetInfo, seeds: Sequence[int], device: torch.device | str
    ) -> None:
        width = math.prod(info.shape)
        self._permutations = torch.stack([_permutations(config.tasks, width, seed) for seed in seeds]).to(device)
        self._every_stream = torch.arange(len(seeds), device=device)[:, None]
        first_row = width * self._every_stream[..., None]
        self._permuted_rows = (self._permutations + first_row).transpose(0, 1).flatten(1)

    def described(self, stream: int) -> list[dict[str, Any]]:
        """`permutation`, by pixel of the input the number of the image's pixel that it shows."""
        return [{"permutation": permutation.tolist()} for permutation in self._permutations[stream]]

    def columns(self, rows: Tensor, task: int | Tensor) -> Tensor:
        """As `Family.columns`."""
        if isinstance(task, Tensor):
            rows = rows.gather(2, self._permutations[self._every_stream, task])
        columns = rows.mT.contiguous()
        if not isinstance(task, Tensor) and task > 0:
            # With pixels as rows a permutation moves rows of memory, which is faster than a gather of single bytes.
            columns = columns.view(-1, rows.shape[1]).index_select(0, self._permuted_rows[task]).view(columns.shape)
        return columns


class Rotated(Family):
    """Each task turns the images by its own angle."""

    def __init__(
        self,
        config: BenchmarkConfig,
        info: DatasetInfo,
        seeds: Sequence[int],
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self._shape, self._dtype = info.shape, dtype
        self._angles = torch.stack([_angles(config, seed) for seed in seeds])
        self._grids = torch.stack([_rotation_grids(angles, info.shape) for angles in self._angles]).to(device, dtype)
        self._every_stream = torch.arange(len(seeds), device=device)[:, None]

    def described(self, stream: int) -> list[dict[str, Any]]:
        """`angle`, counter-clockwise in degrees."""
        return [{"angle": math.degrees(angle)} for angle in self._angles[stream].tolist()]

    def columns(self, rows: Tensor, task: int | Tensor) -> Tensor:
        """As `Family.columns`."""
        streams, size, _ = rows.shape
        _, height, width = self._shape
        grid = self._grids[self._every_stream, task].expand(streams, size, height, width, 2).flatten(0, 1)
        images = rows.view(streams * size, *self._shape).to(self._dtype)
        turned = torch.nn.functional.grid_sample(images, grid, align_corners=False)
        return turned.view(rows.shape).mT.contiguous()


class SplitClasses(Family):
    """Each task has classes of its own."""

    def __init__(
        self, config: BenchmarkConfig, info: DatasetInfo, seeds: Sequence[int], device: torch.device | str
    ) -> None:
        self._tasks, self._classes_per_task = config.tasks, config.classes
        # The classes in the stream's order, and the position of each in it, (S, classes).
        self._orders = torch.stack([_class_order(config, info.classes, seed) for seed in seeds])
        self._positions = self._orders.argsort(1)
        self._positions_there = self._positions.to(device)

    def described(self, stream: int) -> list[dict[str, Any]]:
        """`classes`, those of its outputs in their order."""
        parts = self._orders[stream].split(self._classes_per_task)[: self._tasks]
        return [{"classes": part.tolist()} for part in parts]

    def task_of(self, samples: Samples, stream: int) -> Tensor:
        """As `Family.task_of`."""
        return self._positions[stream, samples.labels] // self._classes_per_task

    def labels(self, classes: Tensor) -> Tensor:
        """As `Family.labels`."""
        return self._positions_there.gather(1, classes) % self._classes_per_task


class Given(Family):
    """Each task has the samples that the dataset says."""

    def __init__(self, config: BenchmarkConfig) -> None:
        self._tasks = config.tasks

    def described(self, stream: int) -> list[dict[str, Any]]:  # noqa: ARG002 # the same for all
        """`task_id`, as in the dataset."""
        return [{"task_id": task} for task in range(self._tasks)]

    def task_of(self, samples: Samples, stream: int) -> Tensor | None:  # noqa: ARG002 # the same for all
        """As `Family.task_of`."""
        return samples.tasks


def _permutations(tasks: int, width: int, seed: int) -> Tensor:
    """Of each task, `(T, D)`."""
    source = generator(seed, "tasks")
    return torch.stack(
        [torch.randperm(width, generator=source) if task else torch.arange(width) for task in range(tasks)]
    )


def _angles(config: BenchmarkConfig, seed: int) -> Tensor:
    """By which each task's images are turned, in radians, `(T,)`: equal steps from 0 to the largest angle, or 0 and
    then random ones, uniform below it.
    """
    largest = math.radians(config.max_angle)
    if config.angles == "equal":
        return torch.linspace(0, largest, config.tasks, dtype=torch.float64)
    drawn = largest * torch.rand(config.tasks - 1, generator=generator(seed, "tasks"), dtype=torch.float64)
    return torch.nn.functional.pad(drawn, (1, 0))


def _rotation_grids(angles: Tensor, shape: Sequence[int]) -> Tensor:
    """Sampling grids `(T, H, W, 2)` that turn images `(C, H, W)` counter-clockwise by angles `(T,)` in radians."""
    _, height, width = shape
    zero = torch.zeros_like(angles)
    # The grid's coordinates run from −1 to 1 along either edge, whatever their lengths.
    across = torch.stack([angles.cos(), -angles.sin() * (height / width), zero], -1)
    down = torch.stack([angles.sin() * (width / height), angles.cos(), zero], -1)
    theta = torch.stack([across, down], 1)
    return torch.nn.functional.affine_grid(theta, [len(angles), 1, height, width], align_corners=False)


def _class_order(config: BenchmarkConfig, classes: int, seed: int) -> Tensor:
    """The classes of the tasks, the first task's first, `(classes,)`, filled up with those of no task."""
    if config.class_order == "seed":
        return torch.randperm(classes, generator=generator(seed, "tasks"))
    given = [] if config.class_order == "fixed" else config.class_order
    return torch.tensor([*given, *(number for number in range(classes) if number not in given)])
