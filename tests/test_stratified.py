"""Stratified subsets are scikit-learn's, so that what was trained on them before is trained on them now."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cl_runner.benchmarks.stratified import stratified

DIGITS = load_digits().target
UNEVEN = np.repeat(np.arange(6), [2, 3, 5, 8, 100, 7])
DRAWN = np.random.default_rng(0).integers(0, 10, 5000)


@pytest.mark.parametrize("labels", [DIGITS, UNEVEN, DRAWN, DRAWN * 3 - 7], ids=["digits", "uneven", "drawn", "numbers"])
def test_subsets_are_those_of_scikit_learn(labels: np.ndarray) -> None:
    classes, count = len(np.unique(labels)), len(labels)
    sizes = np.random.default_rng(1).integers(classes, count - classes, 40)
    for size in [classes, count - classes, *sizes.tolist()]:
        expected = train_test_split(np.arange(count), train_size=size, stratify=labels, random_state=0)
        found = stratified(labels, size)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.tolist() == sorted(theirs)
