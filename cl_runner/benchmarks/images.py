"""Tasks made from one dataset of images by permuting its pixels, rotating it or splitting its classes.

The dataset lies on the device once, as bytes. A task is a way to index and transform it, applied batch by
batch; the tasks (permutations, class order, random angles) are drawn from a seed, and so are common to the runs of a
stream.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_runner.benchmarks.datasets import Dataset, Split
from cl_runner.benchmarks.likelihoods import Categorical
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.engine.seeding import generator


class ImageBenchmark:
    """The tasks of S streams.

    Scenarios (van de Ven & Tolias 2019, arXiv 1904.07734): `domain`, one head shared by all tasks; `task`,
    a head for each task, which is known at test time; `class`, one head over the classes of all tasks, those
    seen so far competing.

    Args:
        config: its settings.
        dataset: the images.
        seeds: of the streams; each draws its own permutations, and, if it is to, class order or angles.
        device, dtype: of the batches.

    Samples are named by ids: task · N + index, N the size of the dataset's training or test split.
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
        self.tasks, self.scenario, self.family = config.tasks, config.scenario, config.family
        self.classes_per_task = config.classes_per_task
        self.device, self.dtype = torch.device(device), dtype
        self.side = dataset.info.side
        self.inputs = self.side**2
        self.outputs = config.outputs_of(config.tasks)
        self.likelihood = Categorical()
        self._splits = {
            train: Split(split.images.to(self.device), split.labels.to(self.device))
            for train, split in ((True, dataset.train), (False, dataset.test))
        }
        mean, deviation = _mean_and_deviation(dataset.train.images) if config.normalize else (0.0, dataset.info.scale)
        self._shift = torch.tensor(-mean / deviation, device=self.device, dtype=dtype)
        self._scale = 1 / deviation
        if self.family == "permuted":
            self._permutations = self._draw_permutations(seeds)
            first_row = self.inputs * torch.arange(len(seeds), device=self.device)[:, None, None]
            self._permuted_rows = (self._permutations + first_row).transpose(0, 1).flatten(1)
        elif self.family == "rotated":
            self._angles = torch.stack([_angles(config, seed) for seed in seeds])
            self._grids = torch.stack([_rotation_grids(angles, self.side) for angles in self._angles]).to(device, dtype)
        # The classes in the stream's order, and the position of each in it, (S, classes).
        self._orders = torch.stack([_class_order(config, dataset.info.classes, seed) for seed in seeds])
        self._positions = self._orders.argsort(1).to(self.device)

    def of_streams(self, seeds: Sequence[int]) -> "ImageBenchmark":
        """The same benchmark for the streams of these seeds."""
        if tuple(seeds) == self.seeds:
            return self
        return ImageBenchmark(self._config, self._dataset, seeds, device=self.device, dtype=self.dtype)

    def described(self, seed: int) -> list[dict[str, Any]]:
        """What each task is in the stream of a seed: `classes` of a split task, those of its outputs in their order;
        `angle` of a rotated one, counter-clockwise in degrees; `permutation` of a permuted one, by pixel of the input
        the number of the image's pixel that it shows.
        """
        stream = self.seeds.index(seed)
        if self.family == "split":
            parts = self._orders[stream].split(self.classes_per_task)[: self.tasks]
            return [{"classes": part.tolist()} for part in parts]
        if self.family == "rotated":
            return [{"angle": math.degrees(angle)} for angle in self._angles[stream].tolist()]
        return [{"permutation": permutation.tolist()} for permutation in self._permutations[stream]]

    def samples(self, tasks: Sequence[int], *, train: bool) -> list[Tensor]:
        """Per stream, the ids of the samples of these tasks, `(n,)` each (on the CPU)."""
        labels = self._splits[train].labels.cpu()
        everything = torch.arange(len(labels))
        ids: list[Tensor] = []
        for positions in self._positions.cpu():
            of_task = positions[labels] // self.classes_per_task
            split = self.family == "split"
            ids.append(
                torch.cat(
                    [task * len(labels) + (everything[of_task == task] if split else everything) for task in tasks]
                )
            )
        return ids

    def inputs_of(self, ids: Tensor, tasks: Sequence[int], *, train: bool) -> Tensor:
        """Inputs `(S, D, B)` of samples.

        Args:
            ids: `(S, B)` on the device.
            tasks: the tasks that the samples are of; one task is faster than a mixture.
        """
        split = self._splits[train]
        size = len(split.labels)
        index = ids - tasks[0] * size if len(tasks) == 1 else ids % size
        # index_select moves whole rows of bytes, several times faster than indexing by a matrix.
        pixels = split.images.index_select(0, index.flatten()).view(*ids.shape, self.inputs)
        return self._transform(pixels, tasks[0] if len(tasks) == 1 else ids // size)

    def labels_of(self, ids: Tensor, *, train: bool) -> Tensor:
        """Labels `(S, B)` of samples, as indices of outputs."""
        labels = self._splits[train].labels
        found = labels[ids % len(labels)]
        if self.family == "split":
            found = self._positions.gather(1, found) % self.classes_per_task
        return found if self.scenario == "domain" else found + ids // len(labels) * self.classes_per_task

    def mask_inactive(self, outputs: Tensor, ids: Tensor, tasks: Sequence[int], seen: int, *, train: bool) -> Tensor:
        """Outputs `(R, C, B)` with −inf for the classes that do not compete for these samples.

        Args:
            outputs: of the networks.
            ids: of the networks' samples, `(R, B)`.
            tasks: as for `inputs_of`.
            seen: number of tasks seen so far; a task still to come (tested for forward transfer) counts as seen.
        """
        if self.scenario == "domain":
            return outputs
        if self.scenario == "task" and len(tasks) > 1:
            task = ids // len(self._splits[train].labels)
            head = torch.arange(self.outputs, device=outputs.device) // self.classes_per_task
            return outputs.masked_fill(head[:, None] != task[:, None], -torch.inf)
        active = self.active_outputs(max(tasks), seen)
        masked = torch.full_like(outputs, -torch.inf)
        masked[:, active] = outputs[:, active]
        return masked

    def active_outputs(self, task: int, seen: int) -> slice:
        """The classes that compete in `task` after `seen` tasks."""
        first = task * self.classes_per_task if self.scenario == "task" else 0
        last = self.outputs if self.scenario == "domain" else (task + 1) * self.classes_per_task
        if self.scenario == "class":
            last = max(last, seen * self.classes_per_task)
        return slice(first, last)

    def _transform(self, pixels: Tensor, task: int | Tensor) -> Tensor:
        streams, size, inputs = pixels.shape
        if self.family == "rotated":
            every_stream = torch.arange(streams, device=self.device)[:, None]
            grid = self._grids[every_stream, task].expand(streams, size, self.side, self.side, 2).flatten(0, 1)
            images = pixels.view(streams * size, 1, self.side, self.side).to(self.dtype)
            turned = torch.nn.functional.grid_sample(images, grid, align_corners=False)
            return torch.add(self._shift, turned.view(streams, size, inputs).mT.contiguous(), alpha=self._scale)
        if self.family == "permuted" and isinstance(task, Tensor):
            every_stream = torch.arange(streams, device=self.device)[:, None]
            pixels = pixels.gather(2, self._permutations[every_stream, task])
        columns = pixels.mT.contiguous()
        if self.family == "permuted" and not isinstance(task, Tensor) and task > 0:
            # With pixels as rows a permutation moves rows of memory, which is faster than a gather of single bytes.
            columns = columns.view(-1, size).index_select(0, self._permuted_rows[task]).view(columns.shape)
        # Bytes to normalised numbers in one pass.
        return torch.add(self._shift, columns, alpha=self._scale)

    def _draw_permutations(self, seeds: Sequence[int]) -> Tensor:
        drawn = []
        for seed in seeds:
            source = generator(seed, "tasks")
            drawn.append(
                torch.stack(
                    [
                        torch.randperm(self.inputs, generator=source) if task else torch.arange(self.inputs)
                        for task in range(self.tasks)
                    ]
                )
            )
        return torch.stack(drawn).to(self.device)


def _mean_and_deviation(images: Tensor) -> tuple[float, float]:
    """Over all pixels, from their histogram: exact, and without a float copy of the images."""
    counts = torch.bincount(images.flatten().int()).double()
    values = torch.arange(len(counts), dtype=torch.float64)
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(((counts * (values - mean) ** 2).sum() / counts.sum()).sqrt())


def _class_order(config: BenchmarkConfig, classes: int, seed: int) -> Tensor:
    """The classes of split tasks, the first task's first, `(classes,)`, filled up with those of no task; in numerical
    order where all tasks have all classes.
    """
    if config.family == "split" and config.class_order == "seed":
        return torch.randperm(classes, generator=generator(seed, "tasks"))
    given = config.class_order if config.family == "split" and config.class_order != "fixed" else []
    return torch.tensor([*given, *(number for number in range(classes) if number not in given)])


def _angles(config: BenchmarkConfig, seed: int) -> Tensor:
    """By which each task's images are turned, in radians, `(T,)`: equal steps from 0 to the largest angle, or 0 and
    then random ones, uniform below it.
    """
    largest = math.radians(config.max_angle)
    if config.angles == "equal":
        return torch.linspace(0, largest, config.tasks, dtype=torch.float64)
    drawn = largest * torch.rand(config.tasks - 1, generator=generator(seed, "tasks"), dtype=torch.float64)
    return torch.nn.functional.pad(drawn, (1, 0))


def _rotation_grids(angles: Tensor, side: int) -> Tensor:
    """Sampling grids `(T, side, side, 2)` that turn images counter-clockwise by angles `(T,)` in radians."""
    zero = torch.zeros_like(angles)
    rows = [torch.stack([angles.cos(), -angles.sin(), zero], -1), torch.stack([angles.sin(), angles.cos(), zero], -1)]
    theta = torch.stack(rows, 1)
    return torch.nn.functional.affine_grid(theta, [len(angles), 1, side, side], align_corners=False)
