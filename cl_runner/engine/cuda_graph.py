"""A step recorded as a CUDA graph: some fifty small kernels launched as one."""

from collections.abc import Callable

import torch
from torch import Tensor

# Steps before the recording, in which the optimiser makes its state and libraries their plans.
_WARM_UP = 3


class CapturedStep:
    """Calls `step` a few times, then records it and replays the record. Batches of another size are just computed.

    Args:
        step: takes tensors on a CUDA device, the last of which it fills; it must not wait for the host, and what else
            it changes (parameters, optimiser) must stay where it is in memory.
    """

    def __init__(self, step: Callable[..., None]) -> None:
        self._step = step
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []

    def __call__(self, *tensors: Tensor) -> None:
        """One step on these tensors."""
        if self._graph is None and self._calls == _WARM_UP:
            self._inputs = [tensor.clone() for tensor in tensors]
            graph = torch.cuda.CUDAGraph()
            # Recording computes nothing.
            with torch.cuda.graph(graph):
                self._step(*self._inputs)
            self._graph = graph
        self._calls += 1
        if self._graph is None:
            # As the recording asks for: on another stream than the default one.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._step(*tensors)
            torch.cuda.current_stream().wait_stream(stream)
        elif tensors[0].shape != self._inputs[0].shape:
            self._step(*tensors)
        else:
            for static, tensor in zip(self._inputs[:-1], tensors[:-1], strict=True):
                static.copy_(tensor)
            self._graph.replay()
            tensors[-1].copy_(self._inputs[-1])
