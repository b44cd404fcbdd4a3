"""Which directory of a sweep is whose: a job is known by the settings that act in it, and not by its number.

So a sweep that is started again with more values, or others, finds what was trained before, whatever the order, and
what is new gets the next number that is free. `jobs.json` in the sweep's directory tells which overrides led where.
"""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError, DamagedError
from cl_runner.methods.acting import acting_settings
from cl_runner.results.files import COMPLETE, JOBS, RECORD, has_state, is_complete, run_directories, write_atomically
from cl_runner.results.reading import TABLE, parse_json, read_bytes
from cl_runner.results.record import belongs, read_record


class Directories:
    """The directories of a sweep's runs.

    Args:
        sweep: the sweep's directory.
        at_work: those in it that are computed elsewhere, or are to be.

    Attributes:
        damaged: why a run's settings, or all of a directory, cannot be read; that is left alone.
    """

    def __init__(self, sweep: Path, at_work: Collection[Path]) -> None:
        self._sweep, self._taken = sweep, set(at_work)
        self._of: dict[str, Path] = {}
        self._led = {frozenset(overrides): directory for overrides, directory in led(sweep)}
        self.damaged: dict[Path, str] = {}

        def unread(place: Path, problem: str) -> None:
            self.damaged[place] = f"{place}: {problem}"

        for directory in run_directories([sweep], unread):
            try:
                record = read_record(directory)
                if belongs(record, directory):
                    self._of.setdefault(_key(record.settings), directory)
                else:
                    self.damaged[directory] = f"{directory}: its {COMPLETE} and its {RECORD} do not belong together"
            except FileNotFoundError as error:
                if not is_complete(directory) and not has_state(directory):
                    # Of a job that failed before it was known what it is.
                    continue
                self.damaged[directory] = str(error)
            except DamagedError as error:
                self.damaged[directory] = str(error)
            self._taken.add(directory)
        numbers = [int(directory.name) for directory in self._taken if directory.name.isdecimal()]
        self._next = max(numbers, default=-1) + 1

    def of(self, config: Config) -> Path | None:
        """Where this run lies; None if nowhere."""
        return self._of.get(_key(config))

    def new(self, composed: DictConfig, number: int, config: Config) -> Path:
        """A directory for a run that has none: that of its job's number, or of the next that is free, which `composed`
        is told.

        Raises:
            ConfigError: the settings give it one that is another's, whatever its number.
        """
        before = None
        for candidate in self._candidates(number):
            with open_dict(composed):
                composed.hydra.job.id, composed.hydra.job.num = str(candidate), candidate
            directory = self._sweep / str(composed.hydra.sweep.subdir)
            if os.path.relpath(directory, self._sweep)[:2] in (os.curdir, os.pardir):
                raise ConfigError(
                    f"hydra.sweep.subdir: gives {directory}, allowed: a directory inside {self._sweep}, where the "
                    "sweep looks for its jobs"
                )
            if directory == before:
                whose = self.damaged.get(directory) or "another job has it"
                raise ConfigError(f"hydra.sweep.subdir: gives {directory}, allowed: one for each job, and {whose}")
            if self._is_free(directory):
                break
            before = directory
        self._taken.add(directory)
        self._of[_key(config)] = directory
        return directory

    def of_failed(self, overrides: Sequence[str], number: int) -> Path:
        """A directory for the reason why a job could not be composed: the same each time."""
        directory = self._led.get(frozenset(overrides))
        numbers = self._candidates(number)
        while directory is None or not self._is_free(directory):
            directory = self._sweep / str(next(numbers))
        self._taken.add(directory)
        return directory

    def leads(self, overrides: Sequence[str], directory: Path) -> None:
        """A job of these overrides has this directory."""
        self._led[frozenset(overrides)] = directory

    def save(self) -> None:
        """Write down where all jobs of the sweep, these and earlier ones, were led."""
        entries = [
            {"overrides": sorted(overrides), "directory": os.path.relpath(directory, self._sweep)}
            for overrides, directory in self._led.items()
        ]
        write_atomically(self._sweep / JOBS, (json.dumps(entries, indent=1) + "\n").encode())

    def _is_free(self, directory: Path) -> bool:
        """Whether it is no other job's, and no file, nor a link that leads nowhere, is in its place."""
        return directory not in self._taken and (directory.is_dir() or not os.path.lexists(directory))

    def _candidates(self, number: int) -> Iterator[int]:
        yield number
        while True:
            self._next += 1
            if self._next - 1 != number:
                yield self._next - 1


def led(sweep: Path) -> list[tuple[list[str], Path]]:
    """Overrides of the jobs of a sweep and where they led, as far as that was written down and can be read."""
    try:
        entries = parse_json(sweep / JOBS, read_bytes(sweep / JOBS, TABLE))
        found = [(list(map(str, entry["overrides"])), os.path.normpath(entry["directory"])) for entry in entries]
    except (DamagedError, LookupError, TypeError):
        return []
    # Somebody else may have written it.
    return [(overrides, sweep / name) for overrides, name in found if name[:2] != ".." and not Path(name).is_absolute()]


def _key(config: Config) -> str:
    """The same text for two runs that are one."""
    return json.dumps(acting_settings(config), sort_keys=True)
