"""Which of a network's outputs are a task's."""

from torch import Tensor


class Scenario:
    """Scenarios (van de Ven & Tolias 2019, arXiv 1904.07734): `domain`, one head shared by all tasks; `task`, a head
    for each task, which is known at test time; `class`, one head over the classes of all tasks, those seen so far
    competing.

    Args:
        name: of the scenario.
        tasks: how many there are.
        classes: of each task.
    """

    def __init__(self, name: str, tasks: int, classes: int) -> None:
        self.name, self.classes = name, classes
        self.outputs = classes if name == "domain" else classes * tasks

    def active_outputs(self, task: int, seen: int) -> slice:
        """The classes that compete in `task` after `seen` tasks; one still to come (tested for forward transfer) counts
        as seen.
        """
        first = task * self.classes if self.name == "task" else 0
        last = self.outputs if self.name == "domain" else (task + 1) * self.classes
        if self.name == "class":
            last = max(last, seen * self.classes)
        return slice(first, last)

    def outputs_of(self, labels: Tensor, tasks: Tensor) -> Tensor:
        """The outputs of classes that are numbered within their task, `(S, B)` each."""
        return labels if self.name == "domain" else labels + tasks * self.classes
