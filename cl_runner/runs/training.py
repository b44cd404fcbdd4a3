"""Training a stack of networks on one task."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cl_runner.benchmarks.base import Benchmark
from cl_runner.benchmarks.batches import filled, stacked, total, widths
from cl_runner.config.schema import Config, TrainConfig
from cl_runner.engine.cuda_graph import CapturedStep
from cl_runner.engine.dropout import Dropout
from cl_runner.engine.network import Network
from cl_runner.engine.optimizers import Optimizer, make_optimizer
from cl_runner.engine.seeding import generator
from cl_runner.errors import DataError
from cl_runner.methods.acting import idle_settings
from cl_runner.methods.method import Method
from cl_runner.methods.part import Step
from cl_runner.runs.idle_outputs import IdleOutputs, clear_idle_outputs, outputs_in_use
from cl_runner.runs.outputs import outputs_on

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
    longer finite."""

    number: int
    count: int
    data_loss: Tensor
    terms: Mapping[str, Tensor]
    diverged: Tensor
    samples: int
    seconds: float


@dataclass(frozen=True)
class Moment:
    """Where the training of a task stands between two steps, but for the parameters: all that is needed to go on.

    `epoch` epochs are done, and `step` steps of the next. `generators` are the states of the streams' generators before
    that epoch, `losses` `(R, n)` those of its n samples so far. `optimizer` holds the buffers `(R·P,)` of the optimiser
    by name, and `count` its number of steps.
    """

    epoch: int
    step: int
    generators: Sequence[Tensor]
    losses: Tensor
    optimizer: Mapping[str, Tensor]
    count: int

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
    optimizer: Optimizer | None = None,
    dropout: Dropout | None = None,
    moment: Moment | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch | Moment]:
    """Train on the samples of `tasks`, in a fresh order each epoch; outputs that they do not use stay as they are.

    Args:
        stack, method, benchmark: the runs.
        task: number of the task, from 0, for the order of the samples, what is active, and the number of epochs.
        tasks: whose training sets are used: `[task]`, or all so far for joint training.
        config: how; common to all runs, but for what `optimizer` has by row.
        optimizer: a new one of the stack; None to make it here, of the same rates for all rows.
        dropout: of the task, if units are dropped.
        moment: to go on from, with the stack's parameters as they were; None to start.
        pause: asked after each step whether to say where training stands.

    Yields:
        After each epoch its loss, mean over samples; penalty and L1 term as they stand at its end. Where it is to
        pause, the moment.

    Raises:
        DataError: runs that need different numbers of steps an epoch.
    """
    pools = benchmark.train.samples(tasks)
    sources = [generator(seed, "batches", task) for seed in stack.streams]
    longest = max(len(pool) for pool in pools)
    size = config.batch_size or filled(longest)
    steps_an_epoch = math.ceil(len(pools[0]) / size)
    if any(math.ceil(len(pool) / size) != steps_an_epoch for pool in pools):
        raise DataError(
            "runs that need different numbers of steps an epoch cannot share a stack: hydra.launcher.size=1 gives each "
            "its own"
        )
    epochs = (config.first_epochs if task == 0 else None) or config.epochs or 0
    steps = config.iterations or epochs * steps_an_epoch
    epochs = math.ceil(steps / steps_an_epoch)
    sizes = widths(longest, size)
    optimizer = optimizer or make_optimizer(stack, [config] * stack.layout.rows, task)
    idle = IdleOutputs(stack, outputs_in_use(benchmark, tasks, task + 1))
    done = moment.epoch if moment else 0
    if moment:
        optimizer.restore(moment.optimizer, moment.count)
        for source, state in zip(sources, moment.generators, strict=True):
            source.set_state(state)
    if not moment or moment.at_start:
        method.begin(task)
    method.prepare()

    def step(ids: Tensor, labels: Tensor, weights: Tensor, *others: Tensor) -> None:
        *drawn, losses = others
        scales = dropout.scales(*drawn) if dropout else None
        forward, outputs = outputs_on(stack, benchmark.train, ids, tasks, task + 1, scales)
        loss, signal = benchmark.likelihood.loss_and_signal(outputs, stack.per_row(labels))
        if method.reads_outputs:
            method.on_outputs(Step(ids, outputs, loss, signal))
        losses.copy_(loss)
        stack.backward(forward, signal.mul_(stack.per_row(weights)[:, None]))
        method.on_gradient()
        optimizer.step()
        method.on_update()
        idle.put_back()

    take_step = CapturedStep(step) if stack.parameters.is_cuda else step
    for number in range(done + 1, epochs + 1):
        started = time.perf_counter()
        generators = [source.get_state() for source in sources]
        orders = [
            pool[torch.randperm(len(pool), generator=source)] for pool, source in zip(pools, sources, strict=True)
        ]
        epoch_ids, present = stacked(orders, sum(sizes), stack.parameters)
        epoch_labels = benchmark.train.labels_of(epoch_ids)
        # A sample weighs one over the size of its batch, which in a run's last batch is its own.
        epoch_weights = torch.cat([part / part.sum(1, keepdim=True) for part in present.split(sizes, 1)], 1)
        epoch_losses = present.new_zeros(stack.layout.rows, present.shape[1])
        columns = (part.split(sizes, 1) for part in (epoch_ids, epoch_labels, epoch_weights, epoch_losses))
        batches = list(itertools.islice(zip(*columns, strict=True), steps - (number - 1) * steps_an_epoch))
        at = 0
        if moment and number == done + 1:
            at = moment.step
            epoch_losses[:, : at * size] = moment.losses
        while at < len(batches):
            # Without automatic differentiation's bookkeeping a step is some percent faster.
            with torch.inference_mode():
                for batch in batches[at:]:
                    *given, losses = batch
                    if dropout:
                        given.append(dropout.drawn(number, at, losses.shape[1]))
                    take_step(*given, losses)
                    at += 1
                    if pause():
                        break
            if at < len(batches):
                losses = epoch_losses[:, : at * size]
                yield Moment(number - 1, at, generators, losses, optimizer.buffers, optimizer.count)
        trained = stack.per_row(present[:, : len(batches) * size]).sum(1)
        data_loss = (total(epoch_losses, stack.per_row(present)) / trained).cpu()
        terms = {name: term.cpu() for name, term in method.terms().items()}
        # A parameter that is not finite shows in their sum, whatever the loss of the last batch was.
        diverged = ~torch.isfinite(sum(terms.values(), data_loss) + stack.layout.totals(stack.parameters).cpu())
        seconds = time.perf_counter() - started
        yield Epoch(number, epochs, data_loss, terms, diverged, int(trained.sum()), seconds)
        if number < epochs and pause():
            generators = [source.get_state() for source in sources]
            yield Moment(number, 0, generators, epoch_losses[:, :0], optimizer.buffers, optimizer.count)


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
    return Moment(0, 0, generators, stack.parameters.new_zeros(len(rows), 0), buffers, optimizer.count)


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
