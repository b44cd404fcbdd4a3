"""How often intervals hold what they are to hold, on scores such as runs give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from fake_runs import write_run
from numpy.typing import NDArray
from scipy import stats

from cl_runner.report.collect import collect
from cl_runner.report.comparison import compare, leads
from cl_runner.report.scores import score_of
from cl_runner.report.summary import summarise
from cl_runner.results.intervals import intervals, seed_means

Values = NDArray[np.float64]
Intervals = Callable[[Values], tuple[Values, Values]]

# Mean and deviation over 60 seeds of permuted digits (3 tasks, 4 epochs).
SCORES = {
    "finetune": (0.659, 0.052),
    "ewc": (0.738, 0.046),
    "layerwise_mask": (0.792, 0.038),
    "ewc, just learned": (0.941, 0.005),
    "layerwise_mask, just learned": (0.899, 0.013),
    "ewc, forgetting": (0.305, 0.069),
    "layerwise_mask, forgetting": (0.160, 0.057),
}
# The first minus the second of the same seed, with their correlation.
PAIRS = [
    ("ewc", "finetune", 0.81),
    ("layerwise_mask", "ewc", 0.46),
    ("ewc, just learned", "layerwise_mask, just learned", 0.54),
    ("ewc, forgetting", "layerwise_mask, forgetting", 0.41),
]
TRIALS = 6000


def beta(mean: float, deviation: float) -> Any:
    """Skewed towards its far end, as scores are that have an upper end."""
    size = mean * (1 - mean) / deviation**2 - 1
    return stats.beta(mean * size, (1 - mean) * size)


def trials(seeds: int) -> list[tuple[Values, float]]:
    """Samples `(TRIALS, seeds)` and the mean of what they are drawn from."""
    source = np.random.default_rng(seeds)
    found = [(beta(*of).rvs((TRIALS, seeds), random_state=source), of[0]) for of in SCORES.values()]
    for first, second, correlation in PAIRS:
        normal = source.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], (TRIALS, seeds))
        ours, theirs = (
            beta(*SCORES[name]).ppf(stats.norm.cdf(part)) for name, part in zip((first, second), normal.T, strict=True)
        )
        found.append(((ours - theirs).T, SCORES[first][0] - SCORES[second][0]))
    return found


def coverage(seeds: int, of: Intervals) -> Values:
    """In % of the trials, for each kind of sample."""
    ends = [(of(sample), mean) for sample, mean in trials(seeds)]
    return np.array([100 * np.mean((low <= mean) & (mean <= high)) for (low, high), mean in ends])


def ours(sample: Values) -> tuple[Values, Values]:
    (low,), (high,) = intervals([sample])
    return low, high


def bootstrap(method: Literal["percentile", "BCa"]) -> Intervals:
    def found(sample: Values) -> tuple[Values, Values]:
        drawn = stats.bootstrap(
            (sample[:1000],), np.mean, axis=-1, method=method, n_resamples=500, rng=np.random.default_rng(0)
        ).confidence_interval
        return np.asarray(drawn.low), np.asarray(drawn.high)

    return found


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_intervals_hold_the_mean_in_95_of_100_cases(seeds: int) -> None:
    found = coverage(seeds, ours)
    assert (found.min() >= 93, found.max() <= 97) == (True, True), found


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_bootstraps_do_not_with_few_seeds(method: Literal["percentile", "BCa"]) -> None:
    assert coverage(5, bootstrap(method)).max() < 90


def test_of_very_skewed_scores_students_t_still_misses_least() -> None:
    # Accuracies near 100 % with a head for each task (split digits, finetune): few seeds do not show the tail.
    sample = beta(0.926, 0.05).rvs((TRIALS, 5), random_state=np.random.default_rng(0))
    found = {}
    for name, of in {"t": ours, "percentile": bootstrap("percentile"), "BCa": bootstrap("BCa")}.items():
        low, high = of(sample)
        found[name] = 100 * np.mean((low <= 0.926) & (high >= 0.926))
    assert found["t"] > 90 > 85 > max(found["percentile"], found["BCa"])


def test_intervals_are_scipys_of_students_t() -> None:
    source = np.random.default_rng(5)
    samples = [source.normal(size=(2, seeds)) for seeds in (6, 3, 6, 1, 40)]
    low, high = intervals(samples)
    for number, sample in enumerate(samples):
        if sample.shape[1] == 1:
            assert np.isnan([low[number], high[number]]).all()
            continue
        expected = stats.ttest_1samp(sample, 0, axis=1).confidence_interval(0.95)
        np.testing.assert_allclose(low[number], expected.low)
        np.testing.assert_allclose(high[number], expected.high)


def test_equal_seeds_and_missing_values() -> None:
    low, high = intervals([np.array([[0.5, 0.5, 0.5], [0.1, np.nan, 0.2]])])
    assert (low[0, 0], high[0, 0]) == (0.5, 0.5)
    assert np.isnan([low[0, 1], high[0, 1]]).all()


def test_no_interval_goes_beyond_what_can_be(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.86, 0.9]):
        write_run(tmp_path / f"a{seed}", accuracy, seed, "ewc")
    for seed, accuracy in enumerate([0.01, 0.9]):
        write_run(tmp_path / f"b{seed}", accuracy, seed, "finetune")
    found = collect([tmp_path])
    table = summarise(found.table, ["method"], "average_accuracy").table
    assert table["method"].tolist() == ["ewc", "finetune"]
    assert table["average_accuracy_high"][0] == 1
    assert table["average_accuracy_low"][1] == 0
    assert table[["backward_transfer_low", "backward_transfer_high"]].iloc[1].tolist() == [-1, 1]
    difference = compare(found.table, found.settings, "method=ewc", "method=finetune").table.iloc[0]
    assert (difference["low"], difference["high"]) == (-1, 1)
    least, most = score_of(pd.DataFrame({"score": ["mse"]})).range_of(["average_mse", "backward_transfer"])
    assert (least.tolist(), most.tolist()) == ([0, -np.inf], [np.inf, np.inf])


def test_copies_of_runs_are_no_evidence(tmp_path: Path) -> None:
    accuracies = [0.689, 0.795, 0.74]
    for rate in (0.5, 0.7, 0.9, 0.95):
        for seed, accuracy in enumerate(accuracies):
            write_run(tmp_path / f"{rate}{seed}", accuracy, seed, "ewc", train__learning_rate=rate)
            other = accuracy - 0.1 - rate / 100
            write_run(tmp_path / f"m{rate}{seed}", other, seed, "global_mask", train__learning_rate=rate)
    runs = collect([tmp_path]).table
    once = summarise(runs[runs["train.learning_rate"] == 0.5], ["method"], "average_accuracy")
    pooled = summarise(runs, ["method"], "average_accuracy")
    ends = ["average_accuracy", "average_accuracy_low", "average_accuracy_high"]
    one, four = (found.table[ends].to_numpy(dtype=float)[0] for found in (once, pooled))
    np.testing.assert_allclose(four, one, rtol=1e-12)
    assert pooled.table[["seeds", "runs"]].to_numpy().tolist() == [[3, 12], [3, 12]]
    assert leads(pooled)["seeds"].tolist() == [3]


def test_a_seed_counts_once_however_many_runs_it_has(tmp_path: Path) -> None:
    for number in range(8):
        write_run(tmp_path / f"a{number}", 0.9, 0, "ewc", train__learning_rate=number + 1)
    write_run(tmp_path / "b", 0.5, 1, "ewc")
    row = summarise(collect([tmp_path]).table, ["method"], "average_accuracy").table.iloc[0]
    assert (row["average_accuracy"], row["seeds"], row["runs"]) == (pytest.approx(0.7), 2, 9)


def test_a_seed_that_lacks_a_metric_in_one_run_has_no_mean_of_it() -> None:
    runs = pd.DataFrame({"seed": [0, 0, 1], "a": [1.0, np.nan, 2.0], "b": [1.0, 3.0, 5.0]})
    np.testing.assert_equal(seed_means(runs, [], ["a", "b"]).to_numpy(), [[np.nan, 2], [2, 5]])
