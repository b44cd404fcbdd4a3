"""How the report's figures look: ink that follows the page's colours, colours that the colour-blind can tell apart."""

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from cl_runner.plain_text import printable
from cl_runner.results.plotting import plain_style

# Okabe & Ito's colours, but for black and yellow, which vanish on one of the two backgrounds.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1"]
MARKERS = "osD^vPX"
_LINES = ["-", "--", ":", "-."]
# Looks black in a PNG and is replaced by the colour of the page's text in an SVG.
INK = "#010203"
# Follows, as a pattern, what is in a tag and not in the text of a figure, whose brackets are written otherwise.
IN_A_TAG = "(?=[^<>]*>)"
# Inches that a phone still shows as a whole.
NARROW = 5.2
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.titlesize": 12,
    "axes.titlelocation": "left",
    **dict.fromkeys(
        ["text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"], INK
    ),
}


@dataclass(frozen=True)
class Drawing:
    """A figure under its file `name`: `title` is drawn in it, `caption` explains it beside it."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    wide: bool


def plain(text: str, most: int = 100) -> str:
    """`text` of somebody else's in a figure: as it is, but cut where it is long, and of letters that can be seen.

    To matplotlib dollars begin a formula, and a name that begins with `_` is to stay out of a legend.
    """
    text = shortened(printable(text), most)
    return without_formulas(f" {text}" if text.startswith("_") else text)


def shortened(text: str, most: int = 100) -> str:
    """At most so many letters of `text`."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def without_formulas(text: str) -> str:
    """`text` with dollars that begin none."""
    return text.replace("$", "\\$")


def new_figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """An empty figure, of inches; to be made within `style()`, as colours are given to what is drawn then."""
    return Figure(figsize=(width, height), layout=layout)


@contextmanager
def style() -> Iterator[None]:
    """The look, while something is drawn."""
    with plain_style(_STYLE):
        yield


def titled(figure: Figure, title: str, subtitle: str) -> None:
    """Say above the figure what it shows, and below that what its marks are."""
    # Some thirteen characters an inch.
    lines = textwrap.wrap(subtitle, max(40, int(13 * figure.get_figwidth())))
    figure.suptitle("\n".join([title, *lines]), x=0.01, ha="left", fontsize=10.5)


def finish(figure: Figure, name: str, title: str, subtitle: str, caption: str) -> Drawing:
    """The figure as SVG, with text as text and `currentColor` as ink, and as PNG on white."""
    titled(figure, title, subtitle)
    svg, png = io.StringIO(), io.BytesIO()
    with plain_style({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A browser has others than the font of the PNG.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(
            svg, format="svg", transparent=True, metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"])
        )
        figure.savefig(png, format="png", dpi=110)
    text = re.sub(f"{INK}{IN_A_TAG}", "currentColor", svg.getvalue())
    # Figures stand in one page: what one refers to must not lie in another.
    text = re.sub(rf'(\bid="|href="#|url\(#){IN_A_TAG}', rf"\g<1>{name}-", text)
    return Drawing(name, title, caption, text, png.getvalue(), figure.get_figwidth() > 7)


@dataclass(frozen=True)
class Look:
    """How a series of points is told from others."""

    colour: str
    marker: str
    line: str = "-"


def look(number: int) -> Look:
    """Of series `number`; none returns before 49 others."""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)])


def looks(methods: Sequence[str], known: Sequence[str]) -> list[Look]:
    """Of lines that belong to `methods`: a method has its colour in all figures, by its place in `known`."""
    if len(set(methods)) < 2:
        return [look(number) for number in range(len(methods))]
    found = []
    for place, method in enumerate(methods):
        nth = list(methods[:place]).count(method)
        found.append(Look(look(known.index(method)).colour, MARKERS[nth % len(MARKERS)], _LINES[nth % len(_LINES)]))
    return found


def with_intervals(
    axes: Axes,
    x: NDArray[np.float64],
    mean: NDArray[np.float64],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    shown_as: Look,
    shift: float,
    label: str,
) -> None:
    """A line of means with upright intervals `ends` (NaN: none), moved by `shift` so that series do not hide others.

    All are `(points,)` and drawn as they are; the shift is in widths of a stroke.
    """
    figure = axes.get_figure()
    assert figure is not None
    place = axes.transData + ScaledTranslation(shift * 3.5 / 72, 0, figure.dpi_scale_trans)
    colour, known = shown_as.colour, np.isfinite(ends[0])
    low, high = (end[known] for end in ends)
    axes.plot(x, mean, shown_as.line, color=colour, marker=shown_as.marker, ms=5, lw=1.4, label=label, transform=place)
    axes.vlines(x[known], low, high, color=colour, lw=1.6, alpha=0.75, transform=place)
    # Autoscaling leaves out what has a transform of its own.
    for values, at in ((mean, x), (low, x[known]), (high, x[known])):
        axes.update_datalim(np.column_stack([at, values]))


def faint_grid(axes: Axes, axis: str = "y") -> None:
    """Lines to read values by, behind everything."""
    axes.grid(axis=axis, color=INK, alpha=0.12, lw=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def lowest_labelled(grid: NDArray[Any], panels: int, columns: int, label: str) -> None:
    """Name the x axis under the lowest panel of each column, and hide what is left over of the grid."""
    for axes in grid[max(0, panels - columns) : panels]:
        axes.set_xlabel(label)
        axes.tick_params(labelbottom=True)
    for axes in grid[panels:]:
        axes.set_visible(False)


def legend_below(figure: Figure, panels: Iterable[Axes]) -> None:
    """The series of all panels by name, each once, under the plot, which keeps its size."""
    series = {}
    for axes in panels:
        series.update({name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)})
    # About what a letter and a handle take, in inches.
    column = 0.085 * max(map(len, series), default=0) + 0.65
    columns = max(1, min(4, int(figure.get_figwidth() / column)))
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(series) / columns) + 0.1)
    figure.legend(series.values(), series.keys(), loc="outside lower left", ncols=columns)


def sample_sizes(table: pd.DataFrame, of: str = "seeds") -> str:
    """How many `seeds`, or `runs`, a mean is of, over the rows of a summary."""
    low, high = table[of].min(), table[of].max()
    words = of if high > 1 else of.removesuffix("s")
    return f"{low} {words} each" if low == high else f"{low} to {high} {words} each"


def log_spaced(values: Sequence[float]) -> bool:
    """Whether positive values, zero aside, span a decade or more in steps that are more even as ratios."""
    positive = np.unique([value for value in values if value > 0])
    if min(values) < 0 or len(positive) < 2 or positive[-1] / positive[0] < 10:
        return False
    steps, ratios = np.diff(positive), np.diff(np.log(positive))
    return bool(ratios.std() / ratios.mean() <= steps.std() / steps.mean())
