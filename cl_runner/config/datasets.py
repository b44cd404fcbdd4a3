"""What is known of the built-in datasets before they are read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read; `shape` is of an input, `scale` its largest number, of arrays known
    once they are divided. A curve has no classes, but an output.
    """

    train: int
    test: int
    shape: tuple[int, ...]
    scale: float
    classes: int = 10


DATASETS = {
    "digits": DatasetInfo(train=1297, test=500, shape=(1, 8, 8), scale=16),
    "mnist": DatasetInfo(train=60_000, test=10_000, shape=(1, 28, 28), scale=255),
    "fashion_mnist": DatasetInfo(train=60_000, test=10_000, shape=(1, 28, 28), scale=255),
    "kmnist": DatasetInfo(train=60_000, test=10_000, shape=(1, 28, 28), scale=255),
    "curve": DatasetInfo(train=300, test=300, shape=(1,), scale=1, classes=1),
}
