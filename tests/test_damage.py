"""Whatever is damaged in a finished run's directory is named, or makes no difference: in reports and in Python."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_runner import load_run
from cl_runner.cli.main import main
from cl_runner.errors import DamagedError
from cl_runner.report.collect import collect
from cl_runner.results.run import Run

SETTINGS = [
    "benchmark.tasks=2",
    "benchmark.train_samples=200",
    "model.hidden=[8]",
    "train.epochs=2",
    "fisher.samples=50",
    "method=global_mask",
    "freeze=0.3",
    "plots=none",
    "save=all",
    "data_dir=data",
]
TABLES = [
    "accuracy.csv",
    "accuracy_matrix.csv",
    "learning_curves.csv",
    "training.csv",
    "significance.csv",
    "significance_histograms.csv",
    "layers.csv",
    "mask_overlap.csv",
]
TENSORS = ["significance/task_2.safetensors", "masks/task_2.safetensors", "checkpoints/task_1.safetensors"]
FILES = [*TABLES, *TENSORS, "metrics.json", "run.json", ".hydra/config.yaml"]
# A run from before there were checksums tells these from another run's by what else it has of them.
TOLD_APART = ["accuracy.csv", "accuracy_matrix.csv", "learning_curves.csv", "metrics.json", *TENSORS]
TOLD_BY_BIT = ["accuracy.csv", "accuracy_matrix.csv", "metrics.json"]


def trained(folder: Path, name: str, seed: int) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["cl-run", f"hydra.run.dir={name}", f"seed={seed}", *SETTINGS])
        assert main() == 0
    return folder / name


def recorded(_: Path) -> None:
    """Leave a run as it is."""


def older(directory: Path) -> None:
    """Make it one from before there was a record."""
    file = directory / "run.json"
    facts = json.loads(file.read_text())
    kept = {
        key: value for key, value in facts.items() if key not in ("format", "settings", "sessions", "files", "checksum")
    }
    file.write_text(json.dumps(kept))
    file = directory / "metrics.json"
    metrics = json.loads(file.read_text())
    del metrics["format"]
    file.write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder, "one", 0), trained(folder, "two", 1)


def cut(content: bytes, _: bytes, source: np.random.Generator) -> bytes:
    return content[: source.integers(1, len(content))]


def halved(content: bytes, _: bytes, __: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2 + 1]) if len(lines) > 1 else content[: len(content) // 2]


def emptied(_: bytes, __: bytes, ___: np.random.Generator) -> bytes:
    return b""


def zeroed(content: bytes, _: bytes, source: np.random.Generator) -> bytes:
    """As a file system leaves what it has not written when the power goes."""
    start = source.integers(len(content) - 1)
    return content[:start] + bytes(len(content) - start)


def of_another(_: bytes, other: bytes, __: np.random.Generator) -> bytes:
    return other


def flipped(content: bytes, _: bytes, source: np.random.Generator) -> bytes:
    found = bytearray(content)
    for __ in range(source.integers(1, 4)):
        found[source.integers(len(found))] ^= 1 << source.integers(8)
    return bytes(found)


Way = Callable[[bytes, bytes, np.random.Generator], bytes]
PLAIN: list[Way] = [cut, halved, emptied, zeroed]


def network(run: Run) -> list[dict[str, torch.Tensor]]:
    return [run.network(task).state_dict() for task in (1, 2)]


READ: dict[str, Callable[[Run], Any]] = {
    **{name: methodcaller("table", name) for name in TABLES},
    **{
        name: attrgetter(name)
        for name in ("config", "metrics", "facts", "matrix", "score", "learning_curves", "significance", "masks")
    },
    "network": network,
}


def flat(value: Any) -> Iterator[Any]:
    """The numbers and words in a value."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from flat(inner)
    elif isinstance(value, list | tuple | np.ndarray | torch.Tensor):
        for inner in np.asarray(value, dtype=object if isinstance(value, list | tuple) else None).ravel().tolist():
            yield from flat(inner)
    else:
        yield value


def same(one: Any, two: Any) -> bool:
    first, second = list(flat(one)), list(flat(two))
    if len(first) != len(second):
        return False
    return all(
        a == b
        or (isinstance(a, float) and isinstance(b, float) and np.isclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True))
        for a, b in zip(first, second, strict=True)
    )


def everything(directory: Path) -> dict[str, Any]:
    """All that a run gives, and the report's row of it; where a file is named, None."""
    found: dict[str, Any] = dict.fromkeys([*READ, "report"])
    try:
        run = load_run(directory)
    except FileNotFoundError:
        pass
    else:
        for name, read in READ.items():
            with suppress(DamagedError):
                found[name] = read(run)
    runs = collect([directory])
    assert len(runs.table) + len(runs.left_out) == 1
    if len(runs.table):
        found["report"] = runs.table.drop(columns="directory").to_dict("records")
    return found


def test_a_whole_run_gives_all(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for kind in (older, recorded):
        run = shutil.copytree(pair[0], tmp_path / kind.__name__)
        kind(run)
        found = everything(run)
        assert all(value is not None for value in found.values())
        # The record is among the facts.
        assert same(found | {"facts": 0, "metrics": 0}, everything(pair[0]) | {"facts": 0, "metrics": 0})


@pytest.mark.parametrize("style", [recorded, older])
def test_damage_is_named_or_harmless(style: Callable[[Path], None], pair: tuple[Path, Path], tmp_path: Path) -> None:
    run, other = (shutil.copytree(path, tmp_path / path.name) for path in pair)
    style(run)
    style(other)
    whole, source = everything(run), np.random.default_rng(0)
    ways: list[tuple[str, Way]] = [(name, way) for name in FILES for way in PLAIN]
    ways += [(name, of_another) for name in (FILES if style is recorded else TOLD_APART)]
    flips = FILES if style is recorded else TOLD_BY_BIT
    ways += [(flips[number % len(flips)], flipped) for number in range(100 - len(ways))]
    assert len(ways) == 100
    silent, named = [], 0
    for name, way in ways:
        file, content = run / name, (run / name).read_bytes()
        file.write_bytes(way(content, (other / name).read_bytes(), source))
        found = everything(run)
        file.write_bytes(content)
        named += any(value is None for value in found.values())
        silent += [
            (name, way.__name__, key)
            for key, value in found.items()
            if value is not None and not same(value, whole[key])
        ]
    assert silent == []
    # Hardly anything is harmless by chance.
    assert named > 80


@pytest.mark.parametrize("style", [recorded, older])
@pytest.mark.parametrize("name", [*FILES, "masks/task_1.safetensors"])
def test_a_file_that_is_gone(style: Callable[[Path], None], name: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    run = shutil.copytree(pair[0], tmp_path / "run")
    style(run)
    whole = everything(run)
    (run / name).unlink()
    found = everything(run)
    assert all(value is None or same(value, whole[key]) for key, value in found.items())
    # What reads it, if anything does.
    assert any(value is None for value in found.values()) or (style is recorded and name == ".hydra/config.yaml")
