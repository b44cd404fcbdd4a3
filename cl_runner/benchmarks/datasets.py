"""The datasets: what is known of each, and the images, held whole as unsigned bytes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cl_runner.benchmarks.holdout import held_out
from cl_runner.benchmarks.image_files import digits, images
from cl_runner.benchmarks.stratified import stratified
from cl_runner.config.arrays import array_file, read_arrays
from cl_runner.config.datasets import DATASETS, DatasetInfo
from cl_runner.config.places import place
from cl_runner.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Samples:
    """Inputs `(N, D)`, bytes from 0 to `DatasetInfo.scale` or float32; labels `(N,)` as int64; and where the data say
    of which task each is, these numbers `(N,)`.
    """

    inputs: "torch.Tensor"
    labels: "torch.Tensor"
    tasks: "torch.Tensor | None" = None

    def taken(self, index: "torch.Tensor") -> "Samples":
        """Those of these indices."""
        return Samples(self.inputs[index], self.labels[index], None if self.tasks is None else self.tasks[index])


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, and what is held out of the training set, if anything."""

    info: DatasetInfo
    train: Samples
    test: Samples
    validation: Samples | None = None


def _dataset(info: DatasetInfo, train: Samples, test: Samples, validation: float | None) -> Dataset:
    """With a fraction of the training set held out: of each class, and where the data say of which task samples are, of
    each task.
    """
    if validation is None:
        return Dataset(info, train, test)
    groups = train.labels if train.tasks is None else train.labels + (1 + train.labels.max()) * train.tasks
    kept, held = held_out(groups, validation)
    return Dataset(info, train.taken(kept), test, train.taken(held))


def load_dataset(
    name: str,
    data_dir: str | Path,
    train_samples: int | None = None,
    test_samples: int | None = None,
    validation: float | None = None,
) -> Dataset:
    """Read a dataset of images, downloading it into `data_dir` at first use.

    Args:
        name: a key of `DATASETS`, but no curve.
        data_dir: root of the files in torchvision's layout; digits need none.
        train_samples: size of a fixed stratified subset of the training set, which leaves out at least one sample
            for each class; all of it if None.
        test_samples: the same of the test set.
        validation: fraction of these training samples to be held out from training, the same ones always; none if None.

    Raises:
        DataError: a file is missing and cannot be downloaded, or is truncated or altered.
    """
    splits = digits() if name == "digits" else images(name, place("data_dir", str(data_dir)))
    train, test = _samples(*splits[:2], train_samples), _samples(*splits[2:], test_samples)
    return _dataset(DATASETS[name], train, test, validation)


def load_arrays(
    path: str,
    sha256: str | None,
    train_samples: int | None = None,
    test_samples: int | None = None,
    validation: float | None = None,
) -> Dataset:
    """Read arrays of one's own.

    Args:
        path: of an npz file that `cl_runner.config.arrays.array_file` has found right.
        sha256: of its content.
        train_samples, test_samples, validation: as of `load_dataset`.

    Raises:
        DataError: the file is not the one with that content.
    """
    found = array_file(path)
    if found.sha256 != sha256:
        raise DataError(f"{path} is another file than its run was begun with, which has the SHA-256 {sha256}")
    arrays = read_arrays(path)
    train = _samples(arrays["x_train"], arrays["y_train"], train_samples, arrays.get("t_train"))
    test = _samples(arrays["x_test"], arrays["y_test"], test_samples, arrays.get("t_test"))
    dataset = _dataset(found.info, train, test, validation)
    whole = not dataset.train.inputs.is_floating_point()
    scale = float(dataset.train.inputs.max() or 1) if whole else 1.0
    return replace(dataset, info=replace(found.info, scale=scale))


def _samples(
    inputs: "np.ndarray", labels: "np.ndarray", count: int | None, tasks: "np.ndarray | None" = None
) -> Samples:
    """All of them, or a stratified subset of `count`."""
    import torch

    if count is not None:
        keep = stratified(labels, count)[0]
        inputs, labels, tasks = inputs[keep], labels[keep], None if tasks is None else tasks[keep]
    of_tasks = None if tasks is None else torch.from_numpy(tasks.astype("int64"))
    return Samples(torch.from_numpy(inputs).flatten(1), torch.from_numpy(labels.astype("int64")), of_tasks)
