"""Compare a search to a grid that trains about twice as much, each judged on fresh seeds.

    uv run scripts/search_against_grid.py [--repeats N] [--out DIR] [--figure FILE]

On permuted digits, for EWC and for layer-wise masks with EWC, three or four settings are chosen at once: by a grid of
64 points that are each trained on two seeds, and by a search of 48 trials, which have up to four seeds, but most of
which are dropped on the way. What has the best validation accuracy is trained on ten seeds that neither has seen. Each
repetition has seeds of its own. Prints the table, and draws the figure of docs/sweeps.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from benchmark_search import run_tasks
from scipy import stats

import cl_runner
from cl_runner.results.run import load_run

COMMON = ["benchmark.tasks=5", "benchmark.train_samples=600", "train.epochs=5"]
GRID_SEEDS, TRIALS, SEEDS, FRESH = 2, 48, 4, 10


@dataclass(frozen=True)
class Problem:
    """Of a method: its settings, the space of the search, and the values of the grid over the same."""

    name: str
    method: Sequence[str]
    space: Mapping[str, str]
    grid: Mapping[str, Sequence[Any]]


RATES = "log(3e-4, 3e-2)"
LAMBDAS = "log(1, 1e6)"
PROBLEMS = [
    Problem(
        "EWC",
        ["method=ewc"],
        {"method.ewc_lambda": LAMBDAS, "train.learning_rate": RATES, "train.task_decay": "uniform(0.4, 1)"},
        {
            "method.ewc_lambda": [1, 100, 10_000, 1_000_000],
            "train.learning_rate": [0.0003, 0.0014, 0.0065, 0.03],
            "train.task_decay": [0.4, 0.6, 0.8, 1.0],
        },
    ),
    Problem(
        "layer-wise masks with EWC",
        ["method=layerwise_mask", "method.penalty=ewc"],
        {
            "method.ewc_lambda": LAMBDAS,
            "freeze": "uniform(0.1, 0.99)",
            "train.learning_rate": RATES,
            "method.mask_source": "choice(latest, sum)",
        },
        {
            "method.ewc_lambda": [1, 100, 10_000, 1_000_000],
            "freeze": [0.1, 0.4, 0.7, 0.99],
            "train.learning_rate": [0.001, 0.01],
            "method.mask_source": ["latest", "sum"],
        },
    ),
]
# By what a point of the figure is of.
SIDES = ("default", "grid", "search")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/search_against_grid"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/search.png"))
    options = parser.parse_args()
    found = {
        problem.name: [repetition(problem, number, options.out) for number in range(options.repeats)]
        for problem in PROBLEMS
    }
    for name, repetitions in found.items():
        print(f"\n{name}: accuracy in % on {FRESH} fresh seeds\n{'':12}{''.join(f'{side:>12}' for side in SIDES)}")
        for number, one in enumerate(repetitions):
            print(f"{number:<12}{''.join(f'{100 * one[side]:12.1f}' for side in SIDES)}")
        print(f"{'mean':12}{''.join(f'{100 * np.mean([one[side] for one in repetitions]):12.1f}' for side in SIDES)}")
        tasks = {side: np.mean([one[f"{side} tasks"] for one in repetitions]) for side in ("grid", "search")}
        print(f"{'run-tasks':24}{tasks['grid']:12.0f}{tasks['search']:12.0f}")
        difference = np.array([100 * (one["search"] - one["grid"]) for one in repetitions])
        if len(difference) > 1:
            low, high = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
            print(f"search minus grid: {difference.mean():+.1f} [{low:+.1f}, {high:+.1f}] points")
    draw(found, options.figure)


def repetition(problem: Problem, number: int, out: Path) -> dict[str, float]:
    """The accuracy of each side on fresh seeds, and what was trained to find it, but for these."""
    first = number * 100
    folder = out / problem.name.replace(" ", "_") / str(number)
    searched, swept, fresh = (folder / name for name in ("search", "grid", "fresh"))
    space = ", ".join(f'{key}: "{values}"' for key, values in problem.space.items())
    own = [
        "hydra/sweeper=search",
        f"hydra.sweeper.space={{{space}}}",
        f"hydra.sweeper.trials={TRIALS}",
        f"hydra.sweeper.seeds={SEEDS}",
        f"hydra.sweeper.fresh_seeds={FRESH}",
        f"hydra.sweeper.seed={number}",
        f"seed={first}",
    ]
    cl_runner.sweep([*own, *problem.method, *COMMON, f"hydra.sweep.dir={searched}"])
    result = json.loads((searched / "search.json").read_text())["result"]
    grid = [f"{key}={','.join(map(str, values))}" for key, values in problem.grid.items()]
    seeds = f"seed=range({first},{first + GRID_SEEDS})"
    cl_runner.sweep([*grid, seeds, *problem.method, *COMMON, f"hydra.sweep.dir={swept}"])
    best = best_of(swept)
    seeds = f"seed=range({first + SEEDS},{first + SEEDS + FRESH})"
    chosen = [f"{key}={best[key]}" for key in problem.grid]
    cl_runner.sweep([*chosen, seeds, *problem.method, *COMMON, f"hydra.sweep.dir={fresh}"])
    accuracies = [load_run(file.parent).metrics["average_accuracy"] for file in fresh.glob("*/metrics.json")]
    return {
        "search": result["best"]["mean"],
        "default": result["default"]["mean"],
        "grid": float(np.mean(accuracies)),
        # The fresh seeds of two settings.
        "search tasks": run_tasks(searched) - 2 * FRESH * 5,
        "grid tasks": run_tasks(swept),
    }


def best_of(folder: Path) -> dict[str, Any]:
    """The settings of a grid with the best validation accuracy, the mean over seeds, by dotted key."""
    scores: dict[str, list[float]] = {}
    for file in folder.glob("*/metrics.json"):
        run = load_run(file.parent)
        method, train = run.config.method, run.config.train
        settings = {
            "method.ewc_lambda": method.ewc_lambda,
            "method.mask_source": method.mask_source,
            "freeze": run.config.freeze,
            "train.learning_rate": train.learning_rate,
            "train.task_decay": train.task_decay,
        }
        scores.setdefault(json.dumps(settings), []).append(run.metrics["validation"]["average_accuracy"])
    best: dict[str, Any] = json.loads(max(sorted(scores), key=lambda settings: np.mean(scores[settings])))
    return best


def draw(found: Mapping[str, Sequence[Mapping[str, float]]], file: Path) -> None:
    """A panel for each method: a line for each repetition, and the mean of all."""
    figure, axes = plt.subplots(1, len(found), figsize=(9, 3.6), layout="constrained", squeeze=False)
    for panel, (name, repetitions) in zip(axes[0], found.items(), strict=True):
        for one in repetitions:
            panel.plot(SIDES, [100 * one[side] for side in SIDES], "o-", color="0.7", linewidth=1, markersize=4)
        means = [100 * np.mean([one[side] for one in repetitions]) for side in SIDES]
        panel.plot(SIDES, means, "D", color="#0072b2", markersize=7, label="mean of repetitions")
        tasks = [np.mean([one.get(f"{side} tasks", 0) for one in repetitions]) for side in SIDES]
        panel.set_xticks(range(3), [f"{side}\n{count:.0f} run-tasks" for side, count in zip(SIDES, tasks, strict=True)])
        panel.set_title(name, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="0.92")
        panel.margins(x=0.2)
    axes[0][0].set_ylabel("accuracy in %, 10 fresh seeds")
    axes[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
