"""Measure what a search costs beside a plain sweep that trains as much.

    uv run scripts/benchmark_search.py [--trials N] [--repeats N] [--out DIR] [OVERRIDES ...]

A search by successive halving on digits, of two seeds each, and a stacked sweep of as many run-tasks: tasks that runs
were trained on, counted in their files. Each is a process of its own, from its start to its end; one follows the
other, so that what else the machine does meets both.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

METHOD = ["method=layerwise_mask", "method.penalty=ewc"]
SPACE = (
    'hydra.sweeper.space={method.ewc_lambda: "log(1, 1e6)", freeze: "uniform(0.1, 0.99)", '
    'method.mask_source: "choice(latest, sum, union)"}'
)
TASKS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark_search"))
    parser.add_argument("overrides", nargs="*", help="of both, as on the command line")
    options = parser.parse_args()
    ratios = []
    for number in range(options.repeats):
        shutil.rmtree(options.out, ignore_errors=True)
        common = [*METHOD, f"benchmark.tasks={TASKS}", *options.overrides]
        search = ["hydra/sweeper=search", f"hydra.sweeper.trials={options.trials}", SPACE]
        searched = seconds([*search, f"hydra.sweeper.seed={number}", *common], options.out / "search")
        trained = run_tasks(options.out / "search")
        # Two seeds of each setting, as the search has.
        settings = max(1, round(trained / TASKS / 2))
        values = ",".join(f"{value:.6g}" for value in np.geomspace(1, 1e6, settings))
        grid = ["hydra/launcher=stacked", f"method.ewc_lambda={values}", "seed=0,1"]
        swept = seconds([*grid, *common], options.out / "grid")
        as_many = run_tasks(options.out / "grid")
        ratios.append(searched / trained / (swept / as_many))
        print(
            f"search: {searched:.1f} s for {trained} run-tasks; grid: {swept:.1f} s for {as_many}; a run-task of the "
            f"search costs {ratios[-1]:.2f} times one of the grid",
            flush=True,
        )
    print(f"median ratio of {options.repeats}: {statistics.median(ratios):.2f}")


def seconds(overrides: Sequence[str], folder: Path) -> float:
    """Of a sweep into `folder`, a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "cl_runner", "-m", *overrides, f"hydra.sweep.dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def run_tasks(folder: Path) -> int:
    """How many tasks the runs of a sweep were trained on, in all."""
    return sum(int(file.read_text().rsplit("\n", 2)[-2].split(",")[0]) for file in folder.glob("*/accuracy.csv"))


if __name__ == "__main__":
    main()
