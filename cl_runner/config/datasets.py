"""What is known of each dataset before it is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read; a curve has inputs of one number and no classes, but an output."""

    train: int
    test: int
    side: int
    scale: int
    classes: int = 10


DATASETS = {
    "digits": DatasetInfo(train=1297, test=500, side=8, scale=16),
    "mnist": DatasetInfo(train=60_000, test=10_000, side=28, scale=255),
    "fashion_mnist": DatasetInfo(train=60_000, test=10_000, side=28, scale=255),
    "kmnist": DatasetInfo(train=60_000, test=10_000, side=28, scale=255),
    "curve": DatasetInfo(train=300, test=300, side=1, scale=1, classes=1),
}
