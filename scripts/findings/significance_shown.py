"""Figures and tables of how significance differs by layer."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cl_runner.report.drawing import (
    INK,
    Look,
    faint_grid,
    legend_below,
    look,
    new_figure,
    style,
    titled,
    with_intervals,
)
from cl_runner.report.words import runs_in_words
from findings.significance import FROZEN, UNITS, after, cases, names_of, of, of_layer, ratio
from findings.statistics import curve, estimate


def layers_table(exact: pd.DataFrame) -> pd.DataFrame:
    """Every layer of every case."""
    rows = []
    for case in cases(exact):
        part = of(exact, case)
        for number, name in enumerate(names_of(part)):
            found = {
                column: estimate(of_layer(part, number, column))
                for column in ("parameter_median", "neuron_median", "signal", "inputs", "zeros", "top")
            }
            rows.append(
                {
                    "network": after(case),
                    "layer": name,
                    "parameters, log10": found["parameter_median"].number(".1f"),
                    "neurons, log10": found["neuron_median"].number(".1f"),
                    "signal², log10": f"{found['signal'].mean:z.1f}",
                    "input², log10": f"{found['inputs'].mean:z.1f}",
                    "zeros, %": f"{100 * found['zeros'].mean:.0f}",
                    f"frozen by a global mask of {100 * FROZEN:.0f} %, %": f"{100 * found['top'].mean:.0f}",
                    "n": found["top"].n,
                }
            )
    return pd.DataFrame(rows)


def ratio_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The last hidden layer over the first in every case by every estimator."""
    rows = []
    for case in cases(frame):
        for estimator, part in of(frame, case).groupby("estimator", sort=False):
            found = {
                f"{unit}s, {kind}, log10": ratio(part, f"{unit}_{kind}")
                for unit in reversed(UNITS)
                for kind in ("mode", "median")
            }
            shown = {name: value.number(".1f") for name, value in found.items()}
            n = next(iter(found.values())).n
            rows.append({"network": after(case), "estimator": estimator, **shown, "n": n})
    return pd.DataFrame(rows)


def draw_layers(exact: pd.DataFrame) -> Figure:
    """Every layer's median, a line for each case."""
    with style():
        figure = new_figure(9.2, 4.2)
        panels = figure.subplots(1, 2, sharey=True)
        names, known = names_of(exact), cases(exact)
        for axes, unit in zip(panels, UNITS, strict=True):
            for number, case in enumerate(known):
                line = 10 ** curve(of(exact, case), "layer", f"{unit}_median")[["mean", "low", "high"]]
                ends = line["low"].to_numpy(), line["high"].to_numpy()
                places = np.arange(len(names), dtype=float)
                shift = (number - (len(known) - 1) / 2) / 2
                with_intervals(axes, places, line["mean"].to_numpy(), ends, look(number), shift, after(case))
            _finish(axes, unit, [name.replace(" ", "\n") for name in names])
            axes.set_xlabel("layer")
        panels[0].set_ylabel("median significance (exact Fisher)")
        legend_below(figure, panels)
        titled(figure, "How does significance differ by layer?", _subtitle(exact))
    return figure


def draw_ratios(frame: pd.DataFrame, claimed: float) -> Figure:
    """The last hidden layer over the first in every case, a mark for each estimator."""
    known, estimators = cases(frame), list(frame["estimator"].unique())
    with style():
        figure = new_figure(9.2, 4.2)
        panels = figure.subplots(1, 2)
        for axes, unit in zip(panels, reversed(UNITS), strict=True):
            axes.axhline(1, color=INK, lw=0.8)
            for number, name in enumerate(estimators):
                part = frame[frame["estimator"] == name]
                found = [ratio(of(part, case), f"{unit}_mode") for case in known]
                mean, low, high = (
                    10 ** np.array([getattr(value, end) for value in found]) for end in ("mean", "low", "high")
                )
                points = Look(look(number).colour, look(number).marker, " ")
                shift = 1.5 * (number - (len(estimators) - 1) / 2)
                with_intervals(axes, np.arange(len(known), dtype=float), mean, (low, high), points, shift, str(name))
            _finish(axes, unit, [after(case).replace(", ", "\n") for case in known])
            axes.tick_params(axis="x", labelsize=8)
        panels[0].axhline(10**claimed, color=INK, lw=1, ls=":", label="as claimed")
        panels[0].set_ylabel("ratio of the two layers' modes")
        legend_below(figure, panels)
        titled(figure, "How many times as significant as the first layer is the last hidden one?", _subtitle(frame))
    return figure


def _finish(axes: Axes, unit: str, ticks: list[str]) -> None:
    axes.set_yscale("log")
    axes.autoscale_view()
    axes.set_xticks(np.arange(len(ticks)), ticks)
    axes.set_title(f"per {unit}")
    faint_grid(axes)


def _subtitle(frame: pd.DataFrame) -> str:
    seeds = frame.groupby("benchmark", sort=False)["seed"].nunique()
    counts = ", ".join(f"{runs_in_words(count, 'seed')} of {name}" for name, count in seeds.items())
    return (
        f"regression: sigmoid units, permuted MNIST: ReLU units\ngeometric mean and 95 % interval over seeds ({counts})"
    )
