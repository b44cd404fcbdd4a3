"""What a run takes: seconds by phase, and memory."""

import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import torch


class Stopwatch:
    """Seconds spent in each phase of a run."""

    def __init__(self, started: float | None = None) -> None:
        now = time.perf_counter()
        self._started = now if started is None else started
        self.seconds: dict[str, float] = defaultdict(float, start=now - self._started)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the seconds of the block to `phase`."""
        entered = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - entered

    def report(self) -> dict[str, float]:
        """Seconds by phase, `other` for what was in none, and `total`."""
        total = time.perf_counter() - self._started
        phases = self.seconds | {"other": total - sum(self.seconds.values()), "total": total}
        return {phase: round(spent, 3) for phase, spent in phases.items()}


def describe_environment(device: torch.device, clock: Stopwatch) -> dict[str, Any]:
    """What a finished run's record says of its last session: device, threads, seconds by phase, peak memory in MiB."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "seconds": clock.report(),
        "peak_memory_mib": _peak_memory(device),
    }


def _peak_memory(device: torch.device) -> dict[str, float]:
    memory = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        memory["process"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
    if device.type == "cuda":
        memory["cuda"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return memory
