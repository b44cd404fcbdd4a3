"""What a part of a method promises, put to the test: see `cl_runner.testing.check_part`.

Small networks are trained on three tasks of digits, by the part in each of several settings, with other parts and
without any. What may not make a difference is changed: who else is in the stack, which runs share a row, and where
training was stopped. Everything is compared to the bit, after each task or each step: parameters, and what the part has
learned.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cl_runner.config.schema import Config
from cl_runner.engine.network import Network
from cl_runner.errors import ContractError
from cl_runner.methods.method import Method
from cl_runner.methods.own import checked_part
from cl_runner.methods.part import Part
from cl_runner.runs.resume import states_of, take_up
from cl_runner.runs.training import Moment
from cl_runner.runs.trial import Point, Snapshot, snapshot, train, trial_config

_NAME = "part"
# What of a step makes the processor wait for the device.
_SEARCHES = ["nonzero", "masked_select", "equal", "allclose", "unique"]
_WAITS: set[Any] = {
    *(getattr(Tensor, name) for name in ["item", "tolist", "numpy", "cpu", *_SEARCHES]),
    *(getattr(Tensor, f"__{name}__") for name in ["bool", "float", "int", "index"]),
    *(getattr(torch, name) for name in ["is_nonzero", *_SEARCHES]),
}
_INDEXING = (Tensor.__getitem__, Tensor.__setitem__)
_BENCHMARKS: list[dict[str, Any]] = [
    {"name": "permuted", "family": "permuted", "classes_per_task": 10, "scenario": "domain"},
    {"name": "split", "family": "split", "classes_per_task": 2, "scenario": "class"},
]
_FINETUNE = {"name": "contract", "penalty": "none", "ewc_lambda": 0.0, "mask": "none", "l1_lambda": 0.0}
_OTHERS = {"penalty": "ewc", "ewc_lambda": 30.0, "mask": "layerwise", "l1_lambda": 0.01}


def configs_of(kind: type[Part], settings: Sequence[Mapping[str, Any]], benchmark: Mapping[str, Any]) -> list[Config]:
    """The runs of a trial: without the part, with it in each setting, alone and among other parts."""
    target = f"{kind.__module__}.{kind.__qualname__}"
    parts = [{_NAME: {"_target_": target, **given}} for given in settings]
    estimators = ("exact", "empirical")
    made = [trial_config(benchmark, _FINETUNE), trial_config(benchmark, _FINETUNE | _OTHERS)]
    for part in parts:
        made += [trial_config(benchmark, {**_FINETUNE, "parts": part}, estimator) for estimator in estimators]
        made.append(trial_config(benchmark, {**_FINETUNE, **_OTHERS, "parts": part}))
    made.append(trial_config(benchmark, {**_FINETUNE, "parts": parts[0]}, seed=1))
    return made


def check(kind: type[Part], settings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Put a part to the test in these settings; gives in words what it has stood.

    Raises:
        ContractError: what it does not keep, and where that shows.
    """
    given = [checked_part(_NAME, {"_target_": f"{kind.__module__}.{kind.__qualname__}", **item}) for item in settings]
    given = [{name: value for name, value in item.items() if name != "_target_"} for item in given]
    for benchmark in _BENCHMARKS:
        configs = configs_of(kind, given, benchmark)
        own = [config for config in configs if config.method.parts]
        for config in own:
            _check_steps(config)
        yield f"{benchmark['name']}: no tensor of a step moves, and no step waits"
        for config in own:
            _check_stops(config)
        yield f"{benchmark['name']}: stopped after each step and taken up as undisturbed"
        alone = [train([config], remade=False)[0] for config in configs]
        apart = train(configs, past=lambda config, _: id(config))
        _compare(alone, apart, configs, "beside others in a stack", _BESIDE)
        yield f"{benchmark['name']}: alone as beside others in a stack"
        _compare(alone, train(configs), configs, "in a row shared with others", _SHARED)
        yield f"{benchmark['name']}: a row shared as one's own"


_BESIDE = "a row must depend on its own parameters, gradient and settings alone"
_SHARED = "`history` must name all that parameters and state depend on"
_STOPPED = (
    "what a part has learned must be in tensors made by `state.buffer` or `state.rows`, changed in place, and it must "
    "draw no random numbers"
)


def _compare(
    expected: Sequence[Sequence[Snapshot]],
    found: Sequence[Sequence[Snapshot]],
    configs: Sequence[Config],
    where: str,
    rule: str,
) -> None:
    for config, mine, theirs in zip(configs, expected, found, strict=True):
        for task, (one, other) in enumerate(zip(mine, theirs, strict=True), 1):
            if difference := one.difference(other):
                raise ContractError(f"{_words(config)}: after task {task} differs {where}: {difference}; {rule}")


def _check_stops(config: Config) -> None:
    """Compare a run that is stopped after each step, and goes on from its state, with itself undisturbed."""
    places: list[tuple[int, int, int]] = []
    undisturbed: list[Snapshot] = []

    def note(task: int, stack: Network, method: Method, moment: Moment | None) -> Point:
        places.append((task + 1, moment.epoch + 1 if moment else 1, moment.step if moment else 0))
        undisturbed.append(snapshot(stack, method, 0, config))
        return stack, method, moment

    train([config], taken=note, remade=False)
    number = 0

    def go_on(
        task: int, stack: Network, method: Method, moment: Moment | None
    ) -> tuple[Network, Method, Moment | None]:
        nonlocal number
        if difference := undisturbed[number].difference(snapshot(stack, method, 0, config)):
            task_, epoch, step = places[number]
            raise ContractError(
                f"{_words(config)}: stopped and taken up differs in task {task_}, epoch {epoch}, step {step}: "
                f"{difference}; {_STOPPED}"
            )
        number += 1
        state = states_of(stack, method, task, moment)(0, {}, {})
        new = stack.fan_out([0], stack.seeds)
        new.parameters.zero_()
        methods = Method(new, [config])
        return new, methods, take_up([state], new, methods)

    train([config], taken=go_on)


def _check_steps(config: Config) -> None:
    """Hold the tensors of a step in their places, and steps to not waiting for the device."""
    places: dict[str, int] = {}

    def watch(method: Method) -> None:
        places.clear()
        for name, hooks in method.hooks.items():
            hooks[:] = [_watched(hook, name, places, config) for hook in hooks]

    train([config], watch=watch)


def _watched(hook: Callable[..., None], name: str, places: dict[str, int], config: Config) -> Callable[..., None]:
    part = cast(Any, hook).__self__

    def call(*arguments: Any) -> None:
        seen = {key: value.data_ptr() for key, value in _tensors(part).items()}
        if moved := [key for key, place in seen.items() if places.setdefault(f"{id(part)}.{key}", place) != place]:
            raise ContractError(
                f"{_words(config)}: {moved[0]} moves in memory between steps, before {name}; change it in place"
            )
        with _Waits() as waits:
            hook(*arguments)
        if waits.found:
            raise ContractError(
                f"{_words(config)}: {name} waits for the device ({waits.found[0]}); work on tensors throughout"
            )

    return call


def _tensors(part: Part) -> dict[str, Tensor]:
    return {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}


class _Waits(TorchFunctionMode):
    """Notes calls that need a tensor's values, which on a GPU wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in _INDEXING and _has_mask(args[1])
        if func in _WAITS or by_mask:
            self.found.append("an index of true and false" if by_mask else func.__name__.strip("_"))
        return func(*args, **(kwargs or {}))


def _has_mask(index: Any) -> bool:
    return any(
        isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)
        for part in (index if isinstance(index, tuple) else (index,))
    )


def _words(config: Config) -> str:
    given = config.method.parts.get(_NAME)
    own = (
        "without the part"
        if given is None
        else ", ".join(f"{name}={value}" for name, value in given.items() if name != "_target_")
    )
    others = " with EWC, L1 and a mask" if config.method.mask != "none" else ""
    return f"{own}{others}, {config.benchmark.name}, fisher.estimator={config.fisher.estimator}, seed={config.seed}"
