"""Training a stack of networks on one task."""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import Batch, total
from cl_runner.config.schema import Config, TrainConfig
from cl_runner.engine.apart import apart, of_samples
from cl_runner.engine.cuda_graph import CapturedStep
from cl_runner.engine.dropout import Dropout
from cl_runner.engine.network import Network, Passes
from cl_runner.engine.optimizers import Optimizer, make_optimizer
from cl_runner.engine.seeding import generator
from cl_runner.methods.acting import idle_settings
from cl_runner.methods.method import Method
from cl_runner.methods.part import Step
from cl_runner.runs.evaluation import validation_scores
from cl_runner.runs.idle_outputs import IdleOutputs, clear_idle_outputs, outputs_in_use
from cl_runner.runs.outputs import outputs_on
from cl_runner.runs.schedule import Schedule
from cl_runner.runs.stopping import Standing, Stopping
from cl_runner.runs.waiting import Waiting

# What is above is likely to blame for a loss that diverged.
_USUAL = {
    "train.learning_rate": 1,
    "train.weight_decay": 1,
    "train.momentum": 0.99,
    "method.ewc_lambda": 1e4,
    "method.l1_lambda": 10,
}


@dataclass(frozen=True)
class Epoch:
    """What an epoch cost: the loss and the parts' `terms` of it are `(R,)`, in nats; `diverged` tells which runs are no
    longer finite. A row whose `counts`, its epochs as far as is known, are less than `number` was not trained in it.
    """

    number: int
    counts: Sequence[int]
    data_loss: Tensor
    terms: Mapping[str, Tensor]
    diverged: Tensor
    samples: int
    seconds: float

    @property
    def count(self) -> int:
        """How many epochs the task takes."""
        return max(self.counts)


@dataclass(frozen=True)
class Moment:
    """Where the training of a task stands between two steps, but for the parameters: all that is needed to go on.

    `epoch` epochs are done, and `step` steps of the next. `generators` are the states of the streams' generators before
    that epoch, `losses` `(R, n)` those of its n samples so far. `optimizer` holds the buffers `(R·P,)` of the optimiser
    by name, and `counts` each row's number of steps. `standings` are what early stopping goes by, if there is any.
    """

    epoch: int
    step: int
    generators: Sequence[Tensor]
    losses: Tensor
    optimizer: Mapping[str, Tensor]
    counts: Sequence[int]
    standings: Sequence[Standing] = ()

    @property
    def at_start(self) -> bool:
        """Whether no step is taken yet."""
        return self.epoch == self.step == 0


def train_task(
    stack: Network,
    method: Method,
    benchmark: Benchmark,
    task: int,
    tasks: Sequence[int],
    config: TrainConfig,
    *,
    schedule: Schedule | None = None,
    optimizer: Optimizer | None = None,
    dropout: Dropout | None = None,
    stopping: Stopping | None = None,
    moment: Moment | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch | Moment]:
    """Train on the samples of `tasks`, in a fresh order each epoch; outputs that they do not use stay as they are.

    Args:
        stack, method, benchmark: the runs.
        task: number of the task, from 0, for the order of the samples, what is active, and the number of epochs.
        tasks: whose training sets are used: `[task]`, or all so far for joint training.
        config: how; common to all runs, but for what `optimizer` has by row.
        schedule: of the task; None to make it here.
        optimizer: a new one of the stack by `paced_optimizer`; None to make it here, of the same rates for all rows.
        dropout: of the task, if units are dropped.
        stopping: of the task, if epochs end early; at the end each row is as after its best epoch.
        moment: to go on from, with the stack's parameters as they were; None to start.
        pause: asked after each step whether to say where training stands.

    Yields:
        After each epoch its loss, mean over samples; penalty and L1 term as they stand at its end. Where it is to
        pause, the moment.
    """
    schedule = schedule or Schedule(benchmark, task, tasks, config)
    optimizer = optimizer or paced_optimizer(stack, [config] * stack.layout.rows, task, schedule, moment)
    sources = [generator(seed, "batches", task) for seed in stack.streams]
    planned = by_row(stack, schedule.epochs)
    idle = IdleOutputs(stack, outputs_in_use(benchmark, tasks, task + 1))
    done = moment.epoch if moment else 0
    if moment:
        optimizer.restore(moment.optimizer, moment.counts)
        if stopping and moment.standings:
            stopping.restore(moment.standings)
        for source, state in zip(sources, moment.generators, strict=True):
            source.set_state(state)
    if not moment or moment.at_start:
        method.begin(task)
    method.prepare()

    def step(
        networks: Passes, waiting: Container[int], ids: Tensor, labels: Tensor, weights: Tensor, *others: Tensor
    ) -> None:
        *drawn, losses = others
        scales = dropout.scales(*drawn) if dropout else None
        forward, outputs = outputs_on(networks, benchmark.train, ids, tasks, task + 1, scales)
        loss, signal = of_samples(networks, benchmark.likelihood.loss_and_signal, outputs, stack.per_row(labels))
        if method.reads_outputs:
            method.on_outputs(Step(ids, outputs, loss, signal))
        losses.copy_(loss[:, : losses.shape[1]])
        networks.backward(forward, signal.mul_(stack.per_row(weights)[:, None]))
        method.on_gradient()
        optimizer.step(waiting)
        method.on_update()
        idle.put_back()

    alike: Callable[..., None] = partial(step, stack, ())
    if stack.parameters.is_cuda:
        alike = CapturedStep(alike)

    def take(batch: Batch, *tensors: Tensor) -> None:
        if batch.alike:
            alike(*tensors)
            return
        at_rest = Waiting(method, [row for row, width in enumerate(by_row(stack, batch.widths)) if not width])
        step(apart(stack, batch.widths), at_rest.rows, *tensors)
        at_rest.put_back()

    number = done
    while number < max(stopping.ends if stopping else planned):
        number += 1
        started = time.perf_counter()
        generators = [source.get_state() for source in sources]
        order = schedule.drawn(number, sources, stack.parameters)
        labels, losses = benchmark.train.labels_of(order.ids), order.present.new_zeros(len(planned), order.ids.shape[1])
        at = 0
        if moment and number == done + 1:
            at, known = moment.step, moment.losses[:, : losses.shape[1]]
            losses[:, : known.shape[1]] = known
        while at < len(order.batches):
            # Without automatic differentiation's bookkeeping a step is some percent faster.
            with torch.inference_mode():
                for batch in order.batches[at:]:
                    columns, weights = batch.columns, batch.weights(order.present)
                    drawn = [dropout.drawn(number, at, weights.shape[1])] if dropout else []
                    take(batch, order.ids[:, columns], labels[:, columns], weights, *drawn, losses[:, batch.samples])
                    at += 1
                    if pause():
                        break
            if at < len(order.batches):
                known = losses[:, : batch.samples.stop]
                standings = stopping.standings() if stopping else ()
                yield Moment(number - 1, at, generators, known, optimizer.buffers, optimizer.counts, standings)
        trained = stack.per_row(order.present).sum(1)
        data_loss = (total(losses, stack.per_row(order.present)) / trained.clamp(min=1)).cpu()
        terms = {name: term.cpu() for name, term in method.terms().items()}
        # A parameter that is not finite shows in their sum, whatever the loss of the last batch was.
        diverged = ~torch.isfinite(sum(terms.values(), data_loss) + stack.layout.totals(stack.parameters).cpu())
        seconds = time.perf_counter() - started
        if stopping:
            stopping.after(number, validation_scores(stack, benchmark, tasks, task + 1))
        counts = tuple(stopping.ends if stopping else planned)
        yield Epoch(number, counts, data_loss, terms, diverged, int(trained.sum()), seconds)
        if number < max(counts) and pause():
            generators = [source.get_state() for source in sources]
            standings = stopping.standings() if stopping else ()
            yield Moment(number, 0, generators, losses[:, :0], optimizer.buffers, optimizer.counts, standings)
    if stopping:
        stopping.put_back()


def by_row(stack: Network, values: Sequence[int]) -> list[int]:
    """For every row the entry of its stream."""
    of_seed = dict(zip(stack.streams, values, strict=True))
    return [of_seed[seed] for seed in stack.seeds]


def paced_optimizer(
    stack: Network, configs: Sequence[TrainConfig], task: int, schedule: Schedule, moment: Moment | None
) -> Optimizer:
    """A new optimiser of a stack that is trained by a schedule, from a moment on.

    Args:
        stack: the networks.
        configs: one for each row.
        task: that is trained, from 0.
        schedule: of the task.
        moment: that it is to go on from, which it is not told here.
    """
    counts = moment.counts if moment else [0] * len(configs)
    return make_optimizer(stack, configs, task, list(zip(by_row(stack, schedule.steps), counts, strict=True)))


def kept_optimizer(
    optimizer: Optimizer, stack: Network, used: slice, rows: Sequence[int], streams: Sequence[int], task: int
) -> Moment:
    """The start of `task` (from 0) with what the optimiser of the task before remembers. Its step count is that of the
    whole network, also for an output that is new.

    Args:
        optimizer, stack: of the task before.
        used: the outputs that it used. The others have had no gradient, and nothing is remembered of them.
        rows: of the stack, from which the networks go on.
        streams: the seeds of their streams.
    """
    buffers = {name: stack.layout.select(buffer, rows) for name, buffer in optimizer.buffers.items()}
    for buffer in buffers.values():
        clear_idle_outputs(replace(stack.layout, rows=len(rows)), buffer, used)
    generators = [generator(seed, "batches", task).get_state() for seed in streams]
    counts = optimizer.counts
    return Moment(0, 0, generators, stack.parameters.new_zeros(len(rows), 0), buffers, [counts[row] for row in rows])


def divergence(task: int, epoch: Epoch, row: int, config: Config) -> str:
    """Why the run in `row` failed in `epoch` of `task` (from 1), and what may mend it."""
    train, method, idle = config.train, config.method, idle_settings(config)
    values = {
        "train.learning_rate": train.learning_rate,
        "train.weight_decay": train.weight_decay,
        "train.momentum": train.momentum,
        "method.ewc_lambda": method.ewc_lambda,
        "method.l1_lambda": method.l1_lambda,
    }
    likely = [key for key, value in values.items() if value > _USUAL[key] and key not in idle]
    if not likely:
        penalty = epoch.terms.get("penalty", torch.zeros_like(epoch.data_loss))
        likely = ["train.learning_rate", *["method.ewc_lambda"] * bool(penalty[row] != 0)]
    smaller = " or ".join(f"{key} (now {values[key]:g})" for key in likely)
    return f"the loss became infinite or not a number in task {task}, epoch {epoch.number}: try a smaller {smaller}"
