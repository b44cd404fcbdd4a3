"""What a run writes into its directory, and how: nothing half-written ever has its final name.

Tables that grow as the run goes are appended line by line; all else is written to a temporary file and
renamed. Figures aside, `metrics.json` comes last and marks the run complete. What it and the state rely on is on the
disk before them, so that a power failure leaves nothing that is false.
"""

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from cl_runner.errors import StateError
from cl_runner.metrics import SCORES, ScoreName, continual_metrics
from cl_runner.results.files import (
    COMPLETE,
    FAILED,
    LOG,
    RECORD,
    STATE,
    TASKS,
    clear_temporaries,
    is_complete,
    mark_failed,
    naming,
    sync,
    write_atomically,
    write_durably,
)
from cl_runner.results.record import FORMAT, complete, remove_unsaved
from cl_runner.results.tables import columns_of, short
from cl_runner.runs.evaluation import Score, Scores
from cl_runner.runs.overlap import Overlap
from cl_runner.runs.state import Matrix, RunState
from cl_runner.runs.task_state import TaskState
from cl_runner.runs.training import Epoch

# Those that grow as the run goes.
_TABLES = ["training.csv", "learning_curves.csv", "significance.csv", "significance_histograms.csv", "layers.csv"]
_SHORT_EPOCH = 0.1
_FOLDERS = ["significance", "masks", "checkpoints"]
_FILES = [
    *(f"{score}{suffix}" for score in SCORES for suffix in (".csv", "_matrix.csv", "_matrix.png")),
    "learning_curves.csv",
    "fit.png",
    "mask_overlap.csv",
    "mask_overlap.png",
    "significance_histograms.png",
    "training.png",
    FAILED,
]


class Recorder:
    """Writes one run's results into `directory`: from the start, or going on from `state`. Whatever else an
    unfinished run left there is cleared.

    Tasks are numbered from 1, layers from 0; `row` is the run's row in its stack. `failure` is the reason why it
    failed, if it did. Scores go into files and columns named after the score; `shared` is whether tasks share their
    outputs, `parts` are those of one's own in its method, `validated` is whether it has validation scores too, `save`
    says which tasks' tensors stay once the run is complete: `all`, those of the `last`, or none. Raises
    `FileExistsError` if the directory holds a finished run, `StateError` if tables are shorter than `state` has them,
    or files of earlier tasks damaged.
    """

    def __init__(
        self,
        directory: Path,
        tasks: int,
        score: ScoreName,
        state: RunState | None = None,
        *,
        shared: bool = True,
        parts: Sequence[str] = (),
        validated: bool = False,
        save: str = "all",
    ) -> None:
        self.directory, self.score, self.shared = directory, score, shared
        self.failure: str | None = None
        self._save = save
        if is_complete(directory):
            raise FileExistsError(f"{directory} holds a finished run")
        directory.mkdir(parents=True, exist_ok=True)
        for place in (directory, *(directory / name for name in _FOLDERS)):
            clear_temporaries(place)
        # One that is damaged.
        (directory / COMPLETE).unlink(missing_ok=True)
        self.matrix = np.full((tasks + 1, tasks), np.nan)
        self.validation_matrix = self.matrix.copy() if validated else None
        self._epochs: list[list[Any]] = []
        self._terms = ("penalty", "l1", *parts)
        names = [*_TABLES, f"{score}.csv"]
        self._columns = {name: list(columns_of(name, score, parts=parts, validated=validated)) for name in names}
        if state:
            self._go_on(state)
        else:
            self._start()
        self._unsynced = self._found()

    def _found(self) -> set[Path]:
        """What is here so far, which nobody may have synced."""
        folders = [self.directory / name for name in (".hydra", *_FOLDERS)]
        files = [self.directory / name for name in (*self._columns, *_FILES, LOG)]
        inside = [path for folder in folders for path in folder.glob("*")]
        return {path for path in (self.directory.parent, self.directory, *folders, *files, *inside) if path.exists()}

    def _start(self) -> None:
        for name in [*self._columns, *_FILES, STATE]:
            (self.directory / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            (self.directory / name).mkdir(exist_ok=True)
            for left in (self.directory / name).glob("task_*.safetensors"):
                left.unlink()
        for name, columns in self._columns.items():
            with naming(self.directory / name), (self.directory / name).open("x", newline="") as file:
                csv.writer(file).writerow(columns)

    def _go_on(self, state: RunState) -> None:
        for name, length in state.tables.items():
            file = self.directory / name
            # After a power failure, say. It would be filled up with zeros.
            if not file.exists() or file.stat().st_size < length:
                raise StateError(
                    f"{file} is shorter than its state says: delete {self.directory / STATE} to start the run anew"
                )
        for task, folder in itertools.product(range(1, state.task + 1), _FOLDERS):
            file = self._tensors(folder, task)
            try:
                with safe_open(file, "np"):
                    pass
            except (SafetensorError, OSError) as error:
                raise StateError(
                    f"{file} is damaged or gone: delete {self.directory / STATE} to start the run anew"
                ) from error
        (self.directory / FAILED).unlink(missing_ok=True)
        self.matrix[:] = state.matrices["test"]
        if self.validation_matrix is not None:
            self.validation_matrix[:] = state.matrices["validation"]
        for name, length in state.tables.items():
            os.truncate(self.directory / name, length)

    def tables(self) -> dict[str, int]:
        """Length in bytes of each table, with all rows so far in it."""
        self._write_epochs()
        return {name: (self.directory / name).stat().st_size for name in self._columns}

    def tasks(self, described: Sequence[Mapping[str, Any]]) -> None:
        """Write what each task is."""
        lines = (f'"{task}": {json.dumps(what)}' for task, what in enumerate(described, 1))
        self._write(TASKS, ("{\n" + ",\n".join(lines) + "\n}\n").encode())

    def written(self) -> set[Path]:
        """Files and directories that changed since this was asked before, for `cl_runner.results.files.sync`."""
        changed, self._unsynced = self._unsynced, set()
        return changed

    def scores(self, after_task: int, scores: Scores, row: int) -> None:
        """A row of the matrices: the scores on every task after `after_task` tasks."""
        for matrix, of_split in ((self.matrix, scores.test), (self.validation_matrix, scores.validation)):
            if matrix is not None and of_split is not None:
                matrix[after_task] = [float(score.score[row]) for score in of_split]
        lines = ([field for score in of_task for field in _fields(score, row)] for of_task in _by_task(scores))
        self._append(f"{self.score}.csv", ([after_task, number, *line] for number, line in enumerate(lines, 1)))

    def epoch(self, task: int, epoch: Epoch, row: int) -> None:
        """Loss terms and speed of an epoch; the seconds of a stack are shared out evenly among its rows."""
        found = [float(epoch.terms[name][row]) if name in epoch.terms else 0.0 for name in self._terms]
        terms = list(map(short, [float(epoch.data_loss[row]), *found]))
        seconds = epoch.seconds / len(epoch.data_loss)
        speed = round(epoch.samples / epoch.seconds, 1)
        self._epochs.append([task, epoch.number, *terms, round(seconds, 6), speed])
        # Short epochs by the thousand are written a hundred at a time: opening a file takes as long as some of them.
        if epoch.seconds > _SHORT_EPOCH or len(self._epochs) == 100 or epoch.number == epoch.counts[row]:
            self._write_epochs()

    def _write_epochs(self) -> None:
        self._append("training.csv", self._epochs)
        self._epochs.clear()

    def curve_point(self, task: int, epoch: int, scores: Scores, row: int) -> None:
        """Scores on the tasks so far, in the course of training `task`."""
        lines = ([short(score.score[row]) for score in of_task] for of_task in _by_task(scores))
        self._append("learning_curves.csv", ([task, epoch, number, *line] for number, line in enumerate(lines, 1)))

    def task(self, state: TaskState) -> None:
        """Write the state after a task."""
        for name, content in state.files.items():
            self._write(name, content)
        for name, rows in state.rows.items():
            self._append(name, rows)

    def score_matrix(self) -> None:
        """Write the matrix `(T, T)`: rows after task i, columns on task j."""
        name = f"{self.score}_matrix.csv"
        rows = ([after, *map(short, self.matrix[after])] for after in range(1, len(self.matrix)))
        self._table(name, list(columns_of(name, self.score, self.matrix.shape[1])), rows)

    def mask_overlap(self, overlaps: Iterable[Overlap]) -> None:
        """Write how much the masks of every two tasks have in common."""
        rows = ([*item[:3], short(item.jaccard), short(item.chance)] for item in overlaps)
        self._table("mask_overlap.csv", list(columns_of("mask_overlap.csv", self.score)), rows)

    @property
    def matrices(self) -> dict[str, Matrix]:
        """The scores so far by split."""
        found = {"test": self.matrix, "validation": self.validation_matrix}
        return {split: matrix.tolist() for split, matrix in found.items() if matrix is not None}

    @property
    def metrics(self) -> dict[str, Any]:
        """Of the whole matrices, once they are whole."""
        found = continual_metrics(self.matrix, self.score, shared=self.shared)
        if self.validation_matrix is None:
            return found
        return found | {"validation": continual_metrics(self.validation_matrix, self.score, shared=self.shared)}

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Complete the run's record, then write the metrics: from here on the run is complete."""
        (self.directory / FAILED).unlink(missing_ok=True)
        metrics, unsaved = _as_json({"format": FORMAT, **self.metrics}), self._unsaved()
        complete(self.directory, facts, metrics, unsaved)
        sync({*self.written(), self.directory / RECORD, self.directory} - unsaved)
        write_durably([(self.directory / COMPLETE, metrics)])
        (self.directory / STATE).unlink(missing_ok=True)
        remove_unsaved(self.directory)

    def _unsaved(self) -> set[Path]:
        """The tensors that do not stay. Overlaps of masks need them, and a run that goes on with another `save`."""
        tasks = self.matrix.shape[1]
        gone = {"tables": tasks, "last": tasks - 1}.get(self._save, 0)
        return {self._tensors(folder, task) for folder, task in itertools.product(_FOLDERS, range(1, gone + 1))}

    def _tensors(self, folder: str, task: int) -> Path:
        return self.directory / folder / f"task_{task}.safetensors"

    def note(self, warning: str) -> None:
        """Add a warning to the run's log file, if that can be written."""
        with suppress(OSError), (self.directory / LOG).open("a", encoding="utf-8") as file:
            file.write(f"[{datetime.now():%Y-%m-%d %H:%M:%S}][cl_runner][WARNING] {warning}\n")

    def fail(self, reason: str) -> None:
        """Mark the run as failed."""
        self.failure = reason
        (self.directory / STATE).unlink(missing_ok=True)
        mark_failed(self.directory, reason)

    def _table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([header, *rows])
        self._write(name, text.getvalue().encode())

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        write_atomically(path, content)
        self._unsynced |= {path, path.parent}

    def _append(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        with naming(self.directory / name), (self.directory / name).open("a", newline="") as file:
            csv.writer(file).writerows(rows)
        self._unsynced.add(self.directory / name)


def _by_task(scores: Scores) -> Iterator[tuple[Score, ...]]:
    """The scores on each task, over one split after the other."""
    return zip(*filter(None, (scores.test, scores.validation)), strict=True)


def _fields(score: Score, row: int) -> list[float | str]:
    return [short(score.score[row]), short(score.loss[row]), int(score.samples[row])]


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
