"""A stack of runs from start to finish: one loop over the tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.config.schema import Config
from cl_runner.engine.device import named_memory_errors, set_up, threads_put_back
from cl_runner.engine.dropout import make_dropout
from cl_runner.engine.models import make_network
from cl_runner.methods.method import Method
from cl_runner.methods.settings import mask_of
from cl_runner.metrics import less_is_better
from cl_runner.results.files import is_complete
from cl_runner.results.locks import locked
from cl_runner.results.record import begin_session
from cl_runner.results.run import Run
from cl_runner.runs.clock import Stopwatch, describe_environment
from cl_runner.runs.evaluation import Scores, evaluate
from cl_runner.runs.fisher import fisher_diagonals
from cl_runner.runs.idle_outputs import outputs_in_use
from cl_runner.runs.overlap import mask_overlaps
from cl_runner.runs.recorder import Recorder
from cl_runner.runs.resume import take_up
from cl_runner.runs.rows import (
    RunInStack,
    configs_of_rows,
    fanned_out,
    is_curve_point,
    record_epoch,
    record_states,
    save,
    share_rows,
)
from cl_runner.runs.schedule import Schedule
from cl_runner.runs.state import load_state
from cl_runner.runs.stopping import Stopping
from cl_runner.runs.training import Epoch, Moment, by_row, kept_optimizer, paced_optimizer, train_task
from cl_runner.signals import Pauses


class Progress(Protocol):
    """Told how far a stack of runs is."""

    def epoch(self, task: int, tasks: int, epoch: Epoch) -> None:
        """After each epoch of `task`, counted from 1, of `tasks`."""

    def task(self, task: int, tasks: int, scores: Scores) -> None:
        """After `task`, with the scores on every task."""


@named_memory_errors()
def run_stack(
    configs: Sequence[Config],
    directories: Sequence[Path],
    progress: Progress,
    *,
    until: int | None = None,
    fail_fast: bool = False,
    started: float | None = None,
) -> list[Recorder]:
    """Train and record R runs that share benchmark, network, training schedule and device.

    A run goes on from the state that its directory holds. States are saved after each task, within a task every
    `checkpoint.minutes`, and where a signal asks for it (`cl_runner.signals`).

    Args:
        configs: of the runs; they may differ in seed, `freeze`, `method` (but not `method.joint`), `fisher`, the
            optimiser's rates, `save`, and nothing else. Those with a state must stand at the same point.
        directories: where each run's results go.
        progress: is told of every epoch and task.
        until: the number of tasks after which they are left as they stand, to go on another time; None: to the end.
        fail_fast: whether the others are left as they stand, to go on another time, once one of them fails.
        started: `time.perf_counter()` when the process started, to count its start; None to count from now.

    Returns:
        The runs' recorders. One whose loss diverged has a `failure`; the matrices of the others are complete.

    Raises:
        DataError, ResourceError, StateError, LockedError, StoppedError: see there. What was recorded stays, without
            `metrics.json`.
    """
    with locked(directories), threads_put_back(), Pauses(configs[0].checkpoint.minutes) as pauses:
        return _run_stack(configs, directories, progress, pauses, until, fail_fast, started)


def _run_stack(
    configs: Sequence[Config],
    directories: Sequence[Path],
    progress: Progress,
    pauses: Pauses,
    until: int | None,
    fail_fast: bool,
    started: float | None,
) -> list[Recorder]:
    clock = Stopwatch(started)
    common, tasks = configs[0], configs[0].benchmark.tasks
    states = [load_state(directory, config) for directory, config in zip(directories, configs, strict=True)]
    if len({state and state.position for state in states}) > 1:
        raise ValueError("runs that stand at different points cannot share a stack")
    begin_session(
        (directory, config, state is not None)
        for directory, config, state in zip(directories, configs, states, strict=True)
        if not is_complete(directory)
    )
    device = set_up(common)
    with clock("load"):
        every_seed = sorted({config.seed for config in configs})
        benchmark = make_benchmark(common.benchmark, common.data_dir, every_seed, device)
    recorders = [
        Recorder(
            directory,
            tasks,
            benchmark.likelihood.score_name,
            state,
            shared=common.benchmark.scenario == "domain",
            parts=list(config.method.parts),
            validated=benchmark.validation is not None,
            save=config.save,
        )
        for directory, config, state in zip(directories, configs, states, strict=True)
    ]
    with clock("write"):
        for config, recorder in zip(configs, recorders, strict=True):
            recorder.tasks(benchmark.described(config.seed))
    runs = [RunInStack(*parts) for parts in zip(configs, recorders, states, strict=True)]
    runs.sort(key=lambda run: run.config.sort_key)

    first = states[0].task if states[0] else 0
    heads = share_rows(runs, first)
    resumed = [run.state for run in heads if run.state]
    with clock("load"):
        seeds = [run.config.seed for run in heads]
        stack = make_network(common.model, benchmark.input_shape, benchmark.outputs, seeds, device)
    method = Method(stack, [run.config for run in heads])
    moment = take_up(resumed, stack, method) if resumed else None
    if not resumed:
        with clock("evaluate"):
            untrained = evaluate(stack, benchmark, range(tasks), seen=0)
        for run in runs:
            run.recorder.scores(0, untrained, run.row)

    def is_enough() -> bool:
        return fail_fast and len(runs) < len(recorders)

    last = min(until or tasks, tasks)
    for task in range(first, last):
        number = task + 1
        if common.method.joint and moment is None:
            stack.initialise(task)

        trained_on = list(range(number)) if common.method.joint else [task]
        schedule, of_rows = Schedule(benchmark, task, trained_on, common.train), configs_of_rows(runs)
        optimizer = paced_optimizer(stack, [config.train for config in of_rows], task, schedule, moment)
        planned, stopping = by_row(stack, schedule.epochs), None
        if common.train.patience:
            smaller = less_is_better("average", benchmark.likelihood.score_name)
            stopping = Stopping(method, common.train.patience, planned, smaller=smaller)
        training = train_task(
            stack,
            method,
            benchmark,
            task,
            trained_on,
            common.train,
            schedule=schedule,
            optimizer=optimizer,
            dropout=make_dropout(stack, [config.model.dropout for config in of_rows], task),
            stopping=stopping,
            moment=moment,
            pause=lambda: pauses.due() or is_enough(),
        )
        moment = None
        for epoch in training:
            if isinstance(epoch, Moment):
                with clock("write"):
                    save(runs, task, stack, method, epoch)
                pauses.saved()
                if is_enough():
                    return recorders
                continue
            clock.seconds["train"] += epoch.seconds
            with clock("write"):
                runs = record_epoch(runs, number, epoch)
            if not runs:
                progress.epoch(number, tasks, epoch)
                return recorders
            points = common.train.curve_points
            tested = [run for run in runs if is_curve_point(epoch, run.row, planned[run.row], points)]
            with clock("evaluate"):
                scores = evaluate(stack, benchmark, range(number if tested else 0), seen=number)
            with clock("write"):
                for run in tested:
                    run.recorder.curve_point(number, epoch.number, scores, run.row)
            progress.epoch(number, tasks, epoch)

        with clock("evaluate"):
            scores = evaluate(stack, benchmark, range(tasks), seen=number)
        with clock("fisher"):
            wanted = [(run.row, run.config.fisher) for run in runs]
            layout, fisher, fisher_rows = fisher_diagonals(stack, benchmark, task, wanted)
            for run, row in zip(runs, fisher_rows, strict=True):
                run.fisher_row = row
        with clock("write"):
            ends = stopping.ends if stopping else planned
            for run in runs:
                run.recorder.curve_point(number, ends[run.row], scores.first(number), run.row)
                run.recorder.scores(number, scores, run.row)
            record_states(runs, number, stack, method.scale, layout, fisher)
        progress.task(number, tasks, scores)

        if number < tasks:
            with clock("train"):
                before = stack
                stack, method, rows = fanned_out(runs, number, stack, method, layout, fisher)
                if common.train.keep_optimizer and not common.method.joint:
                    used = outputs_in_use(benchmark, [task], number)
                    moment = kept_optimizer(optimizer, before, used, rows, stack.streams, number)
                benchmark = benchmark.of_streams(stack.streams)
            with clock("write"):
                save(runs, number, stack, method, moment)
            pauses.saved()
            if is_enough():
                return recorders

    if last < tasks:
        return recorders
    with clock("write"):
        for run in runs:
            run.recorder.score_matrix()
            results, rule = Run(run.recorder.directory), mask_of(run.config)
            if rule and rule.fraction > 0 and tasks > 1:
                outputs_of = common.benchmark.outputs_of
                run.recorder.mask_overlap(mask_overlaps(results.significance, results.layers, rule, outputs_of))
    facts = describe_environment(device, clock) | {"runs_in_stack": len(recorders)}
    for run in runs:
        run.recorder.finish(facts)
    return recorders
