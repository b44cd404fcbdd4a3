"""A method: parts that each keep old tasks in their own way, composed for the runs of a stack.

========================  =============================  ==================================================
part                      acts                           module
========================  =============================  ==================================================
quadratic penalty (EWC)   on the gradient                `cl_runner.methods.quadratic`
L1 proximal step          after the optimiser's step     `cl_runner.methods.l1`
gradient mask             last, on the whole update      `cl_runner.methods.mask`
of one's own              where it says                  `cl_runner.methods.part`
========================  =============================  ==================================================

A stack can hold runs of different methods: each part has settings by row, and a part that no row uses is left out. What
differs between methods shows late: before the first Fisher information there is no penalty and no mask. `history` tells
which runs are still the same, so that they are trained as one.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from cl_runner.config.schema import Config
from cl_runner.engine.network import Network
from cl_runner.methods.own import resolved
from cl_runner.methods.part import Part, Step, overrides
from cl_runner.methods.settings import parts_of


def history(config: Config, task: int) -> Hashable:
    """What a row depends on up to and including its training on `task` (from 0), in runs that differ in seed, method,
    dropout and rates alone: where two configs agree in it, so do the networks and all that parts keep of them.
    """
    found, significant = set[Hashable](), False
    for name, choice in parts_of(config).items():
        kind, settings = resolved(choice)
        past = kind.history(settings, task)
        if past is not None:
            found.add((name, kind, past))
            significant |= task > 0 and kind.uses_fisher(settings)
    decay = config.train.task_decay if task > 0 else None
    fisher = astuple(config.fisher) if significant else None
    return config.seed, config.model.dropout, config.train.rates(0), decay, frozenset(found), fisher


class Method:
    """The methods of a stack's runs.

    Args:
        stack: the networks.
        configs: one for each row.

    Attributes:
        stack: the networks.
        parts: by name, as they act.
        hooks: by the hook's name, those of the parts that do something in it.
    """

    def __init__(self, stack: Network, configs: Sequence[Config]) -> None:
        self.stack, self._configs = stack, configs
        chosen = [{name: resolved(choice) for name, choice in parts_of(config).items()} for config in configs]
        # Parts of one name may be of several classes, in different runs.
        kinds = dict.fromkeys((name, kind) for parts in chosen for name, (kind, _) in parts.items())
        made: dict[str, list[Part]] = {}
        for name, kind in kinds:
            settings = [parts[name][1] if name in parts and parts[name][0] is kind else None for parts in chosen]
            made.setdefault(name, []).append(kind(stack, settings))
        self.parts = sorted(
            ((name, part) for name, parts in made.items() for part in parts), key=lambda item: (item[1].order, item[0])
        )
        self.hooks = {
            hook: [getattr(part, hook) for _, part in self.parts if overrides(part, hook)]
            for hook in ("on_outputs", "on_gradient", "on_update")
        }

    def fan_out(self, stack: Network, configs: Sequence[Config], rows: Sequence[int]) -> "Method":
        """The methods of a stack whose runs, of these configs, go on from this one's `rows`."""
        method = Method(stack, configs)
        parents = {(name, type(part)): part for name, part in self.parts}
        for name, part in method.parts:
            if parent := parents.get((name, type(part))):
                part.state.inherit(parent.state, rows)
        return method

    def state_of(self, row: int) -> dict[str, Tensor]:
        """What the parts of a row have learned, as `PART.NAME`."""
        return {
            f"{name}.{tensor}": values
            for name, part in self.parts
            if part.settings[row] is not None
            for tensor, values in part.state.of_row(row).items()
        }

    def copied(self) -> "Method":
        """The same of a copy of the stack."""
        rows = range(len(self._configs))
        return self.fan_out(self.stack.fan_out(rows, self.stack.seeds), self._configs, rows)

    def views(self) -> list[Tensor]:
        """All that rows are, `(R, ...)` each: their parameters, and what the parts have learned."""
        parameters = self.stack.layout.stacked(self.stack.parameters).values()
        return [*parameters, *(view for _, part in self.parts for view in part.state.views())]

    def vectors_of(self, row: int) -> dict[str, Tensor]:
        """A row's "parameters" `(P,)` and what its parts have learned, as "parts.PART.NAME"."""
        parameters = self.stack.layout.vector(self.stack.parameters, row)
        return {"parameters": parameters} | {f"parts.{name}": values for name, values in self.state_of(row).items()}

    def take_up(self, vectors: Sequence[Mapping[str, Tensor]]) -> None:
        """Bring all rows to where `vectors_of` says; other names do not matter."""
        self.stack.parameters.copy_(self.stack.layout.gathered([own["parameters"] for own in vectors]))
        for row, own in enumerate(vectors):
            self.load(row, {name.removeprefix("parts."): own[name] for name in own if name.startswith("parts.")})

    def load(self, row: int, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_of` gave; what it lacks stays as new."""
        for name, part in self.parts:
            own = {key.removeprefix(f"{name}."): state[key] for key in state if key.startswith(f"{name}.")}
            if part.settings[row] is not None:
                part.state.load(row, own)

    def begin(self, task: int) -> None:
        """A task (from 0) begins."""
        for _, part in self.parts:
            part.begin(task)

    def prepare(self) -> None:
        """Steps follow."""
        for _, part in self.parts:
            part.prepare()

    @property
    def reads_outputs(self) -> bool:
        """Whether `on_outputs` does anything."""
        return bool(self.hooks["on_outputs"])

    def on_outputs(self, step: Step) -> None:
        """Of each step, before back-propagation."""
        for hook in self.hooks["on_outputs"]:
            hook(step)

    def on_gradient(self) -> None:
        """Of each step, before the optimiser's."""
        for hook in self.hooks["on_gradient"]:
            hook()

    def on_update(self) -> None:
        """Of each step, after the optimiser's."""
        for hook in self.hooks["on_update"]:
            hook()

    def end(self, task: int, fisher: Tensor, used: int) -> None:
        """Take in a task (from 0), with its Fisher diagonal `(R·P,)`, the tasks so far having had `used` outputs."""
        for _, part in self.parts:
            part.end(task, fisher, used)

    @property
    def scale(self) -> Tensor:
        """1 for a free parameter, 0 for a frozen one, between them under a soft mask, `(R·P,)`."""
        scale = torch.ones_like(self.stack.parameters)
        for _, part in self.parts:
            if part.scale is not None:
                scale = scale * part.scale
        return scale

    def terms(self) -> dict[str, Tensor]:
        """The terms of each row's loss as the parameters stand, `(R,)` each, by the part's name."""
        found = dict[str, Tensor]()
        for name, part in self.parts:
            value = part.value()
            if value is not None:
                used = torch.tensor([settings is not None for settings in part.settings], device=value.device)
                found[name] = found.get(name, 0) + torch.where(used, value, 0)
        return found
