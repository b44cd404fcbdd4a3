"""Draw what honesty costs: what each way of choosing picks of every method, and how that does on the test set.

uv run cl-run -m experiment=choosing hydra.sweep.dir=multirun/choosing
uv run scripts/choosing.py multirun/choosing [--out docs/figures/choosing.png]
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pandas as pd

from cl_runner.report.collect import collect
from cl_runner.report.protocols import ORACLE
from cl_runner.report.scores import judged
from cl_runner.report.selection import costs_of, picks, way_in_words
from cl_runner.report.settings import distinguishing

WAYS = {ORACLE.name: ("o", "black"), "validation": ("s", "tab:blue"), "first_tasks": ("^", "tab:red")}


def costs(folder: Path) -> pd.DataFrame:
    """What `cl_runner.report.selection.costs_of` tells of the runs in `folder`."""
    found = collect([folder])
    runs, metric, _ = judged(found.table, None)
    keys, _ = distinguishing(runs, found.settings)
    return costs_of(picks(runs, keys, metric), runs, metric)


def draw(table: pd.DataFrame, out: Path) -> None:
    """A line for each method, best at the top, with a mark for each way of choosing."""
    table = table[table["method"].notna()]
    oracle = table[table["protocol"] == ORACLE.name].sort_values("average_accuracy")
    methods = oracle["method"].tolist()
    figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.62 * len(methods)), layout="constrained")
    for number, (way, (marker, colour)) in enumerate(WAYS.items()):
        rows = table[table["protocol"].str.partition("=")[0] == way].set_index("method").loc[methods]
        mean = 100 * rows["average_accuracy"]
        ends = 100 * rows[["average_accuracy_low", "average_accuracy_high"]].to_numpy().T
        places = [place + 0.24 * (1 - number) for place in range(len(methods))]
        label = f"chosen by {way_in_words(rows['protocol'].iloc[0])}"
        error = abs(ends - mean.to_numpy())
        axes.errorbar(mean, places, xerr=error, fmt=marker, color=colour, ms=6, lw=1, capsize=2, label=label)
        for place, value, setting in zip(places, ends[1], rows["setting"], strict=True):
            axes.annotate(setting, (value, place), (5, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_xlabel("test accuracy in %, mean over all tasks at the end")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.margins(x=0.16)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(WAYS), frameon=False, fontsize=9)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the sweep")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/choosing.png"))
    arguments = parser.parse_args()
    table = costs(arguments.folder)
    draw(table, arguments.out)
    shown = table[table["method"].notna()].drop(columns=["samples", "same"])
    print(shown.to_string(index=False, float_format=lambda value: f"{100 * value:.1f}"))


if __name__ == "__main__":
    main()
