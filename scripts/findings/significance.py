"""How the significance of a network's parameters differs by layer."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cl_runner import load_run
from cl_runner.benchmarks.base import make_benchmark
from cl_runner.engine.mlp import MLPStack
from cl_runner.results.significance import log_histogram
from cl_runner.runs.fisher import fisher_diagonal
from findings.layers import layer_names
from findings.results import runs
from findings.statistics import Estimate, by_seed, paired_difference

UNTRAINED = 0
UNITS = ("parameter", "neuron")
# A global mask that freezes this fraction stands for all others.
FROZEN = 0.5

# A benchmark, after so many of its tasks.
Case = tuple[str, int]


def levels(results: pd.DataFrame) -> pd.DataFrame:
    """`by_layer` of every run of `results` after each task, with `estimator`, `seed` and `task`."""
    rows = [
        by_layer(significance).assign(estimator=run["fisher.estimator"], seed=run["seed"], task=task)
        for _, run in runs(results).iterrows()
        for task, significance in load_run(run["directory"]).significance.items()
    ]
    return pd.concat(rows, ignore_index=True)


def untrained_levels(results: pd.DataFrame) -> pd.DataFrame:
    """The same of the networks that the runs began with, for the first task; their weights follow from the seeds."""
    rows = []
    for estimator, group in runs(results).groupby("fisher.estimator", sort=False):
        config, seeds = load_run(group["directory"].iloc[0]).config, group["seed"].tolist()
        benchmark = make_benchmark(config.benchmark, config.data_dir, seeds, "cpu")
        stack = MLPStack(
            [math.prod(benchmark.input_shape), *config.model.hidden, benchmark.outputs], config.model.activation, seeds
        )
        significance = fisher_diagonal(stack, benchmark, 0, config.fisher)
        rows += [
            by_layer(stack.layout.named(significance, row)).assign(estimator=estimator, seed=seed, task=UNTRAINED)
            for row, seed in enumerate(seeds)
        ]
    return pd.concat(rows, ignore_index=True)


def by_layer(significance: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """A row per `layer`, from 0. All but shares and `fan_in` are log10, over what is not zero.

    `parameter_mode`, `parameter_median`; `neuron_mode`, `neuron_median`: of the sums over a neuron's weights and bias.
    `signal`: median of the biases, which is that of the mean square of what is propagated back to a neuron.
    `inputs`: median of weight over its neuron's bias, the mean square of the weight's input where that signal is
    strong; neither holds for the estimator `batched`.
    `zeros`: share of the parameters. `top`: share that would be frozen by a global mask of the fraction `FROZEN`.
    `fan_in`: number of a neuron's inputs.
    """
    layers = []
    for number in range(len(significance) // 2):
        weight, bias = (significance[f"layers.{number}.{kind}"].double().numpy() for kind in ("weight", "bias"))
        layers.append(np.column_stack([weight, bias]))
    threshold = np.quantile(np.concatenate([layer.ravel() for layer in layers]), 1 - FROZEN)
    rows = []
    for number, layer in enumerate(layers):
        parameters, neurons = log_histogram(layer), log_histogram(layer.sum(1))
        reached = layer[layer[:, -1] > 0]
        rows.append(
            {
                "layer": number,
                "parameter_mode": parameters.mode,
                "parameter_median": parameters.median,
                "neuron_mode": neurons.mode,
                "neuron_median": neurons.median,
                "signal": _median(reached[:, -1]),
                "inputs": _median(reached[:, :-1] / reached[:, -1:]),
                "zeros": parameters.zero_share,
                "top": float((layer > threshold).mean()),
                "fan_in": layer.shape[1] - 1,
            }
        )
    return pd.DataFrame(rows)


def _median(values: NDArray[np.float64]) -> float:
    return log_histogram(values).median


def cases(frame: pd.DataFrame) -> list[Case]:
    """Those in a frame of levels that has a `benchmark` too."""
    return list(dict.fromkeys(zip(frame["benchmark"], frame["task"], strict=True)))


def of(frame: pd.DataFrame, case: Case) -> pd.DataFrame:
    """The levels of one case."""
    return frame[(frame["benchmark"] == case[0]) & (frame["task"] == case[1])]


def after(case: Case) -> str:
    """`regression, after task 1`."""
    return f"{case[0]}, " + (f"after task {case[1]}" if case[1] != UNTRAINED else "untrained")


def names_of(frame: pd.DataFrame) -> list[str]:
    """What its layers are called."""
    return layer_names(frame["layer"].nunique())


def of_layer(frame: pd.DataFrame, number: int, column: str) -> pd.Series:
    """By seed; layers count from 0, or from the last, −1."""
    return by_seed(frame[frame["layer"] == sorted(frame["layer"].unique())[number]], column)


def span(frame: pd.DataFrame, unit: str, layers: slice = slice(None)) -> tuple[str, Estimate]:
    """Which of the layers have the lowest and the highest median, in words, and how far these are apart."""
    column = f"{unit}_median"
    means = frame.groupby("layer")[column].mean().iloc[layers].to_numpy()
    low, high, names = int(means.argmin()), int(means.argmax()), names_of(frame)
    apart = paired_difference(of_layer(frame, high, column), of_layer(frame, low, column))
    return f"from the {names[low]} to the {names[high]} layer", apart


def ratio(frame: pd.DataFrame, column: str, layer: int = -2) -> Estimate:
    """How far a layer, by default the last hidden one, is above the first."""
    return paired_difference(of_layer(frame, layer, column), of_layer(frame, 0, column))
