"""A part: one way of keeping old tasks, for all networks of a stack at once.

A method is composed of parts (`cl_runner.methods.method`). What a part does, it does to rows: row r of a stack is a
network, which one run has or, as long as their settings make no difference, several. A part owns tensors; that they are
copied when rows part, saved, and restored is the runner's doing, as they are made by `State`. In the order of a run:

==================  ==================================================================================================
`setup`             once a stack is made, before anything else
`begin`             a task is trained from here on
`prepare`           before the first step, also where a stopped run is taken up: what follows from the state is made
`on_outputs`        of each step: the networks' outputs, losses and signals, before back-propagation
`on_gradient`       the gradient of the loss is there, the optimiser has not used it
`on_update`         the optimiser has changed the parameters
`end`               the task is trained; its Fisher diagonal is known
==================  ==================================================================================================

Steps may be recorded as a CUDA graph. So what they use must stay where it is in memory: change tensors in place, never
put another one in their place, and never wait for the host (`if tensor.any()`, `.item()`).

`cl-run check` holds a part to all of this (`cl_runner.testing.check_part`).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from cl_runner.engine.network import Layout, Network

# Who acts on an update: first what pulls, then what shrinks, last what puts back.
PENALTY, PROXIMAL, MASK = 0, 1, 2


class Step(NamedTuple):
    """A step of training, between forward and backward pass; the last two may be changed in place.

    Attributes:
        ids: of the samples, by stream, `(S, B)`.
        outputs: of the networks, `(R, C, B)`, with −inf where a class does not compete; without the units that this
            step drops (`model.dropout`), and so is what follows from them.
        losses: of each sample, `(R, B)`, in nats.
        signal: derivative of each sample's loss by the outputs, `(R, C, B)`.
    """

    ids: Tensor
    outputs: Tensor
    losses: Tensor
    signal: Tensor


class State:
    """What a part has learned: tensors by name, each with a share for each row.

    Args:
        layout: of the stack's buffers.
        like: a tensor of their device and dtype.
    """

    def __init__(self, layout: Layout, like: Tensor) -> None:
        self._layout, self._like = layout, like
        self._buffers: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor] = {}

    def buffer(self, name: str, value: float = 0.0) -> Tensor:
        """A new tensor with a number for each parameter, `(R·P,)`, as the stack's own."""
        self._buffers[name] = torch.full_like(self._like, value)
        return self._buffers[name]

    def rows(self, name: str, *shape: int, value: float = 0.0) -> Tensor:
        """A new tensor of that shape for each row, `(R, *shape)`."""
        self._rows[name] = self._like.new_full((self._layout.rows, *shape), value)
        return self._rows[name]

    def tensors(self) -> dict[str, Tensor]:
        """All of them."""
        return self._buffers | self._rows

    def views(self) -> list[Tensor]:
        """All of them by row, `(R, ...)`: a buffer in several pieces, without what fills it up."""
        return [view for name in self.tensors() for view in self._views(name)]

    def inherit(self, parent: "State", rows: Sequence[int]) -> None:
        """Take over what `parent` has for its `rows`, which may repeat; what it does not have stays as new."""
        index = torch.tensor(rows, device=self._like.device)
        for name, old in parent.tensors().items():
            if name in self.tensors():
                for target, source in zip(self._views(name), parent._views(name, old), strict=True):
                    torch.index_select(source, 0, index, out=target)

    def of_row(self, row: int) -> dict[str, Tensor]:
        """A row's share: `(P,)` of a buffer, as `Layout.vector` orders it."""
        vectors = {name: self._layout.vector(buffer, row) for name, buffer in self._buffers.items()}
        return vectors | {name: tensor[row].clone() for name, tensor in self._rows.items()}

    def load(self, row: int, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `of_row` gave; what it lacks stays as new."""
        for name in tensors.keys() & self.tensors().keys():
            views = [view[row] for view in self._views(name)]
            for view, values in zip(
                views, tensors[name].flatten().split([view.numel() for view in views]), strict=True
            ):
                view.copy_(values.view_as(view))

    def _views(self, name: str, buffer: Tensor | None = None) -> list[Tensor]:
        """A tensor by rows, `(R, ...)`; a buffer in several pieces, without what fills it up."""
        if name in self._rows:
            return [self._rows[name]]
        found = self._buffers[name] if buffer is None else buffer
        return [tensor for layer in self._layout.layers(found) for tensor in layer]


class Part:
    """One way of keeping old tasks. Override what you need; a part that overrides nothing does nothing.

    Attributes:
        Settings: dataclass of its settings; a field may have `metadata={"allowed": Range(0, 1)}`, or `Choice`, of
            `cl_runner.config.schema`.
        order: when it acts in a step among the parts of a method; those of equal order by their names.
        stack: the networks.
        settings: of each row, `Settings`, or None where the row does not have this part: there it must do nothing.
        state: makes the tensors that it keeps.
        scale: if it has such a thing, the share of its update that each parameter gets, from 0 (frozen) to 1 (free),
            `(R·P,)`: recorded as the mask.
    """

    Settings: ClassVar[type]
    order: ClassVar[int] = PENALTY
    scale: Tensor | None = None

    def __init__(self, stack: Network, settings: Sequence[Any]) -> None:
        self.stack, self.settings = stack, tuple(settings)
        self.state = State(stack.layout, stack.parameters)
        self.setup()

    @classmethod
    def history(cls, settings: Any, task: int) -> Hashable:
        """What a row depends on by this part, both its network and `state`, once `task` (from 0) is trained and before
        `end` is called: runs that agree in it, and in all else, are one row until then. None: on nothing, as if the row
        did not have it.

        As it stands here, on every setting and from the first step on, it is never wrong. It may say less, so that a
        sweep trains in common what is common.
        """
        del task
        # Lists among them could not be held against each other as they are.
        return repr(settings)

    @classmethod
    def uses_fisher(cls, settings: Any) -> bool:
        """Whether `end` uses the Fisher diagonal; if not, how that is estimated makes no difference."""
        del settings
        return True

    def setup(self) -> None:
        """Make the state, and what follows from the settings."""

    def begin(self, task: int) -> None:
        """A task (from 0) begins."""

    def prepare(self) -> None:
        """Make what follows from the state: after `begin`, or when that was called before a stop."""

    def on_outputs(self, step: Step) -> None:
        """Change losses and signal in place."""

    def on_gradient(self) -> None:
        """Read or change the gradient, `stack.gradient`, in place, at `stack.parameters`."""

    def on_update(self) -> None:
        """Read or change the parameters, `stack.parameters`, in place."""

    def end(self, task: int, fisher: Tensor, used: int) -> None:
        """Take in a task that was trained, all but the last.

        Args:
            task: from 0.
            fisher: the Fisher diagonal after it, `(R·P,)`.
            used: how many outputs, the first ones, the tasks so far have had.
        """

    def value(self) -> Tensor | None:
        """Its term of each row's loss at `stack.parameters`, `(R,)`, in nats: a column of `training.csv`."""
        return None

    @classmethod
    def describe(cls, settings: Any) -> str:
        """Its settings in a few words, for titles."""
        return ", ".join(f"{name}={value}" for name, value in vars(settings).items())

    def by_row(self, name: str, default: float = 0.0) -> Tensor:
        """A setting of each row, `(R,)`; `default` where a row does not have this part."""
        values = [default if settings is None else float(getattr(settings, name)) for settings in self.settings]
        return self.stack.parameters.new_tensor(values)

    def by_parameter(self, name: str, default: float = 0.0) -> Tensor:
        """`by_row` for each parameter, `(R·P,)`."""
        return self.stack.layout.spread(self.by_row(name, default))


def overrides(part: Part | type[Part], hook: str) -> bool:
    """Whether a part does anything in this hook."""
    kind = part if isinstance(part, type) else type(part)
    return getattr(kind, hook) is not getattr(Part, hook)
