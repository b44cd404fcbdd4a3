"""Whether a module of one's own can be trained in a stack: what cannot work is found before a run begins."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap
from torch.nn.parameter import UninitializedParameter

from cl_runner.engine.module import Blueprint, layers_of
from cl_runner.errors import in_words


class UnfitError(Exception):
    """`what` is wrong with a module, and what is `allowed`."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(what, allowed)
        self.what, self.allowed = what, allowed


@torch.random.fork_rng(devices=[])
def blueprint_of(make: Callable[[], object], input_shape: Sequence[int], outputs: int) -> Blueprint:
    """The blueprint of the networks that `make` gives, for samples of this shape and so many outputs.

    Raises:
        UnfitError: they cannot be trained in a stack.
    """
    try:
        module = make()
    except Exception as error:
        raise UnfitError(f"but making it fails: {in_words(error)}", "what can be made") from error
    if not isinstance(module, torch.nn.Module):
        raise UnfitError(
            f"which gives {type(module).__name__}, no network", "a class or function that gives a torch.nn.Module"
        )
    samples = torch.randn(2, *input_shape)
    _check_parameters(module)
    _check_outputs(module, samples, outputs)
    blueprint = Blueprint(make, input_shape)  # type: ignore[arg-type] # it is one
    _check_drawing(blueprint)
    _check_gradients(module, samples, outputs)
    return blueprint


def _check_parameters(module: torch.nn.Module) -> None:
    """Whether all its parameters can lie in one buffer and are trained."""
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if isinstance(parameter, UninitializedParameter):
            raise UnfitError(f"whose {name} has no shape before it is used", "layers that are not lazy")
        if id(parameter) in names:
            raise UnfitError(
                f"whose {name} is shared with {names[id(parameter)]}", "parameters that each have one place"
            )
        names[id(parameter)] = name
        if parameter.dim() == 0 or parameter.numel() == 0:
            raise UnfitError(
                f"whose {name} has the shape {tuple(parameter.shape)}", "parameters with a first axis, as in (1,)"
            )
        if parameter.dtype != torch.float32:
            raise UnfitError(f"whose {name} is {parameter.dtype}", "parameters of torch.float32")
        if not parameter.requires_grad:
            raise UnfitError(f"whose {name} requires no gradient", "a buffer (register_buffer) for what is not trained")
    if not names:
        raise UnfitError("which has no parameters", "a network that can be trained")


def _check_outputs(module: torch.nn.Module, samples: Tensor, outputs: int) -> None:
    """Whether its forward pass gives the outputs of each sample, by this sample alone, and leaves nothing behind."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = torch.get_rng_state()
    found, wanted = _forward(module, samples), (len(samples), outputs)
    if not isinstance(found, Tensor) or found.shape != wanted:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UnfitError(f"which gives {given} for {len(samples)} samples", f"a network that gives {wanted} for them")
    for name, buffer in module.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise UnfitError(f"whose {name} changes at each step", "a network without running statistics: GroupNorm")
    if not torch.equal(state, torch.get_rng_state()):
        raise UnfitError("whose outputs are random", "a network without dropout or other noise")
    if not torch.allclose(found[:1], _forward(module, samples[:1]), rtol=1e-3, atol=1e-5):
        raise UnfitError(
            "whose output for a sample depends on others of its batch", "a network without BatchNorm: GroupNorm"
        )


def _forward(module: torch.nn.Module, samples: Tensor) -> Any:
    try:
        with torch.no_grad():
            return module(samples)
    except Exception as error:
        shape = ", ".join(map(str, samples.shape))
        raise UnfitError(
            f"but on samples ({shape}) it fails: {in_words(error)}", "a network for such inputs"
        ) from error


def _check_drawing(blueprint: Blueprint) -> None:
    """Whether the seed alone says what networks have of their own."""
    first, again, other = blueprint.drawn(0), blueprint.drawn(0), blueprint.drawn(1)
    if layers_of(first) != layers_of(other):
        raise UnfitError("which gives networks of different shapes", "the same shapes each time")
    same = again.state_dict()
    for name, tensor in first.state_dict().items():
        if not torch.equal(tensor, same[name]):
            raise UnfitError(
                f"whose {name} is drawn from elsewhere", "weights from torch's own generator, which a run's seed sets"
            )
    for (name, buffer), theirs in zip(first.named_buffers(), other.buffers(), strict=True):
        if not torch.equal(buffer, theirs):
            raise UnfitError(f"whose {name}, a buffer, is drawn at random", "buffers that all networks have in common")


def _check_gradients(module: torch.nn.Module, samples: Tensor, outputs: int) -> None:
    """Whether gradients by sample can be had, and the rows of the last layer are the outputs: by these an output that
    is not in use yet is told from others.
    """
    weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
    layer = [name for name, _ in layers_of(module)[-1]]
    every_output = torch.eye(outputs)
    try:
        _gradients(module, weights, samples, every_output[:1])
        found = _gradients(module, {name: weights[name] for name in layer}, samples, every_output)
    except Exception as error:
        raise UnfitError(
            f"but its gradients by sample fail: {in_words(error)}", "operations that torch.func.vmap knows"
        ) from error
    # Whether an output depends on a row, (C, rows).
    touched = sum(
        gradient.abs().flatten(2).unflatten(2, (len(weights[name]), -1)).sum((0, 3)) for name, gradient in found.items()
    )
    if touched.shape != every_output.shape or not torch.equal(touched != 0, every_output != 0):
        raise UnfitError(
            f"whose last layer ({' and '.join(layer)}) is not that of the outputs",
            f"a network whose module of parameters that is made last has a row for each of {outputs} outputs",
        )


@torch.no_grad()
def _gradients(
    module: torch.nn.Module, weights: dict[str, Tensor], samples: Tensor, signals: Tensor
) -> dict[str, Tensor]:
    """Of the weights on B samples for K signals at the outputs, `(K, C)`: `(B, K, *shape)`."""

    def of_sample(sample: Tensor) -> Any:
        _, back, *_ = vjp(lambda weights: functional_call(module, weights, (sample[None],))[0], weights)
        return vmap(back)(signals)[0]

    found: dict[str, Tensor] = vmap(of_sample)(samples)
    return found
