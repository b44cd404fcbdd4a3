"""The files of the datasets of images: where they are, downloaded, checked, and read."""

import hashlib
import importlib.util
import math
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from cl_runner.benchmarks.stratified import stratified
from cl_runner.config.datasets import DATASETS
from cl_runner.config.places import place
from cl_runner.errors import DataError

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

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


def make_available(name: str, data_dir: str) -> None:
    """Download a dataset that other machines will read; nothing if it is there, or only they know where it is to be.

    Raises:
        DataError: it is missing and cannot be downloaded.
    """
    if name in _TORCHVISION and "$" not in data_dir:
        _download_if_missing(name, place("data_dir", str(data_dir)))


def digits() -> Arrays:
    """scikit-learn's handwritten digits: images `(N, 64)` and labels `(N,)` for training, and for testing.

    They are read from the file that the package brings, since to import it takes as long as to import torch.
    """
    package = importlib.util.find_spec("sklearn")
    assert package
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        pixels, labels = table[:, :-1], table[:, -1]
    else:
        # It lies elsewhere in a version to come.
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    train, test = stratified(labels, DATASETS["digits"].train)
    images = pixels.astype(np.uint8)
    return images[train], labels[train], images[test], labels[test]


def images(name: str, data_dir: Path) -> Arrays:
    """A dataset in MNIST's format: images `(N, height, width)` and labels `(N,)` for training, and for testing.

    Args:
        name: of the dataset.
        data_dir: root of the files in torchvision's layout, into which they are downloaded at first use.

    Raises:
        DataError: a file is missing and cannot be downloaded, or is truncated or altered.
    """
    _download_if_missing(name, data_dir)
    raw = data_dir / _TORCHVISION[name] / "raw"
    _verify(name, raw)
    found = []
    for file in _RAW_FILES:
        header, shape = (16, (-1, *DATASETS[name].shape[1:])) if "images" in file else (8, (-1,))
        found.append(np.fromfile(raw / file, np.uint8, offset=header).reshape(shape))
    return found[0], found[1], found[2], found[3]


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
