"""Samples by name, as training, testing and the Fisher information ask for them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cl_runner.benchmarks.scenarios import Scenario


class Split(Protocol):
    """The training or the test samples of S streams' tasks, numbered from 0.

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
