"""What is recorded of a network after a task: parameters, significance, mask, and statistics of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cl_runner.results.significance import joined_layers, log_histogram
from cl_runner.results.tables import short
from cl_runner.results.tensors import Layers, as_bytes, weight_counts


@dataclass(frozen=True)
class TaskState:
    """What is recorded of a network after a task: content of files by name, and rows of tables."""

    files: Mapping[str, bytes]
    rows: Mapping[str, Sequence[Sequence[Any]]]


def task_state(
    task: int,
    parameters: Mapping[str, torch.Tensor],
    significance: Mapping[str, torch.Tensor],
    scale: Mapping[str, torch.Tensor],
    layers: Layers,
    *,
    used: int,
    soft: bool,
    named: bool,
) -> TaskState:
    """State after `task`: parameters, significance, and the mask that was used while training it, in bytes unless it
    is soft. Statistics of the significance are over the outputs that the tasks so far have had, the first `used`.
    `layers` are the names of each layer's tensors; files have them if they are to be `named`.
    """
    masks = {name: mask.float() if soft else mask.byte() for name, mask in scale.items()}
    folders = {"checkpoints": parameters, "significance": significance, "masks": masks}
    files = {
        f"{folder}/task_{task}.safetensors": as_bytes(tensors, layers if named else None)
        for folder, tensors in folders.items()
    }
    statistics, histograms, counts = [], [], []
    for layer, values in enumerate(joined_layers(significance, layers, used)):
        found = log_histogram(values)
        numbers = [found.mode, found.median, found.p5, found.p95, found.zero_share]
        statistics.append([task, layer, *map(short, numbers)])
        bins = zip(found.edges.tolist(), found.counts.tolist(), strict=False)
        histograms += [[task, layer, low, count] for low, count in bins]
    for layer, free in enumerate(joined_layers(scale, layers)):
        zeros, norm = weight_counts([parameters[name] for name in layers[layer]])
        counts.append([task, layer, free.size, int((free == 0).sum()), zeros, short(norm)])
    tables = {"significance.csv": statistics, "significance_histograms.csv": histograms, "layers.csv": counts}
    return TaskState(files, tables)
