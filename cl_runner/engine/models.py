"""The networks that settings ask for."""

import inspect
import json
import math
from collections.abc import Sequence
from functools import lru_cache, partial

import torch

from cl_runner.config.imports import imported
from cl_runner.config.schema import ModelConfig
from cl_runner.engine.mlp import MLPStack
from cl_runner.engine.module import Blueprint, ModuleStack
from cl_runner.engine.network import Network
from cl_runner.engine.probe import UnfitError, blueprint_of
from cl_runner.errors import ConfigError


def make_network(
    model: ModelConfig, input_shape: Sequence[int], outputs: int, seeds: Sequence[int], device: torch.device | str
) -> Network:
    """A stack of new networks for samples of this shape, one for each of these seeds.

    Raises:
        ConfigError: as `blueprint`.
    """
    if model.kind == "module":
        return ModuleStack(blueprint(model, input_shape, outputs), seeds, device=device)
    return MLPStack([math.prod(input_shape), *model.hidden, outputs], model.activation, seeds, device=device)


def blueprint(model: ModelConfig, input_shape: Sequence[int], outputs: int) -> Blueprint:
    """The blueprint of a module of one's own.

    Raises:
        ConfigError: it cannot be imported or made, or networks of it cannot be trained in a stack.
    """
    return _blueprint(str(model.target), json.dumps(model.arguments), tuple(input_shape), outputs)


# The jobs of a sweep mostly have the same.
@lru_cache(maxsize=16)
def _blueprint(target: str, arguments: str, input_shape: tuple[int, ...], outputs: int) -> Blueprint:
    make = imported("model.target", target)
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model.target: got {target}, allowed: a class or function that gives a torch.nn.Module"
        ) from error
    given = json.loads(arguments)
    known = {"inputs": input_shape, "outputs": outputs}
    named = {name: value for name, value in known.items() if name in signature.parameters} | given
    try:
        signature.bind(**named)
    except TypeError as error:
        raise ConfigError(f"model.arguments: got {given}, allowed: those of {target}{signature}: {error}") from error
    try:
        return blueprint_of(partial(make, **named), input_shape, outputs)
    except UnfitError as error:
        raise ConfigError(f"model.target: got {target}, {error.what}, allowed: {error.allowed}") from error
