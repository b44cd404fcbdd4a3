"""Measure what settings of training by row cost.

    uv run scripts/benchmark_rates.py [--vary SETTING] [--rows N] [--repeats N]

An epoch on digits, of the second task, of N networks of one seed, each with a learning rate of its own (or what else is
to vary), against one of N that differ in their freeze ratio; and their optimisers' steps alone. Both are measured in
turn, so that what else the machine does meets both: a ratio is the median over `--repeats` pairs.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from cl_runner.benchmarks.base import make_benchmark
from cl_runner.config.presets import composed
from cl_runner.engine.dropout import make_dropout
from cl_runner.engine.models import make_network
from cl_runner.engine.optimizers import make_optimizer
from cl_runner.methods.method import Method
from cl_runner.runs.checks import checked
from cl_runner.runs.training import train_task

# Values from a number above 0 and up to 1.
VARIED: dict[str, Callable[[float], float]] = {
    "train.learning_rate": lambda part: 1e-3 * part,
    "train.task_decay": lambda part: part,
    "model.dropout": lambda part: 0.9 * part,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vary", choices=VARIED, default="train.learning_rate")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = arguments.rows
    parts = [number / rows for number in range(1, rows + 1)]
    freeze = [["method=global_mask", f"freeze={0.99 * part}"] for part in parts]
    varied = [
        ["method=global_mask", "freeze=0.5", f"{arguments.vary}={VARIED[arguments.vary](part)}"] for part in parts
    ]
    epochs, steps = zip(*map(measures, (freeze, varied)), strict=True)
    print(f"torch {torch.__version__}, {rows} networks, median of {arguments.repeats}")
    for name, (alike, several) in (("epoch", epochs), ("100 steps of the optimiser", steps)):
        pairs = [(seconds(alike), seconds(several)) for _ in range(arguments.repeats + 1)][1:]
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name}: {rows} of freeze {ours:.3f} s, of {arguments.vary} {theirs:.3f} s, ratio {ratio:.3f}")


def measures(settings: Sequence[Sequence[str]]) -> tuple[Callable[[], None], Callable[[], None]]:
    """An epoch on the second task by networks of these settings, and 100 steps of their optimiser."""
    configs = [checked(composed("train.epochs=1", "benchmark.tasks=2", *own)) for own in settings]
    common = configs[0]
    benchmark = make_benchmark(common.benchmark, common.data_dir, [common.seed], "cpu")
    stack = make_network(
        common.model, benchmark.input_shape, benchmark.outputs, [common.seed] * len(configs), torch.device("cpu")
    )
    method = Method(stack, configs)
    method.end(0, torch.rand_like(stack.parameters), benchmark.outputs)
    optimizer = make_optimizer(stack, [config.train for config in configs], 1)
    dropout = make_dropout(stack, [config.model.dropout for config in configs], 1)

    def epoch() -> None:
        for _ in train_task(stack, method, benchmark, 1, [1], common.train, optimizer=optimizer, dropout=dropout):
            pass

    def steps() -> None:
        with torch.inference_mode():
            for _ in range(100):
                optimizer.step()

    return epoch, steps


def seconds(job: Callable[[], None]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
