"""The runs of a stack: whose network each row is, and what each run records of it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from cl_runner.config.schema import Config
from cl_runner.engine.network import Layout, Network
from cl_runner.methods.method import Method, history
from cl_runner.results.files import sync
from cl_runner.runs.recorder import Recorder
from cl_runner.runs.resume import states_of
from cl_runner.runs.state import RunState, save_states
from cl_runner.runs.task_state import task_state
from cl_runner.runs.training import Epoch, Moment, divergence


@dataclass
class RunInStack:
    """One run, where it goes on from, the row of the stack that is its network, and that of its Fisher diagonal."""

    config: Config
    recorder: Recorder
    state: RunState | None
    row: int = 0
    fisher_row: int = 0


def share_rows(
    runs: Sequence[RunInStack], task: int, past: Callable[[Config, int], Hashable] = history
) -> list[RunInStack]:
    """Give runs with the same past up to `task` the same row; returns the first run of each row."""
    heads: dict[Hashable, RunInStack] = {}
    rows: dict[Hashable, int] = {}
    for run in runs:
        key = past(run.config, task)
        heads.setdefault(key, run)
        run.row = rows.setdefault(key, len(rows))
    return list(heads.values())


def configs_of_rows(runs: Sequence[RunInStack]) -> list[Config]:
    """Of each row those of a run that has it."""
    of_row = {run.row: run.config for run in runs}
    return [of_row[row] for row in sorted(of_row)]


def fanned_out(
    runs: Sequence[RunInStack],
    task: int,
    stack: Network,
    method: Method,
    layout: Layout,
    fisher: Tensor,
    past: Callable[[Config, int], Hashable] = history,
) -> tuple[Network, Method, list[int]]:
    """The stack and the method for `task`: a row for each history, having taken in the task before it;
    and the rows before from which these go on.

    Args:
        runs: those that go on.
        task: from 0.
        stack, method: of the task before.
        past: what says which runs share a row.
        layout, fisher: Fisher diagonals after it, in which `fisher_row` of each run is its own.
    """
    parents = {id(run): run.row for run in runs}
    heads = share_rows(runs, task, past)
    rows, configs = [parents[id(run)] for run in heads], [run.config for run in heads]
    stack = stack.fan_out(rows, [config.seed for config in configs])
    method = method.fan_out(stack, configs, rows)
    used = configs[0].benchmark.outputs_of(task)
    method.end(task - 1, layout.select(fisher, [run.fisher_row for run in heads]), used)
    return stack, method, rows


def save(runs: Sequence[RunInStack], task: int, stack: Network, method: Method, moment: Moment | None) -> None:
    """Save the state of every run, once made for each row; what it relies on is on the disk before."""
    made = states_of(stack, method, task, moment)
    tables = [run.recorder.tables() for run in runs]
    sync(path for run in runs for path in run.recorder.written())
    save_states(
        (run.recorder.directory, made(run.row, lengths, run.recorder.matrices), run.config)
        for run, lengths in zip(runs, tables, strict=True)
    )


def record_epoch(runs: Sequence[RunInStack], task: int, epoch: Epoch) -> list[RunInStack]:
    """Write what an epoch of `task` cost those that were trained in it; gives the runs without those whose loss
    diverged, which have failed.
    """
    for run in runs:
        if epoch.number > epoch.counts[run.row]:
            continue
        if epoch.diverged[run.row]:
            run.recorder.fail(divergence(task, epoch, run.row, run.config))
        else:
            run.recorder.epoch(task, epoch, run.row)
    return [run for run in runs if not run.recorder.failure]


def is_curve_point(epoch: Epoch, row: int, planned: int, points: int) -> bool:
    """Whether to test the tasks so far after an epoch of a row, at up to `points` of a task's `planned` epochs; not
    after its last, where all tasks are tested.
    """
    number = epoch.number
    return number < epoch.counts[row] and number * points // planned > (number - 1) * points // planned


def record_states(
    runs: Sequence[RunInStack], task: int, stack: Network, scale: Tensor, layout: Layout, fisher: Tensor
) -> None:
    """Write the state of each network once it is made into the directories of all runs that share it."""
    parameters, scale, fisher = stack.parameters.cpu(), scale.cpu(), fisher.cpu()
    layers = [[name for name, _ in layer] for layer in layout.tensors]

    # The file of a soft mask holds numbers of another type, in the first task too, when rows are shared.
    def kind(run: RunInStack) -> tuple[int, int, bool]:
        return run.row, run.fisher_row, run.config.method.soft or bool(run.config.method.parts)

    for (row, fisher_row, soft), sharing in groupby(sorted(runs, key=kind), key=kind):
        state = task_state(
            task,
            stack.layout.named(parameters, row),
            layout.named(fisher, fisher_row),
            stack.layout.named(scale, row),
            layers,
            used=runs[0].config.benchmark.outputs_of(task),
            soft=soft,
            named=runs[0].config.model.kind == "module",
        )
        for run in sharing:
            run.recorder.task(state)
