"""Measure what resumable states cost, and how long a run takes to go on.

    uv run scripts/benchmark_states.py --data-dir DIR [--repeats N]

A run, or a stack of them, is trained by this process: first to its end, the seconds spent on states being counted, then
until its second task is done, then on from its state. "at most" is the share of a run that lasts for ever and saves at
the default interval; "to go on" is from the call, with everything imported, to the end of the first step, and next to
it the same of a run that starts anew.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any
from unittest.mock import patch

import torch

from cl_runner.config.presets import composed
from cl_runner.config.schema import Config
from cl_runner.errors import StoppedError
from cl_runner.runs.checks import checked
from cl_runner.runs.loop import run_stack
from cl_runner.signals import Pauses

DIGITS = ["method=ewc"]
MNIST = ["benchmark=permuted_mnist", "benchmark.tasks=3", "method=ewc"]
CASES = {
    "permuted_digits, 1 run": (DIGITS, 1),
    "permuted_digits, 32 runs": (DIGITS, 32),
    "permuted_mnist, 1 run": (MNIST, 1),
    "permuted_mnist, 8 runs": (MNIST, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="where MNIST lies or is downloaded to")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, 1 thread; medians of {arguments.repeats}")
    heading = ("seconds", "on states", "share", "at most", "to go on", "to start")
    print(f"{'':26}" + "".join(f"{name:>11}" for name in heading))
    for name, (overrides, count) in CASES.items():
        configs = [config(*overrides, f"seed={seed}", f"data_dir={arguments.data_dir}") for seed in range(count)]
        measured = [measure(configs) for _ in range(arguments.repeats)]
        spent, saving, saves, going_on, starting = (statistics.median(column) for column in zip(*measured, strict=True))
        at_most = saving / saves / (60 * configs[0].checkpoint.minutes)
        shown = f"{spent:11.2f}{saving:11.3f}{saving / spent:11.2%}{at_most:11.3%}{going_on:11.2f}{starting:11.2f}"
        print(f"{name:26}{shown}", flush=True)


def config(*overrides: str) -> Config:
    return checked(composed(*overrides))


def measure(configs: Sequence[Config]) -> tuple[float, float, int, float, float]:
    """Seconds of the whole, those on states, number of times they were saved, seconds to go on, seconds to start."""
    with tempfile.TemporaryDirectory() as folder:
        directories = [Path(folder) / str(number) for number in range(len(configs))]
        others = [Path(folder) / f"stopped-{number}" for number in range(len(configs))]
        with seconds_in("cl_runner.runs.loop._save") as calls:
            started = time.perf_counter()
            run_stack(configs, directories, Quiet())
            spent = time.perf_counter() - started
        starting = first_step(configs, others)
        for directory in others:
            assert not (directory / "state.safetensors").exists()
        try:
            run_stack(configs, others, StopsAfter(2))
        except StoppedError:
            going_on = first_step(configs, others)
        return spent, sum(calls), len(calls), going_on, starting


def first_step(configs: Sequence[Config], directories: Sequence[Path]) -> float:
    """Seconds until the first step of a run is done, which is then left as it is."""
    started = time.perf_counter()

    def due(_: Pauses) -> bool:
        raise StoppedError(SIGTERM)

    with patch.object(Pauses, "due", due):
        try:
            run_stack(configs, directories, Quiet())
        except StoppedError:
            return time.perf_counter() - started
    raise AssertionError("no step was taken")


@contextmanager
def seconds_in(name: str) -> Iterator[list[float]]:
    """Collects the seconds of each call of a function."""
    calls: list[float] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            made = function(*arguments)
            calls.append(time.perf_counter() - started)
            return made

        return call

    module, _, attribute = name.rpartition(".")
    with patch(name, timed(getattr(__import__(module, fromlist=[attribute]), attribute))):
        yield calls


class Quiet:
    """Progress that nobody looks at."""

    def epoch(self, *_: object) -> None:
        pass

    def task(self, *_: object) -> None:
        pass


class StopsAfter:
    """Stops a run after a task."""

    def __init__(self, task: int) -> None:
        self._last = task

    def epoch(self, *_: object) -> None:
        pass

    def task(self, task: int, *_: object) -> None:
        if task == self._last:
            raise StoppedError(SIGTERM)


if __name__ == "__main__":
    main()
