"""Where Hydra looks for plugins. Imported at every start, so it imports little."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from cl_runner.config.schema import SweeperConfig

# The sweeper is part of every composition.
ConfigStore.instance().store(group="hydra/sweeper", name="cl_runner_schema", node=SweeperConfig)

# More jobs than anyone waits for: it takes hours to compose them.
_MOST_JOBS = 100_000


class _SweepLauncher(Launcher):
    """Computes the jobs of a sweep as stacks; finds its settings in the sweep's config."""

    def __init__(self, **_: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before `launch`, with the config of the sweep."""
        self._hydra_context, self._config = hydra_context, config


class StackedLauncher(_SweepLauncher):
    """`hydra/launcher=stacked`: by this machine, see `cl_runner.sweeps.stacked`."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a job for each list of overrides; the first has the number `initial_job_idx`."""
        from cl_runner.sweeps.stacked import launch

        return launch(self._hydra_context, self._config, job_overrides, initial_job_idx)


class SlurmLauncher(_SweepLauncher):
    """`hydra/launcher=slurm`: as batch jobs of a cluster, see `cl_runner.sweeps.slurm`."""

    cluster: Literal["slurm", "local"] = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit a job for each list of overrides; the first has the number `initial_job_idx`."""
        from cl_runner.sweeps.slurm import launch

        return launch(self._hydra_context, self._config, job_overrides, initial_job_idx, self.cluster)


class SlurmLocalLauncher(SlurmLauncher):
    """`hydra/launcher=slurm_local`: the same without a cluster, by processes that outlive this one."""

    cluster = "local"


class _EveryBatch(Launcher):
    """Has a launcher begin every batch of a sweep, whatever became of the jobs of those before."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._returns: list[JobReturn] = []
        self._refused: Exception | None = None
        self._wrong: dict[Path, str] = {}
        self.is_ours = isinstance(launcher, _SweepLauncher)

    def setup(self, **_: Any) -> None:
        """The launcher is ready."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Called by Hydra for each batch. It gives up the sweep for a failed job that it is given back."""
        from cl_runner.errors import RefusedError

        try:
            self._returns += self._launcher.launch(job_overrides, initial_job_idx)
        except RefusedError as error:
            self._refused = error
            self._wrong.update(error.reasons)
        return []

    def returns(self) -> list[JobReturn]:
        """Those of all batches.

        Raises:
            RefusedError: none of the jobs could be begun.
            Exception: the reason of a job that failed.
        """
        from cl_runner.errors import ConfigError
        from cl_runner.results.files import mark_failed

        if self._refused and not self._returns:
            raise self._refused
        for directory, reason in self._wrong.items():
            # Other batches were begun.
            mark_failed(directory, reason)
        for job in self._returns:
            # Raises the reason if it failed.
            _ = job.return_value
        if self._refused:
            raise ConfigError("no job of a batch could be begun") from self._refused
        return self._returns


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper with four differences.

    A sweep may be a union of grids, see `union_of_grids`. One that is refused leaves the record of the sweep before.
    What is wrong with a job of a stacked sweep is found by the launcher alone: Hydra composes every job once more
    beforehand and gives up the whole sweep for one that is wrong, in which time the launcher composes and writes it.
    And where a sweep has batches, a job that fails keeps none of them from being begun.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, Any] | None,
        grids: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        super().__init__(max_batch_size, _as_text(params or {}))
        self._grids = grids or {}

    def sweep(self, arguments: list[str]) -> Any:
        """Called by Hydra, which records the sweep in its directory before any job is composed."""
        from cl_runner.errors import RefusedError

        assert self.config is not None
        assert self.launcher is not None
        launching = self.launcher = _EveryBatch(self.launcher)
        record = Path(self.config.hydra.sweep.dir) / "multirun.yaml"
        before = record.read_bytes() if record.exists() else None
        try:
            super().sweep(arguments)
            return launching.returns()
        except RefusedError:
            # What lies there is still that of the sweep before.
            if before is not None:
                record.write_bytes(before)
            raise

    def split_arguments(  # type: ignore[override] # Hydra's is static, but called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Called by Hydra with the overrides of `params`, then those of the command line; gives batches of jobs.

        Raises:
            WrongCommandError: no jobs or far too many, or several presets that are sweeps of their own.
        """
        assert self.hydra_context is not None
        given = [override.input_line or "" for override in overrides[len(self.params) :]]
        jobs = union_of_grids(self.params, self._grids, given, self.hydra_context.config_loader)
        self._refuse_sweeps_within(overrides)
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def _refuse_sweeps_within(self, overrides: Sequence[Override]) -> None:
        """A preset's own sweep is that of the command that names it alone; among others it would be passed over."""
        from cl_runner.errors import WrongCommandError

        assert self.config is not None
        assert self.hydra_context is not None
        own = self.config.hydra.sweeper
        presets = [override for override in overrides if override.key_or_group == "experiment"]
        for override in presets[-1:] if presets and presets[-1].is_sweep_override() else []:
            names = list(override.sweep_string_iterator())
            for name in names:
                composed = self.hydra_context.config_loader.load_sweep_config(self.config, [f"experiment={name}"])
                if any(composed.hydra.sweeper.get(key) != own.get(key) for key in ("params", "grids")):
                    raise WrongCommandError(
                        f"experiment: got {','.join(names)}, and {name} is a sweep of its own, allowed: "
                        f"one such preset a sweep, cl-run -m experiment={name}"
                    )

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Called by Hydra with the overrides of all jobs."""
        from cl_runner.signals import held_back

        assert isinstance(self.launcher, _EveryBatch)
        if self.launcher.is_ours:
            return
        for job in batch:
            with held_back():
                super().validate_batch_is_legal([job])


def union_of_grids(
    params: Mapping[str, Any],
    grids: Mapping[str, Mapping[str, Any]],
    given: Sequence[str],
    presets: ConfigLoader | None = None,
) -> list[list[str]]:
    """The overrides of each job of a sweep: the products of `params` with each of `grids`, every job once.

    `params` vary slowest: where they are the seeds, more seeds add jobs and leave the numbers of the others.

    Args:
        params: overrides with sweep values, common to all grids.
        grids: by name, overrides with sweep values; they win over `params`. Empty: `params` alone make the sweep.
        given: the overrides of the command line; they win over both.
        presets: finds those that a `glob` matches.

    Raises:
        HydraException: a value that does not parse.
        WrongCommandError: there are no jobs, or far too many.
    """
    parser = OverridesParser.create(presets)
    overrides = parser.parse_overrides(list(given))
    common = _product([*parser.parse_overrides(_lines(params)), *overrides])
    wins = {override.get_key_element() for override in overrides}
    own = [
        _product(
            [override for override in parser.parse_overrides(_lines(grid)) if override.get_key_element() not in wins]
        )
        for grid in grids.values() or [{}]
    ]
    jobs: dict[frozenset[str], list[str]] = {}
    for start in common:
        for product in own:
            for end in product:
                keys = {_key(entry) for entry in end}
                job = [*(entry for entry in start if _key(entry) not in keys), *end]
                jobs.setdefault(frozenset(job), job)
    return list(jobs.values())


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in _as_text(settings).items()]


def _product(overrides: list[Override]) -> list[list[str]]:
    from cl_runner.errors import WrongCommandError

    numbers = {}
    for override in overrides:
        if override.is_discrete_sweep():
            # A range may be endless, as good as.
            try:
                number = sum(1 for _ in islice(override.sweep_iterator(), _MOST_JOBS + 1))
            except ValueError as error:
                raise WrongCommandError(f"{override.input_line}: {error}") from error
            numbers[override.get_key_element()] = number
            if not number:
                raise WrongCommandError(f"{override.input_line}: got a sweep over nothing, allowed: one value at least")
    if math.prod(numbers.values()) > _MOST_JOBS:
        raise WrongCommandError(f"{', '.join(numbers)}: got a sweep of more than {_MOST_JOBS} jobs, allowed: fewer")
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return jobs


def _key(override: str) -> str:
    return override.partition("=")[0]


def _as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    return {key: "null" if value is None else str(value) for key, value in settings.items()}
