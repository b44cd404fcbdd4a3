import math

import numpy as np
import pytest

from cl_runner.results.significance import BIN_WIDTH, log_histogram


def test_statistics_of_log10() -> None:
    values = np.array([0.0, 0.0, 1e-3, 2e-3, 2.1e-3, 2.2e-3, 1.0, 1e-9])
    found = log_histogram(values)
    logs = np.log10(values[values > 0])
    assert found.zero_share == 0.25
    assert found.median == pytest.approx(np.median(logs))
    assert found.p5 == pytest.approx(np.percentile(logs, 5))
    assert abs(found.mode - math.log10(2.1e-3)) <= BIN_WIDTH / 2
    assert found.counts.sum() == 6


def test_bins_lie_on_a_common_grid() -> None:
    for seed in range(5):
        edges = log_histogram(np.random.default_rng(seed).lognormal(-5, 3, 1000)).edges
        assert np.array_equal(edges, np.round(edges / BIN_WIDTH) * BIN_WIDTH)


def test_all_zero() -> None:
    found = log_histogram(np.zeros((3, 4)))
    assert found.zero_share == 1
    assert math.isnan(found.mode)
    assert found.counts.size == 0
