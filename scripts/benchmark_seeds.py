"""Measure what it gains that seeds of a split benchmark share a stack.

    uv run scripts/benchmark_seeds.py [--seeds N] [--repeats N] [SETTING ...]

N seeds of a setting, `benchmark=split_digits` and the defaults unless SETTINGs say otherwise, each in a stack of its
own one after the other, against all of them in one stack. Both are measured in turn, so that what else the machine does
meets both: the ratio is the median over `--repeats` pairs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cl_runner.config.presets import composed
from cl_runner.config.schema import Config
from cl_runner.runs.checks import checked
from cl_runner.runs.evaluation import Scores
from cl_runner.runs.loop import run_stack
from cl_runner.runs.training import Epoch


class Silent:
    """Progress that nobody looks at."""

    def epoch(self, task: int, tasks: int, epoch: Epoch) -> None: ...

    def task(self, task: int, tasks: int, scores: Scores) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("settings", nargs="*", metavar="SETTING")
    arguments = parser.parse_args()
    given = ["benchmark=split_digits", "threads=1", "plots=none", *arguments.settings]
    configs = [checked(composed(*given, f"seed={seed}")) for seed in range(arguments.seeds)]
    print(f"torch {torch.__version__}, {' '.join(given)}, {len(configs)} seeds, median of {arguments.repeats}")
    alone, together = [[config] for config in configs], [configs]
    seconds(alone[:1])
    pairs = [(seconds(alone), seconds(together)) for _ in range(arguments.repeats)]
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{len(configs)} stacks {ours:.2f} s, one stack {theirs:.2f} s, ratio {ratio:.2f}")


def seconds(stacks: Sequence[Sequence[Config]]) -> float:
    """Of training and recording these stacks."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for number, configs in enumerate(stacks):
            run_stack(configs, [Path(folder, str(number), str(config.seed)) for config in configs], Silent())
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
