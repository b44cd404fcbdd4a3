"""Benchmarks of one's own: a class that settings name, `benchmark.target`, docs/data.md."""

import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl_runner.benchmarks.likelihoods import Categorical, Likelihood
from cl_runner.benchmarks.scenarios import Scenario
from cl_runner.benchmarks.splits import ArraySplit, Pair, divided
from cl_runner.config.data import input_shape
from cl_runner.config.imports import imported
from cl_runner.config.schema import BenchmarkConfig
from cl_runner.errors import ConfigError, DataError, in_words


class TaskBenchmark:
    """Tasks that are given as arrays: of a subclass `task` is asked for, and nothing else.

    Args:
        config: its settings. `tasks`, `classes_per_task` and `input_shape` say what `task` is to give; of what it gives
            the first `train_samples` and `test_samples` are taken, and `validation` is held out of the former.
        seeds: of the streams.
        device, dtype: of the samples.
        arguments: of `task`, `benchmark.arguments`.

    Attributes:
        likelihood: what the outputs mean; `cl_runner.benchmarks.likelihoods.Gaussian()` for a regression.
    """

    likelihood: Likelihood = Categorical()

    def __init__(
        self,
        config: BenchmarkConfig,
        seeds: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **arguments: Any,
    ) -> None:
        self.config, self.seeds, self.arguments = config, tuple(seeds), arguments
        self.device, self.dtype = torch.device(device), dtype
        self.input_shape = input_shape(config)
        self._scenario = Scenario(config.scenario, config.tasks, config.classes)
        self.outputs = self._scenario.outputs
        self._made = {seed: [self._task(number, seed) for number in range(config.tasks)] for seed in seeds}
        self._put_together()

    def task(self, number: int, seed: int, *args: Any, **kwargs: Any) -> Any:
        """The samples of a task in the stream of a seed; what is random must come from these two alone.

        Args:
            number: of the task, from 0.
            seed: of the stream.
            args, kwargs: `benchmark.arguments`, by name.

        Returns:
            Two pairs, of the training and of the test samples: inputs `(n, *input_shape)`, and labels `(n,)`, classes
            from 0 to `classes_per_task` − 1 or values; as NumPy arrays or tensors.
        """
        raise NotImplementedError

    def described(self, seed: int) -> list[dict[str, Any]]:  # noqa: ARG002 # nothing is known of them
        """As `Benchmark.described`: nothing, unless a subclass knows better."""
        return [{} for _ in range(self.config.tasks)]

    def of_streams(self, seeds: Sequence[int]) -> "TaskBenchmark":
        """As `Benchmark.of_streams`."""
        if tuple(seeds) == self.seeds:
            return self
        found = copy(self)
        found.seeds = tuple(seeds)
        found._put_together()
        return found

    def active_outputs(self, task: int, seen: int) -> slice:
        """As `Benchmark.active_outputs`."""
        return self._scenario.active_outputs(task, seen)

    def _put_together(self) -> None:
        made = [self._made[seed] for seed in self.seeds]
        self.train = ArraySplit([[task.train for task in tasks] for tasks in made], self._scenario)
        self.test = ArraySplit([[task.test for task in tasks] for tasks in made], self._scenario)
        self.validation = ArraySplit.of_held([[task.validation for task in tasks] for tasks in made], self._scenario)

    def _task(self, number: int, seed: int) -> "_Task":
        try:
            given = self.task(number, seed, **self.arguments)
        except Exception as error:
            raise DataError(f"benchmark.target: {self._called(number, seed)} fails: {in_words(error)}") from error
        try:
            train, test = given
            pairs = [(torch.as_tensor(inputs), torch.as_tensor(labels)) for inputs, labels in (train, test)]
        except (TypeError, ValueError, RuntimeError) as error:
            raise self._unfit(
                number,
                seed,
                f"{type(given).__name__} that is not two pairs of arrays",
                "(inputs, labels) of the training samples, and then of the test samples",
            ) from error
        limits = self.config.train_samples, self.config.test_samples
        train, test = (
            self._checked(number, seed, inputs[:limit], labels[:limit])
            for (inputs, labels), limit in zip(pairs, limits, strict=True)
        )
        return _Task(*divided(train, self.config.validation), test)

    def _checked(self, number: int, seed: int, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if inputs.dim() == 0 or not len(inputs) or inputs.shape[1:] != self.input_shape:
            wanted = f"(n, {', '.join(map(str, self.input_shape))}), by benchmark.input_shape"
            raise self._unfit(number, seed, f"inputs of the shape {tuple(inputs.shape)}", wanted)
        inputs = inputs.flatten(1).to(self.device, self.dtype)
        if not torch.isfinite(inputs).all():
            raise self._unfit(number, seed, "inputs with NaN or infinity", "finite numbers")
        if labels.shape != (len(inputs),):
            raise self._unfit(number, seed, f"labels of the shape {tuple(labels.shape)}", f"({len(inputs)},)")
        if self.likelihood.score_name == "mse":
            labels = labels.to(self.device, self.dtype)
            if not torch.isfinite(labels).all():
                raise self._unfit(number, seed, "labels with NaN or infinity", "finite numbers")
            return inputs, labels
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise self._unfit(number, seed, f"labels of {labels.dtype}", "integers")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.config.classes:
            wanted = f"0 to {self.config.classes - 1}, by benchmark.classes_per_task"
            raise self._unfit(number, seed, f"labels from {low} to {high}", wanted)
        return inputs, labels.to(self.device, torch.int64)

    def _unfit(self, number: int, seed: int, what: str, allowed: str) -> DataError:
        return DataError(f"benchmark.target: {self._called(number, seed)} gives {what}, allowed: {allowed}")

    def _called(self, number: int, seed: int) -> str:
        return f"{type(self).__qualname__}.task({number}, seed={seed})"


class _Task(NamedTuple):
    """Inputs `(n, D)` and labels `(n,)`."""

    train: Pair
    validation: Pair | None
    test: Pair


def check_own(benchmark: BenchmarkConfig) -> Any:
    """The class that makes a benchmark of one's own.

    Raises:
        ConfigError: it cannot be imported, is none, or does not take `benchmark.arguments`.
    """
    name, arguments = str(benchmark.target), benchmark.arguments
    target = imported("benchmark.target", name)
    if not isinstance(target, type):
        raise ConfigError(f"benchmark.target: got {name}, which is no class, allowed: a class of a benchmark")
    if issubclass(target, TaskBenchmark) and target.task is TaskBenchmark.task:
        raise ConfigError(f"benchmark.target: got {name}, which has no method task, allowed: a class with it")
    try:
        if issubclass(target, TaskBenchmark):
            _bind(target.task, None, 0, 0, arguments=arguments)
        else:
            _bind(target, benchmark, [0], arguments={"device": "cpu", **arguments})
    except TypeError as error:
        raise ConfigError(f"benchmark.arguments: got {arguments}, allowed: those of {name}: {error}") from error
    return target


def make_own(benchmark: BenchmarkConfig, seeds: Sequence[int], device: torch.device | str) -> Any:
    """The benchmark of one's own that settings name.

    Raises:
        ConfigError: as `check_own`.
        DataError: making it fails, or it gives what does not fit the settings.
    """
    target = check_own(benchmark)
    try:
        made = target(benchmark, seeds, device=device, **benchmark.arguments)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"benchmark.target: making {benchmark.target} fails: {in_words(error)}") from error
    wanted = {"input_shape": input_shape(benchmark), "outputs": benchmark.outputs_of(benchmark.tasks)}
    for name, value in wanted.items():
        found = getattr(made, name, None)
        if found != value:
            raise DataError(f"benchmark.target: {benchmark.target} has {name} {found}, allowed: {value}, by settings")
    return made


def _bind(called: Any, *positional: Any, arguments: Mapping[str, Any]) -> None:
    """Raises `TypeError` if what is called has no such arguments."""
    inspect.signature(called).bind(*positional, **arguments)
