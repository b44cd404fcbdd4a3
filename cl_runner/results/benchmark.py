"""The samples of a run's tasks, as the run saw them."""

from typing import NamedTuple

from torch import Tensor

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.benchmarks.splits import Split
from cl_runner.config.schema import Config


class TaskSamples(NamedTuple):
    """Inputs as the run's networks take them, `(N, D)`, or `(N, *input_shape)` where they are modules of one's own; and
    labels `(N,)`: indices of outputs, or values.
    """

    inputs: Tensor
    labels: Tensor


class RunBenchmark:
    """The tasks of one run, numbered from 1.

    Args:
        config: its settings, with paths that lead to the data from here.
    """

    def __init__(self, config: Config) -> None:
        self._benchmark = make_benchmark(config.benchmark, config.data_dir, [config.seed], "cpu")
        self._tasks = config.benchmark.tasks
        self._flat = config.model.kind == "mlp"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample: (channels, height, width) of an image, or (D,)."""
        return self._benchmark.input_shape

    def train(self, task: int) -> TaskSamples:
        """The training samples of a task; raises `ValueError` if there is no such task."""
        return self._samples(self._benchmark.train, task)

    def test(self, task: int) -> TaskSamples:
        """The test samples of a task; raises `ValueError` if there is no such task."""
        return self._samples(self._benchmark.test, task)

    def validation(self, task: int) -> TaskSamples:
        """The samples of a task that were held out from training, to choose settings by; raises `ValueError` if there
        is no such task, or the run held out none.
        """
        if self._benchmark.validation is None:
            raise ValueError("benchmark.validation: the run held out no samples")
        return self._samples(self._benchmark.validation, task)

    def active_outputs(self, task: int, after: int) -> slice:
        """The outputs that compete for samples of `task` after `after` tasks; the prediction is the largest of them."""
        return self._benchmark.active_outputs(self._from_0(task), after)

    def _samples(self, split: Split, task: int) -> TaskSamples:
        number = self._from_0(task)
        (ids,) = split.samples([number])
        inputs = split.inputs_of(ids[None], [number])[0].T
        if not self._flat:
            inputs = inputs.reshape(-1, *self.input_shape)
        return TaskSamples(inputs, split.labels_of(ids[None])[0])

    def _from_0(self, task: int) -> int:
        if task not in range(1, self._tasks + 1):
            raise ValueError(f"task: got {task}, allowed: 1 to {self._tasks}")
        return task - 1
