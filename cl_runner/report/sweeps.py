"""The metric against a swept setting."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cl_runner.plain_text import slug
from cl_runner.report.drawing import (
    NARROW,
    Drawing,
    Look,
    faint_grid,
    finish,
    legend_below,
    log_spaced,
    looks,
    lowest_labelled,
    new_figure,
    plain,
    sample_sizes,
    style,
    with_intervals,
)
from cl_runner.report.settings import idle, labels, shown, varying
from cl_runner.report.summary import Summary

_LINES, _PANELS = 7, 6


def draw_sweep(part: Summary, key: str, suffix: str = "") -> Drawing:
    """The metric against the swept setting `key`; a line for each combination of the others, methods side by side."""
    metric, score, words = part.metric, part.score, part.metric.replace("_", " ")
    others = [other for other in varying(part.table, part.keys) if other != key]
    table, split = _lines_along(part, key, others), ""
    if _series(table, others).nunique() > _LINES:
        split = min(others, key=lambda other: (other != "method", table[other].nunique(dropna=False)))
    within = [other for other in others if other != split]
    table = table.assign(series=_series(table, within))
    firsts = table[~table["series"].duplicated()][:_LINES]
    names = [plain(name) for name in labels(firsts, within)]
    methods = firsts["method"].map(shown).tolist() if "method" in within else [""] * len(firsts)
    ways = looks(methods, part.methods)
    panels = (
        [(plain(shown(value)), rows) for value, rows in table.groupby(split, sort=False, dropna=False)] if split else []
    )
    panels = panels or [("", table)]
    with style():
        columns = min(3, len(panels))
        rows_of_panels = math.ceil(min(len(panels), _PANELS) / columns)
        figure = new_figure(max(NARROW, 3.2 * columns), 1.3 + 2.4 * rows_of_panels + 0.5 * (not split))
        grid = figure.subplots(rows_of_panels, columns, sharex=True, sharey=True, squeeze=False).ravel()
        level = idle(table[key])
        scale = _Axis(table.loc[~level, key])
        for axes, (panel, rows) in zip(grid, panels, strict=False):
            for number, series in enumerate(firsts["series"]):
                of_series = rows[rows["series"] == series]
                points = of_series[~level[of_series.index]].sort_values(key)
                mean, low, high = (score.scale * points[f"{metric}{end}"].to_numpy() for end in ("", "_low", "_high"))
                shift = number - (len(names) - 1) / 2
                if len(points):
                    places = scale.places(points[key])
                    with_intervals(axes, places, mean, (low, high), ways[number], shift, names[number])
                for _, row in of_series[level[of_series.index]].iterrows():
                    ends = score.scale * row[[f"{metric}_low", f"{metric}_high"]].to_numpy(dtype=float)
                    name = "_" if len(points) else names[number]
                    _draw_level(axes, score.scale * row[metric], ends, ways[number], name)
            axes.margins(x=0.08)
            axes.autoscale_view()
            scale.apply(axes)
            axes.set_title(panel, fontsize=10)
            faint_grid(axes)
        lowest_labelled(grid, min(len(panels), _PANELS), columns, plain(key))
        for axes in grid[::columns]:
            axes.set_ylabel(score.label(metric))
        if len(names) > 1:
            legend_below(figure, grid)
        subtitle = f"mean and 95 % interval over {sample_sizes(part.table)}"
        caption = "Lines are moved a little sideways, so as not to hide each other."
        if level.any():
            caption += f" Where {key} does nothing, a setting is a level line and its interval a band."
        if len(table) < len(part.table):
            caption += f" Of settings run with one {key} only, at most each method's best is shown."
        count = table["series"].nunique()
        if count > len(names) or len(panels) > _PANELS:
            caption += f" Shown: {len(names)} of {count} lines, {min(len(panels), _PANELS)} of {len(panels)} panels."
        title = f"{words.capitalize()} against {plain(key)}"
        return finish(figure, f"sweep_{slug(key)}{suffix}", title, subtitle, caption)


def _draw_level(axes: Axes, mean: float, ends: NDArray[np.float64], shown_as: Look, label: str) -> None:
    axes.axhline(mean, color=shown_as.colour, ls="--", lw=1.4, label=label)
    if np.isfinite(ends).all():
        axes.axhspan(*ends, color=shown_as.colour, alpha=0.12, lw=0)


class _Axis:
    """Places of a setting's values on the x axis: numbers where they are, words one after the other."""

    def __init__(self, values: pd.Series) -> None:
        self.numeric = values.dtype.kind in "if" and not values.isna().any()
        self.values = sorted(values.unique(), key=None if self.numeric else shown)

    def places(self, values: pd.Series) -> NDArray[np.float64]:
        if self.numeric:
            return values.to_numpy(dtype=float)
        known = [shown(value) for value in self.values]
        return np.array([known.index(shown(value)) for value in values], dtype=float)

    def apply(self, axes: Axes) -> None:
        if not self.numeric:
            axes.set_xticks(range(len(self.values)), [plain(shown(value), 30) for value in self.values])
            axes.set_xlim(-0.5, len(self.values) - 0.5)
            return
        if log_spaced(self.values):
            if self.values[0] > 0:
                axes.set_xscale("log")
            else:
                # Zero has no logarithm: it stands half a decade left of the rest.
                axes.set_xscale("symlog", linthresh=self.values[1], linscale=0.5)
        if len(self.values) <= 10:
            axes.set_xticks(self.values, [shown(value) for value in self.values])
            axes.minorticks_off()


def _lines_along(part: Summary, key: str, others: Sequence[str]) -> pd.DataFrame:
    """The rows that make lines along `key`; for reference each method's best of the others, where there is room."""
    series = _series(part.table, others)
    single = part.table.groupby(series)[key].nunique(dropna=False).loc[series].to_numpy() == 1
    if single.all():
        return part.table
    best = part.table.index[single][~part.method[single].duplicated()]
    room = series[~single].nunique() + len(best) <= _LINES
    left_out = part.table.index.isin(part.table.index[single].difference(best if room else best[:0]))
    return part.table[~left_out]


def _series(table: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    if not keys:
        return pd.Series(0, index=table.index)
    return table.groupby(list(keys), dropna=False, sort=False).ngroup()
