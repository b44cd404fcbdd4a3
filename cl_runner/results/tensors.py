"""Files of a network's tensors by their names: its parameters, their significance, their mask.

Which of them are a layer, and in what order, a file says in its metadata: `layers`, a list of names for each in JSON.
One without is of a multilayer perceptron: `layers.L.weight` `(out, in)` and `layers.L.bias` `(out,)`, L from 0.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from cl_runner.errors import DamagedError
from cl_runner.results.reading import parse_json

Folder = Literal["significance", "masks", "checkpoints"]
# The names of each layer's tensors; the last layer's rows are the outputs.
Layers = Sequence[Sequence[str]]

_LAYERS = "layers"


def mlp_layers(count: int) -> list[list[str]]:
    """Of a multilayer perceptron."""
    return [[f"layers.{layer}.{kind}" for kind in ("weight", "bias")] for layer in range(count)]


def as_bytes(tensors: Mapping[str, torch.Tensor], layers: Layers | None) -> bytes:
    """A file's content; `layers` are None of a multilayer perceptron."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(contiguous, None if layers is None else {_LAYERS: json.dumps(layers)})


def parse_tensors(file: Path, content: bytes, folder: Folder) -> tuple[dict[str, torch.Tensor], Layers]:
    """The tensors of a file in `folder`, layer by layer, and the names of each layer's.

    Raises:
        DamagedError: it is not what a run writes there.
    """
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DamagedError(file, f"not valid: {error}") from error
    # As the format has it: the length of a header in JSON, and the header.
    header = parse_json(file, content[8 : 8 + int.from_bytes(content[:8], "little")])
    told = header.get("__metadata__", {}).get(_LAYERS)
    layers = mlp_layers(len(tensors) // 2) if told is None else parse_json(file, told.encode())
    names = [name for layer in layers for name in layer] if _are_names(layers) else []
    if not tensors or sorted(names) != sorted(tensors):
        wanted = "a weight and a bias for each layer" if told is None else "the tensors of its layers"
        raise DamagedError(file, f"it has not {wanted}")
    for number, layer in enumerate(layers):
        if problem := _problem(folder, [tensors[name] for name in layer]):
            raise DamagedError(file, f"layer {number} {problem}")
    if told is None:
        _check_widths(file, tensors, layers)
    return {name: tensors[name] for name in names}, layers


def weight_counts(layer: Sequence[torch.Tensor]) -> tuple[int, float]:
    """How many weights of a layer are zero, and the sum of their absolute values. A tensor with a number for each
    neuron, in place of one for each of its inputs, is a bias.
    """
    weights = [tensor for tensor in layer if tensor.dim() > 1]
    return sum(int((weight == 0).sum()) for weight in weights), sum(float(weight.abs().sum()) for weight in weights)


def _are_names(layers: Any) -> bool:
    return isinstance(layers, list) and all(
        isinstance(layer, list) and layer and all(isinstance(name, str) for name in layer) for layer in layers
    )


def _problem(folder: Folder, tensors: Sequence[torch.Tensor]) -> str:
    """What is wrong with a layer; empty if nothing."""
    kinds = (torch.uint8, torch.float32) if folder == "masks" else (torch.float32,)
    if len({tensor.shape[:1] for tensor in tensors}) > 1 or not tensors[0].dim():
        return "has a shape that does not fit"
    for tensor in tensors:
        if tensor.dtype not in kinds or not tensor.numel():
            return "is of another type"
        low, high = tensor.aminmax()
        if not (torch.isfinite(low) and torch.isfinite(high)):
            return "has values that are not finite"
        if (low < 0 and folder != "checkpoints") or (high > 1 and folder == "masks"):
            return "has a value out of range"
    return ""


def _check_widths(file: Path, tensors: Mapping[str, torch.Tensor], layers: Layers) -> None:
    """Raises `DamagedError` if layers of a multilayer perceptron do not fit together."""
    width = None
    for number, (weight, bias) in enumerate((tensors[name] for name in layer) for layer in layers):
        if weight.dim() != 2 or bias.dim() != 1 or width not in (None, weight.shape[1]):
            raise DamagedError(file, f"layer {number} has a shape that does not fit")
        width = len(weight)
