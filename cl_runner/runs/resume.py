"""From a stack to the resumable states of its runs, and back."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from cl_runner.engine.network import Network
from cl_runner.methods.method import Method
from cl_runner.runs.state import Matrix, RunState
from cl_runner.runs.stopping import Standing
from cl_runner.runs.training import Moment


def states_of(
    stack: Network, method: Method, task: int, moment: Moment | None
) -> Callable[[int, Mapping[str, int], Mapping[str, Matrix]], RunState]:
    """The states of a stack's runs, by row, lengths of a run's tables, and its scores so far.

    Args:
        stack, method: the runs.
        task: that is trained, from 0.
        moment: where its training stands; None before it.
    """
    buffers = {"parameters": stack.parameters}
    if moment:
        buffers |= {f"optimizer.{name}": buffer for name, buffer in moment.optimizer.items()}
    buffers = {name: buffer.cpu() for name, buffer in buffers.items()}
    losses = moment.losses.cpu() if moment else torch.zeros(stack.layout.rows, 0)
    standings = moment.standings if moment else ()

    @cache
    def vectors_of(row: int) -> dict[str, Tensor]:
        own = {f"parts.{name}": values.cpu() for name, values in method.state_of(row).items()}
        if standings:
            own |= {f"best.{name}": values.cpu() for name, values in standings[row].best.items()}
        return own | {name: stack.layout.vector(buffer, row) for name, buffer in buffers.items()}

    def state_of(row: int, tables: Mapping[str, int], matrices: Mapping[str, Matrix]) -> RunState:
        stream = stack.streams.index(stack.seeds[row])
        return RunState(
            task=task,
            epoch=moment.epoch if moment else 0,
            step=moment.step if moment else 0,
            count=moment.counts[row] if moment else 0,
            tables=dict(tables),
            matrices=matrices,
            vectors=vectors_of(row),
            generator=moment.generators[stream] if moment else None,
            losses=losses[row],
            standing=standings[row][:3] if standings else None,
        )

    return state_of


def take_up(states: Sequence[RunState], stack: Network, method: Method) -> Moment | None:
    """Bring a stack and its method to where its rows' states say; gives where the training of the task stands."""
    method.take_up([state.vectors for state in states])
    of_seed = dict(zip(stack.seeds, states, strict=True))
    generators = [of_seed[seed].generator for seed in stack.streams]
    known = [generator for generator in generators if generator is not None]
    if not known:
        return None
    remembered = dict.fromkeys(name for state in states for name in state.vectors if name.startswith("optimizer."))
    # A run without momentum remembers nothing, if it was not in a stack with others.
    nothing = torch.zeros(stack.layout.per_row)
    optimizer = {
        name.removeprefix("optimizer."): stack.layout.gathered(
            [state.vectors.get(name, nothing) for state in states]
        ).to(stack.parameters)
        for name in remembered
    }
    losses = torch.stack([state.losses for state in states]).to(stack.parameters)
    counts = [state.count for state in states]
    standings = [Standing(*state.standing, _without("best.", state.vectors)) for state in states if state.standing]
    return Moment(states[0].epoch, states[0].step, known, losses, optimizer, counts, standings)


def _without(prefix: str, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those with a prefix, without it."""
    return {name.removeprefix(prefix): values for name, values in vectors.items() if name.startswith(prefix)}
