"""Which figures a report has, and what they are drawn from besides the summary."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cl_runner.errors import DamagedError
from cl_runner.report.drawing import Drawing
from cl_runner.report.figures import (
    chosen,
    draw_matrices,
    draw_over_tasks,
    draw_ranking,
    draw_significance,
    draw_tradeoff,
)
from cl_runner.report.settings import varying
from cl_runner.report.summary import Summary
from cl_runner.report.sweeps import draw_sweep
from cl_runner.results.recorded import RunFiles

# More settings than this are too many for one figure.
_CURVES, _MATRICES, _HISTOGRAMS = 7, 9, 6
_PROBLEMS = 4
_Content = TypeVar("_Content")


@dataclass(frozen=True)
class Section:
    """Figures that belong together, under a heading (empty: none), and notes on what they lack."""

    heading: str
    drawings: list[Drawing]
    notes: list[str]


def draw_sections(summary: Summary) -> list[Section]:
    """The figures of each problem by itself, and before these the metric across problems."""
    parts = summary.parts()
    if len(parts) == 1:
        return [Section("", *draw_problem(parts[0][1], ""))]
    across = [draw_sweep(summary, key) for key in summary.problems]
    drawn = parts[:_PROBLEMS]
    left = (
        [f"Drawn are {len(drawn)} of {len(parts)} benchmarks; choose others by --where."] if parts[_PROBLEMS:] else []
    )
    found = [Section("Across benchmarks", across, left)]
    return found + [Section(name, *draw_problem(part, f"-{number}")) for number, (name, part) in enumerate(drawn, 1)]


def draw_problem(part: Summary, suffix: str) -> tuple[list[Drawing], list[str]]:
    """The figures of one problem, file names ending in `suffix`, and notes on what could not be drawn."""
    notes: list[str] = []
    if part.table[part.metric].isna().all():
        return [], []
    drawings = [draw_ranking(part, suffix)]
    drawings += [draw_sweep(part, key, suffix) for key in varying(part.table, part.keys) if key != "method"]
    if part.table["average_forgetting"].notna().any():
        drawings.append(draw_tradeoff(part, suffix))
    recorded = _read(part, chosen(part, _MATRICES), f"{part.score.name}.csv", score_matrix, notes)
    matrices = {setting: _by_seed(found) for setting, found in recorded.items()}
    curves = {setting: matrices[setting] for setting in chosen(part, _CURVES) if setting in matrices}
    if matrices:
        drawings += [draw_over_tasks(part, curves, suffix), draw_matrices(part, matrices, suffix)]
    histograms = _read(part, chosen(part, _HISTOGRAMS), "significance_histograms.csv", significance_histograms, notes)
    if histograms:
        added = {setting: pd.concat(table for _, table in found) for setting, found in histograms.items()}
        drawings.append(draw_significance(part, added, suffix))
    return drawings, notes


def score_matrix(directory: Path) -> NDArray[np.float64]:
    """The matrix `(T, T)` of a run: row after task i, column on task j.

    Raises:
        DamagedError: it is missing or damaged.
    """
    return RunFiles(directory).scores.matrix[1:]


def significance_histograms(directory: Path) -> pd.DataFrame:
    """The rows `task, layer, low, count` of a run.

    Raises:
        DamagedError: they are missing or damaged.
    """
    whole = dict.fromkeys(("task", "layer", "count"), int)
    return pd.DataFrame(RunFiles(directory).table("significance_histograms.csv")).astype(whole)


def _read(
    part: Summary, settings: Iterable[int], name: str, read: Callable[[Path], _Content], notes: list[str]
) -> dict[int, list[tuple[int, _Content]]]:
    """What the runs of each setting recorded in the file `name`, with their seeds; a setting none of whose runs has it
    is left out.
    """
    found: dict[int, list[tuple[int, _Content]]] = {}
    missing: list[tuple[str, DamagedError]] = []
    for setting in settings:
        of_setting = part.runs[part.runs["setting"] == setting]
        for directory, seed in zip(of_setting["directory"], of_setting["seed"], strict=True):
            try:
                found.setdefault(setting, []).append((seed, read(Path(directory))))
            except DamagedError as error:
                missing.append((str(directory), error))
        if not found.get(setting):
            found.pop(setting, None)
    if missing:
        first, damage = missing[0]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        reason = damage.within(Path(first))
        notes.append(f"{name} is missing or damaged in {first}{more}: the figure lacks these runs ({reason}).")
    return found


def _by_seed(found: list[tuple[int, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The mean matrix of each seed `(n, T, T)`, of the longest task sequence: others may have been pooled with it."""
    most = max(len(matrix) for _, matrix in found)
    stacks: dict[int, list[NDArray[np.float64]]] = {}
    for seed, matrix in found:
        if len(matrix) == most:
            stacks.setdefault(seed, []).append(matrix)
    return np.stack([np.mean(stack, axis=0) for stack in stacks.values()])
