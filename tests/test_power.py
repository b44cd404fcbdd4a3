"""The power fails at any moment: nothing that is there then is false, and runs go on from it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig
from test_resuming import SMALL, same
from test_runner import Silent

from cl_runner.results.files import COMPLETE, STATE, is_complete
from cl_runner.runs.loop import run_stack
from cl_runner.runs.state import load_state

Image = dict[str, bytes]


class Disk:
    """Knows what was synced below `root`, and collects what a power failure may leave there.

    Before and after each change to what says how far a run is, two images are taken: the system may have put all names
    on the disk since they were synced, or none. Of files either has what was synced; one that never was is empty.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.images, self.events = root, list[Image](), list[tuple[str, str]]()
        self._contents: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        self._held: list[int] = []
        self._real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "replace", self._replace)
        monkeypatch.setattr(os, "unlink", self._unlink)

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def _fsync(self, descriptor: int) -> None:
        self._real["fsync"](descriptor)
        path, found = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
        self.events.append(("sync", path.name))
        # While it is open its number is no other's.
        self._held.append(os.dup(descriptor))
        if stat.S_ISDIR(found.st_mode):
            self._names[path] = {item.name: item.stat().st_ino for item in path.iterdir()}
        else:
            self._contents[found.st_ino] = path.read_bytes()

    def _replace(self, source: Path, target: Path) -> None:
        self._around("replace", target, source, target)

    def _unlink(self, path: Path, **named: Any) -> None:
        self._around("unlink", path, path, **named)

    def _around(self, name: str, target: Path, *arguments: Path, **named: Any) -> None:
        telling = Path(target).name in (STATE, COMPLETE)
        if telling:
            self.events.append((name, Path(target).name))
            self._take()
        self._real[name](*arguments, **named)
        if telling:
            self._take()

    def _take(self) -> None:
        for image in (dict(self._seen(self.root, synced=True)), dict(self._seen(self.root, synced=False))):
            if image not in self.images:
                self.images.append(image)

    def _seen(self, place: Path, *, synced: bool) -> Iterator[tuple[str, bytes]]:
        now = {item.name: item.stat().st_ino for item in place.iterdir()} if place.exists() else {}
        names = self._names.get(place, {}) if synced else now
        for name, number in names.items():
            if (place / name).is_dir():
                yield from self._seen(place / name, synced=synced)
            else:
                yield str((place / name).relative_to(self.root)), self._contents.get(number, b"")


def test_whenever_the_power_fails_the_runs_go_on(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [make_config(*SMALL, "method=global_mask", f"seed={seed}", "train.epochs=1") for seed in (0, 1)]
    names = ["0", "1"]
    with monkeypatch.context() as patch:
        disk = Disk(tmp_path / "undisturbed", patch)
        run_stack(configs, [tmp_path / "undisturbed" / name for name in names], Silent())
        disk.close()
    # Two tasks were followed by another; what counted before is there besides what counts now.
    assert len(disk.images) > 10
    positions, complete = set(), 0
    for number, image in enumerate(disk.images):
        for path, content in image.items():
            (tmp_path / str(number) / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / str(number) / path).write_bytes(content)
        for config, name in zip(configs, names, strict=True):
            run, undisturbed = tmp_path / str(number) / name, tmp_path / "undisturbed" / name
            if (run / COMPLETE).exists():
                assert is_complete(run)
                complete += 1
            else:
                assert not (run / STATE).exists() or (run / STATE).stat().st_size > 0
                state = load_state(run, config)
                positions.add(state and state.task)
                run_stack([config], [run], Silent())
            (run / STATE).unlink(missing_ok=True)
            same(undisturbed, run)
    assert complete > 0
    assert positions == {None, 1, 2}


def test_what_is_relied_on_is_synced_before(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(tmp_path, patch)
        run_stack(
            [make_config(*SMALL, "method=ewc", "train.epochs=1", "benchmark.tasks=2")], [tmp_path / "0"], Silent()
        )
        disk.close()
    saved, finished = (disk.events.index(("replace", name)) for name in (STATE, COMPLETE))
    removed = disk.events.index(("unlink", STATE), finished)
    before = {name for _, name in disk.events[:saved]}
    assert {"accuracy.csv", "training.csv", "layers.csv", "significance.csv", "task_1.safetensors", "masks"} <= before
    between = {name for _, name in disk.events[saved:finished]}
    assert {"0", "accuracy.csv", "accuracy_matrix.csv", "run.json", "task_2.safetensors", "checkpoints"} <= between
    assert ("sync", "0") in disk.events[finished:removed]
    # And the temporary file is whole before it has its name: this is the last sync before.
    assert disk.events[saved - 1][1].endswith(".tmp")
    assert disk.events[finished - 1][1].endswith(".tmp")
