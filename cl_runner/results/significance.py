"""Statistics of significance, the Fisher diagonal, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

BIN_WIDTH = 0.25


@dataclass(frozen=True)
class LogHistogram:
    """Histogram of log10 of the positive values, in bins of `BIN_WIDTH` on a grid common to all histograms.

    `edges` `(n + 1,)`, `counts` `(n,)`; `zero_share` of the values are exactly zero; all else is NaN where no value is
    positive.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    mode: float
    median: float
    p5: float
    p95: float
    zero_share: float


def joined_layers(
    tensors: Mapping[str, torch.Tensor], layers: Sequence[Sequence[str]], outputs: int | None = None
) -> list[NDArray[np.float32]]:
    """The values of each layer, its tensors one after the other; of the last layer those of the first `outputs`
    neurons, None for all.
    """
    counts = [None] * (len(layers) - 1) + [outputs]
    return [
        np.concatenate([tensors[name][:count].cpu().numpy().ravel() for name in layer])
        for layer, count in zip(layers, counts, strict=True)
    ]


def log_histogram(values: NDArray[np.floating]) -> LogHistogram:
    """Of non-negative values of any shape; the mode is the centre of the fullest bin."""
    flat = values.ravel().astype(np.float64)
    logs = np.log10(flat[flat > 0])
    zero_share = (flat.size - logs.size) / flat.size
    if logs.size == 0:
        nan = float("nan")
        return LogHistogram(np.array([0.0]), np.array([], dtype=np.int64), nan, nan, nan, nan, zero_share)
    first, last = np.floor(logs.min() / BIN_WIDTH), np.floor(logs.max() / BIN_WIDTH) + 1
    edges = np.arange(first, last + 1) * BIN_WIDTH
    counts = np.histogram(logs, edges)[0]
    mode = float(edges[counts.argmax()] + BIN_WIDTH / 2)
    p5, median, p95 = (float(value) for value in np.percentile(logs, [5, 50, 95]))
    return LogHistogram(edges, counts, mode, median, p5, p95, zero_share)
