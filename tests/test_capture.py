from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cl_runner.engine.cuda_graph import CapturedStep


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
def test_a_captured_step_computes_what_the_step_does() -> None:
    def train(captured: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        weights = torch.ones(5, device="cuda")
        weights.grad = torch.zeros_like(weights)
        optimizer = torch.optim.Adam([weights], lr=0.1, fused=True, capturable=True)

        def step(inputs: torch.Tensor, losses: torch.Tensor) -> None:
            assert weights.grad is not None
            torch.mul(inputs.sum(0), weights, out=weights.grad)
            losses.copy_(inputs @ weights)
            optimizer.step()

        call = CapturedStep(step) if captured else step
        results = []
        with torch.inference_mode():
            for number in range(10):
                inputs = torch.arange(15.0 if number < 9 else 10.0, device="cuda").view(-1, 5) + number
                results.append(torch.zeros(len(inputs), device="cuda"))
                call(inputs, results[-1])
        return weights, results

    for alone, replayed in zip(*(train(captured) for captured in (False, True)), strict=True):
        torch.testing.assert_close(alone, replayed)


def double(inputs: torch.Tensor, results: torch.Tensor) -> None:
    results.copy_(2 * inputs)


def test_inputs_and_results_pass_through_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def step(inputs: torch.Tensor, results: torch.Tensor) -> None:
        calls.append(len(inputs))
        double(inputs, results)

    class Graph:
        """Stands in for a CUDA graph where there is none: replaying calls the step again on the recorded tensors."""

        def replay(self) -> None:
            double(*captured._inputs)

    class Stream:
        def wait_stream(self, other: object) -> None: ...

    @contextmanager
    def entered(_: object) -> Iterator[None]:
        yield

    captured = CapturedStep(step)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", entered)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    for number in range(8):
        inputs = torch.full((3 if number != 6 else 2,), float(number))
        results = torch.zeros_like(inputs)
        captured(inputs, results)
        assert torch.equal(results, 2 * inputs)
    # Three to warm up, one to record, and one for the batch of another size.
    assert calls == [3, 3, 3, 3, 2]
