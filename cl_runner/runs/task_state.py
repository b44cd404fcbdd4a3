"""What is recorded of a network after a task: parameters, significance, mask, and statistics of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save

from cl_runner.results.significance import joined_layers, log_histogram
from cl_runner.results.tables import short


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
    *,
    used: int,
    soft: bool,
) -> TaskState:
    """State after `task`: parameters, significance, and the mask that was used while training it, in bytes unless it
    is soft. Statistics of the significance are over the outputs that the tasks so far have had, the first `used`.
    """
    masks = {name: mask.float() if soft else mask.byte() for name, mask in scale.items()}
    folders = {"checkpoints": parameters, "significance": significance, "masks": masks}
    files = {
        f"{folder}/task_{task}.safetensors": save({name: tensor.contiguous() for name, tensor in tensors.items()})
        for folder, tensors in folders.items()
    }
    statistics, histograms, layers = [], [], []
    for layer, values in enumerate(joined_layers(significance, used)):
        found = log_histogram(values)
        numbers = [found.mode, found.median, found.p5, found.p95, found.zero_share]
        statistics.append([task, layer, *map(short, numbers)])
        bins = zip(found.edges.tolist(), found.counts.tolist(), strict=False)
        histograms += [[task, layer, low, count] for low, count in bins]
    for layer, free in enumerate(joined_layers(scale)):
        weight = parameters[f"layers.{layer}.weight"]
        counts = [free.size, int((free == 0).sum()), int((weight == 0).sum()), short(weight.abs().sum())]
        layers.append([task, layer, *counts])
    tables = {"significance.csv": statistics, "significance_histograms.csv": histograms, "layers.csv": layers}
    return TaskState(files, tables)
