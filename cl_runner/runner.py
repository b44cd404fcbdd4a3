"""A stack of runs from start to finish: one loop over the tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cl_runner.benchmarks import Benchmark
from cl_runner.config import Config
from cl_runner.data import load_dataset
from cl_runner.environment import Stopwatch, describe_environment, set_up
from cl_runner.errors import ResourceError
from cl_runner.evaluation import Score, evaluate
from cl_runner.figures import draw_figures
from cl_runner.fisher import fisher_diagonal
from cl_runner.methods import Method
from cl_runner.recording import Recorder
from cl_runner.results import Run
from cl_runner.stack import Stack
from cl_runner.training import Epoch, train_task


class Progress(Protocol):
    """Told how far a stack of runs is."""

    def epoch(self, task: int, tasks: int, epoch: Epoch) -> None:
        """After each epoch of `task`, counted from 1, of `tasks`."""

    def task(self, task: int, tasks: int, scores: Sequence[Score]) -> None:
        """After `task`, with the scores on every task."""


def run_stack(
    configs: Sequence[Config], directories: Sequence[Path], progress: Progress, started: float | None = None
) -> list[Recorder]:
    """Train and record R runs that share benchmark, network, training schedule and device.

    Args:
        configs: of the runs; they may differ in seed, `freeze`, `method` (but not `method.joint`) and nothing else.
        directories: where each run's results go.
        progress: is told of every epoch and task.
        started: `time.perf_counter()` when the process started, to count its start; None to count from now.

    Returns:
        The recorders, whose matrices are complete.

    Raises:
        DataError, DivergenceError: see there. What was recorded stays, without `metrics.json`.
    """
    clock = Stopwatch(started)
    common = configs[0]
    seeds = [config.seed for config in configs]
    device = set_up(common)
    with clock("load"):
        dataset = load_dataset(common.benchmark.dataset, common.data_dir, common.benchmark.train_samples)
        benchmark = Benchmark(common.benchmark, dataset, seeds, device=device)
    sizes = [benchmark.inputs, *common.model.hidden, benchmark.outputs]
    try:
        stack = Stack(sizes, common.model.activation, seeds, device=device)
    except RuntimeError as error:
        raise ResourceError(
            f"no memory for {len(seeds)} network(s) of widths {sizes}: try a smaller model.hidden"
        ) from error
    method = Method(stack, configs)
    recorders = [Recorder(directory, benchmark.tasks) for directory in directories]

    with clock("evaluate"):
        untrained = [evaluate(stack, benchmark, task, seen=0) for task in range(benchmark.tasks)]
    for run, recorder in enumerate(recorders):
        recorder.accuracy(0, untrained, run)

    for task in range(benchmark.tasks):
        number, so_far = task + 1, list(range(task + 1))
        if common.method.joint:
            stack.initialise(task)

        trained_on = so_far if common.method.joint else [task]
        for epoch in train_task(stack, method, benchmark, task, trained_on, common.train):
            clock.seconds["train"] += epoch.seconds
            with clock("evaluate"):
                tested = _tested(epoch, number, benchmark.tasks, common.train.curve_points)
                scores = [evaluate(stack, benchmark, other, seen=number) for other in tested]
            with clock("write"):
                for run, recorder in enumerate(recorders):
                    recorder.epoch(number, epoch, run)
                    recorder.curve_point(number, epoch.number, scores[:number], run)
            progress.epoch(number, benchmark.tasks, epoch)

        with clock("fisher"):
            fisher = fisher_diagonal(stack, benchmark, task, common.fisher, seeds)
        with clock("write"):
            for run, recorder in enumerate(recorders):
                recorder.accuracy(number, scores, run)
                recorder.task(
                    number,
                    *(stack.layout.named(buffer, run) for buffer in (stack.parameters, fisher, method.trainable)),
                )
        with clock("train"):
            method.consolidate(fisher)
        progress.task(number, benchmark.tasks, scores)

    with clock("write"):
        for run, recorder in enumerate(recorders):
            recorder.accuracy_matrix()
            draw_figures(Run(recorder.directory), describe(configs[run]))
    for recorder in recorders:
        recorder.finish(describe_environment(device, clock))
    return recorders


def describe(config: Config) -> str:
    """A run in a few words, for figures and the terminal."""
    method, benchmark = config.method, config.benchmark
    parts = []
    if method.mask != "none" and config.freeze > 0:
        parts.append(f"{method.mask} mask, freeze={config.freeze:g}")
    if method.penalty != "none" and method.ewc_lambda > 0:
        parts.append(f"λ={method.ewc_lambda:g}")
    if method.l1_lambda > 0:
        parts.append(f"λ₁={method.l1_lambda:g}")
    settings = f" ({', '.join(parts)})" if parts else ""
    dataset = "" if benchmark.dataset in benchmark.name else f" of {benchmark.dataset}"
    return f"{method.name}{settings} on {benchmark.name}{dataset}, seed {config.seed}"


def _tested(epoch: Epoch, trained: int, tasks: int, points: int) -> range:
    """Tasks (from 0) to test after an epoch: those so far at up to `points` epochs a task, all after the last."""
    if epoch.number == epoch.count:
        return range(tasks)
    is_point = epoch.number * points // epoch.count > (epoch.number - 1) * points // epoch.count
    return range(trained if is_point else 0)
