"""The datasets: what is known of each, and the images, held whole as unsigned bytes."""

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from filelock import FileLock

from cl_runner.benchmarks.holdout import held_out
from cl_runner.config.arrays import array_file, read_arrays
from cl_runner.config.datasets import DATASETS, DatasetInfo
from cl_runner.config.places import place
from cl_runner.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch


_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
_RAW_FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
# The extracted files of MNIST. Of the other two only the archives have published sums, which torchvision
# checks after the download; their extracted files are checked by length.
_MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


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
    splits = _digits() if name == "digits" else _idx_files(name, place("data_dir", str(data_dir)))
    images, labels, test_images, test_labels = splits
    train, test = _samples(images, labels, train_samples), _samples(test_images, test_labels, test_samples)
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
        keep = _stratified(labels, count)[0]
        inputs, labels, tasks = inputs[keep], labels[keep], None if tasks is None else tasks[keep]
    of_tasks = None if tasks is None else torch.from_numpy(tasks.astype("int64"))
    return Samples(torch.from_numpy(inputs).flatten(1), torch.from_numpy(labels.astype("int64")), of_tasks)


def make_available(name: str, data_dir: str) -> None:
    """Download a dataset that other machines will read; nothing if it is there, or only they know where it is to be.

    Raises:
        DataError: it is missing and cannot be downloaded.
    """
    if name in _TORCHVISION and "$" not in data_dir:
        _download_if_missing(name, place("data_dir", str(data_dir)))


def _stratified(labels: "np.ndarray", samples: int) -> "tuple[np.ndarray, np.ndarray]":
    """Sorted indices of a stratified subset, the same at every call, and of the rest."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    chosen, rest = train_test_split(
        np.arange(len(labels)),
        train_size=samples,
        stratify=labels,
        random_state=0,
    )
    return np.sort(chosen), np.sort(rest)


def _digits() -> "tuple[np.ndarray, ...]":
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    train, test = _stratified(labels, DATASETS["digits"].train)
    images = pixels.astype(np.uint8)
    return images[train], labels[train], images[test], labels[test]


def _idx_files(name: str, data_dir: Path) -> "tuple[np.ndarray, ...]":
    from torchvision import datasets

    _download_if_missing(name, data_dir)
    _verify(name, data_dir / _TORCHVISION[name] / "raw")
    dataset = getattr(datasets, _TORCHVISION[name])
    train, test = dataset(data_dir, train=True), dataset(data_dir, train=False)
    return train.data.numpy(), train.targets.numpy(), test.data.numpy(), test.targets.numpy()


def _is_there(raw: Path) -> bool:
    return all((raw / file).exists() for file in _RAW_FILES)


def _download_if_missing(name: str, data_dir: Path) -> None:
    raw = data_dir / _TORCHVISION[name] / "raw"
    if _is_there(raw):
        return
    from torchvision import datasets

    absent = [folder for folder in (raw, *raw.parents) if not folder.exists()]
    lock = data_dir / f".{name}.lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Of many processes that miss it at once, one downloads it; beside its place, so that none sees half a file.
        with FileLock(lock):
            if not _is_there(raw):
                with TemporaryDirectory(prefix=".download-", dir=data_dir) as arriving:
                    getattr(datasets, _TORCHVISION[name])(arriving, download=True)
                    raw.mkdir(parents=True, exist_ok=True)
                    for file in _RAW_FILES:
                        (Path(arriving) / _TORCHVISION[name] / "raw" / file).replace(raw / file)
        _remove(lock)
    except (OSError, RuntimeError) as error:
        _remove(lock)
        for folder in absent:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"{name} is not in {data_dir.resolve()} and could not be downloaded ({reason}); set data_dir=DIR or "
            f"CL_RUNNER_DATA to the folder that holds {_TORCHVISION[name]}/raw, or use benchmark=permuted_digits with "
            "benchmark.dataset=digits, which needs no download"
        ) from error


def _remove(lock: Path) -> None:
    """Whoever waits for it looks once more whether the files are there, be it for this lock or for a new one."""
    with suppress(OSError):
        lock.unlink()


def _verify(name: str, raw: Path) -> None:
    info = DATASETS[name]
    for file in _RAW_FILES:
        count = info.train if file.startswith("train") else info.test
        expected = 16 + count * math.prod(info.shape) if "images" in file else 8 + count
        path = raw / file
        mend = f"delete {path.resolve()} to have it downloaded again, or put the right file there"
        size = path.stat().st_size
        if size != expected:
            raise DataError(
                f"{file} is {'truncated' if size < expected else 'altered'}: {size} bytes instead of {expected}; {mend}"
            )
        if name == "mnist":
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if digest != _MNIST_MD5[file]:
                raise DataError(f"{file} is altered: MD5 {digest} instead of {_MNIST_MD5[file]}; {mend}")
