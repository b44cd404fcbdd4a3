"""Stratified subsets: of each class its share."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def stratified(labels: NDArray[np.int64], samples: int) -> tuple[Indices, Indices]:
    """Sorted indices of a stratified subset, the same at every call, and of the rest.

    They are those of scikit-learn's `train_test_split` with `random_state=0`, which takes seconds to import.

    Args:
        labels: of all samples, `(N,)`.
        samples: size of the subset.
    """
    source = np.random.RandomState(0)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chosen = _shares(counts, samples, source)
    # The rest is all that is left of each class; the draw that decides on ties takes random numbers all the same.
    _shares(counts - chosen, len(labels) - samples, source)
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    orders = [of_class[source.permutation(len(of_class))] for of_class in members]
    subset = np.concatenate([order[:count] for order, count in zip(orders, chosen, strict=True)])
    rest = np.concatenate([order[count:] for order, count in zip(orders, chosen, strict=True)])
    return np.sort(subset), np.sort(rest)


def _shares(counts: NDArray[np.intp], draws: int, source: np.random.RandomState) -> NDArray[np.intp]:
    """How many of so many draws fall to each class: its share rounded down, and one more to those with the largest
    remainders, by lot among equal ones.
    """
    exact = counts / counts.sum() * draws
    shares = np.floor(exact)
    left = int(draws - shares.sum())
    for remainder in np.unique(exact - shares)[::-1]:
        if not left:
            break
        equal = np.flatnonzero(exact - np.floor(exact) == remainder)
        lucky = source.choice(equal, size=min(left, len(equal)), replace=False)
        shares[lucky] += 1
        left -= len(lucky)
    found: NDArray[np.intp] = shares.astype(np.intp)
    return found
