"""Samples by name, as training, testing and the Fisher information ask for them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cl_runner.benchmarks.holdout import held_out
from cl_runner.benchmarks.scenarios import Scenario


class Split(Protocol):
    """The training, the validation or the test samples of S streams' tasks, numbered from 0.

    Samples are named by ids, which say of which task they are too; each split has its own.
    """

    def samples(self, tasks: Sequence[int]) -> list[Tensor]:
        """Per stream, the ids of the samples of these tasks, `(n,)` each (on the CPU)."""

    def inputs_of(self, ids: Tensor, tasks: Sequence[int]) -> Tensor:
        """Inputs `(S, D, B)` of the samples `ids` `(S, B)`, which are of `tasks`; one task is faster than a mixture.
        D is the product of the benchmark's `input_shape`.
        """

    def labels_of(self, ids: Tensor) -> Tensor:
        """Labels `(S, B)` of samples: indices of outputs, or values."""

    def mask_inactive(self, outputs: Tensor, ids: Tensor, tasks: Sequence[int], seen: int) -> Tensor:
        """Outputs `(R, C, B)` with −inf for the classes that do not compete for these samples.

        Args:
            outputs: of the networks.
            ids: of the networks' samples, `(R, B)`.
            tasks: as for `inputs_of`.
            seen: number of tasks seen so far.
        """


class NumberedSplit:
    """What splits have in common whose ids are task · size + index.

    Args:
        size: greater than every index.
        scenario: says which outputs are whose.
    """

    def __init__(self, size: int, scenario: Scenario) -> None:
        self.size, self.scenario = size, scenario

    def mask_inactive(self, outputs: Tensor, ids: Tensor, tasks: Sequence[int], seen: int) -> Tensor:
        """As `Split.mask_inactive`."""
        scenario = self.scenario
        if scenario.name == "domain":
            return outputs
        if scenario.name == "task" and len(tasks) > 1:
            head = torch.arange(scenario.outputs, device=outputs.device) // scenario.classes
            return outputs.masked_fill(head[:, None] != (ids // self.size)[:, None], -torch.inf)
        active = scenario.active_outputs(max(tasks), seen)
        masked = torch.full_like(outputs, -torch.inf)
        masked[:, active] = outputs[:, active]
        return masked


Pair = tuple[Tensor, Tensor]


def divided(samples: Pair, fraction: float | None) -> tuple[Pair, Pair | None]:
    """A task's inputs `(n, D)` and labels `(n,)` to train on, and those held out: a fraction of each class, or of all
    where labels are values. None are if the fraction is None.
    """
    if fraction is None:
        return samples, None
    inputs, labels = samples
    groups = torch.zeros(len(labels)) if labels.is_floating_point() else labels
    kept, held = (index.to(labels.device) for index in held_out(groups, fraction))
    return (inputs[kept], labels[kept]), (inputs[held], labels[held])


class ArraySplit(NumberedSplit):
    """Samples that each task of each stream has of its own. Ids are task · size + index.

    Args:
        given: per stream and task inputs `(n, D)`, and labels `(n,)`: numbers of classes within the task, or values.
        scenario: says which outputs are whose.
    """

    def __init__(self, given: Sequence[Sequence[Pair]], scenario: Scenario) -> None:
        self._counts = [[len(labels) for _, labels in tasks] for tasks in given]
        super().__init__(max(max(counts) for counts in self._counts), scenario)
        # Room for as many samples of every task, so that a sample's place is told by its stream and its id.
        (inputs, labels), places = given[0][0], (len(given), len(given[0]), self.size)
        every_input, every_label = inputs.new_zeros(*places, inputs.shape[1]), labels.new_zeros(*places)
        for stream, tasks in enumerate(given):
            for task, (inputs, labels) in enumerate(tasks):
                every_input[stream, task, : len(labels)] = inputs
                every_label[stream, task, : len(labels)] = labels
        self._rows, self._labels = every_input.flatten(0, 2), every_label.flatten(1)
        self._first_row = self._labels.shape[1] * torch.arange(len(given), device=inputs.device)[:, None]

    @classmethod
    def of_held(cls, given: Sequence[Sequence[Pair | None]], scenario: Scenario) -> "ArraySplit | None":
        """The split of what `divided` has held out; None if that is nothing."""
        held = [[pair for pair in tasks if pair] for tasks in given]
        return cls(held, scenario) if any(held) else None

    def samples(self, tasks: Sequence[int]) -> list[Tensor]:
        """As `Split.samples`."""
        return [
            torch.cat([torch.arange(task * self.size, task * self.size + counts[task]) for task in tasks])
            for counts in self._counts
        ]

    def inputs_of(self, ids: Tensor, tasks: Sequence[int]) -> Tensor:  # noqa: ARG002 # ids tell the task
        """As `Split.inputs_of`."""
        rows = self._rows.index_select(0, (ids + self._first_row).flatten())
        # Unlike `contiguous`, which leaves the strides of one column as they are: by them products choose their kernel.
        return rows.view(*ids.shape, -1).mT.clone(memory_format=torch.contiguous_format)

    def labels_of(self, ids: Tensor) -> Tensor:
        """As `Split.labels_of`."""
        return self.scenario.outputs_of(self._labels.gather(1, ids), ids // self.size)
