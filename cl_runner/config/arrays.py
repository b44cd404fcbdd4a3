"""Arrays of one's own in an npz file: whether tasks can be made of them, and what is known of them.

Nothing in a file is run: arrays of Python objects, which are pickled, are refused.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cl_runner.config.datasets import DatasetInfo
from cl_runner.config.places import place
from cl_runner.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]

_SPLITS = ("train", "test")
_REQUIRED = [f"{kind}_{split}" for split in _SPLITS for kind in "xy"]
_TASKS = [f"t_{split}" for split in _SPLITS]
# Numbers that are looked at in one piece, so that a file of any size needs little memory beside its own.
_PIECE = 2**24


@dataclass(frozen=True)
class ArrayFile:
    """What is known of a file: `info`; the SHA-256 of its content; how many tasks its task ids tell apart, 0 if it has
    none; and how many training and test samples the smallest class has.
    """

    info: DatasetInfo
    sha256: str
    tasks: int
    fewest: tuple[int, int]


class _UnfitError(Exception):
    """What is wrong with a file, and what is allowed."""


def array_file(path: str) -> ArrayFile:
    """What is known of the file that the setting `benchmark.path` gives.

    Raises:
        ConfigError: there is no such file, or tasks cannot be made of what it holds.
    """
    try:
        file = place("benchmark.path", path).resolve()
        status = file.stat()
        if not file.is_file():
            raise _UnfitError("which is no file", "an npz file")
        return _known(file, (status.st_size, status.st_mtime_ns))
    except OSError as error:
        reason = f"which cannot be read ({error.strerror})"
        raise ConfigError(f"benchmark.path: got {path}, {reason}, allowed: an npz file") from error
    except _UnfitError as error:
        problem, allowed = error.args
        raise ConfigError(f"benchmark.path: got {path}, {problem}, allowed: {allowed}") from error


def read_arrays(path: str) -> "Arrays":
    """The arrays of a file that `array_file` has found right, by name: inputs, labels, and task ids if it has them."""
    return _read(place("benchmark.path", path))


# Of the jobs of a sweep most have the same file; a file that has changed since is another one.
@lru_cache(maxsize=8)
def _known(file: Path, _: tuple[int, int]) -> ArrayFile:
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    arrays = _read(file)
    _check_inputs(arrays)
    classes = _count(arrays, "y", "labels")
    if classes < 2:
        raise _UnfitError("whose y_train holds one class", "at least 2 classes")
    tasks = _count(arrays, "t", "task ids") if "t_train" in arrays else 0
    x = arrays["x_train"]
    shape = (1, *x.shape[1:]) if x.ndim == 3 else x.shape[1:]
    info = DatasetInfo(len(x), len(arrays["x_test"]), shape, 1.0, classes)
    smallest = [int(_counts(arrays[f"y_{split}"]).min()) for split in _SPLITS]
    return ArrayFile(info, sha256, tasks, (smallest[0], smallest[1]))


def _read(file: Path) -> "Arrays":
    import numpy as np

    wanted = f"an npz file with {', '.join(_REQUIRED)}, and if it is to tell tasks apart {' and '.join(_TASKS)}"
    with file.open("rb") as content:
        try:
            opened = np.load(content, allow_pickle=False)
        except OSError:
            raise
        except Exception as error:
            raise _UnfitError("which is no npz file", wanted) from error
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise _UnfitError("which holds one array", wanted)
        names = _REQUIRED + (_TASKS if any(name in opened for name in _TASKS) else [])
        for name in names:
            if name not in opened:
                raise _UnfitError(f"which has no {name}", wanted)
        return {name: _array(opened, name) for name in names}


def _array(opened: "np.lib.npyio.NpzFile", name: str) -> "np.ndarray":
    try:
        found: np.ndarray = opened[name]
    except Exception as error:
        # NumPy's words for objects, which it would have to unpickle, are clear.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _UnfitError(f"whose {name} cannot be read ({reason})", "arrays of numbers") from error
    return found


def _check_inputs(arrays: "Arrays") -> None:
    import numpy as np

    for split in _SPLITS:
        name, x = f"x_{split}", arrays[f"x_{split}"]
        if x.dtype not in (np.uint8, np.float32):
            raise _UnfitError(f"whose {name} is of {x.dtype}", "uint8 or float32, as in x.astype('float32')")
        if x.ndim not in (2, 3, 4):
            shapes = "vectors (N, D), or images (N, H, W) or (N, C, H, W)"
            raise _UnfitError(f"whose {name} has the shape {x.shape}", shapes)
        if x.size == 0:
            raise _UnfitError(f"whose {name} has the shape {x.shape}", "at least one sample")
        if x.dtype == np.float32 and not all(np.isfinite(piece).all() for piece in _pieces(x)):
            raise _UnfitError(f"whose {name} holds NaN or infinity", "finite numbers")
        for other in (f"y_{split}", f"t_{split}"):
            if other in arrays and arrays[other].shape != (len(x),):
                problem = f"whose {other} has the shape {arrays[other].shape} and {name} {x.shape}"
                raise _UnfitError(problem, f"one entry of {other} for each of {name}, ({len(x)},)")
    train, test = arrays["x_train"], arrays["x_test"]
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        problem = f"whose x_train holds {train.shape[1:]} of {train.dtype} and x_test {test.shape[1:]} of {test.dtype}"
        raise _UnfitError(problem, "samples of one shape and type")


def _count(arrays: "Arrays", kind: str, words: str) -> int:
    """How many classes or tasks there are, which are numbered from 0."""
    import numpy as np

    for split in _SPLITS:
        name, numbers = f"{kind}_{split}", arrays[f"{kind}_{split}"]
        if numbers.dtype.kind not in "iu":
            raise _UnfitError(f"whose {name} is of {numbers.dtype}", f"{words} that are integers")
        found = np.unique(numbers)
        if found[0] < 0:
            raise _UnfitError(f"whose {name} holds {found[0]}", f"{words} from 0")
        if found[-1] != len(found) - 1:
            absent = int(np.argmax(found != np.arange(len(found))))
            raise _UnfitError(f"whose {name} holds {found[-1]} but no {absent}", f"{words} from 0 without gaps")
    counts = {split: len(np.unique(arrays[f"{kind}_{split}"])) for split in _SPLITS}
    if counts["train"] != counts["test"]:
        problem = f"whose {kind}_train holds {counts['train']} {words} and {kind}_test {counts['test']}"
        raise _UnfitError(problem, "the same in both")
    return counts["train"]


def _counts(labels: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.unique(labels, return_counts=True)[1]


def _pieces(x: "np.ndarray") -> "list[np.ndarray]":
    rows = max(1, _PIECE // x[0].size)
    return [x[start : start + rows] for start in range(0, len(x), rows)]
