"""Where Hydra looks for plugins. Imported at every start, so it imports little."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig


class StackedLauncher(Launcher):
    """`hydra/launcher=stacked`: computes the jobs of a sweep as a few stacks, see `cl_runner.launching`."""

    def __init__(self, size: int | None, workers: int | None) -> None:
        self._size, self._workers = size, workers

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before `launch`, with the config of the sweep."""
        self._hydra_context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a job for each list of overrides; the first has the number `initial_job_idx`."""
        from cl_runner.launching import launch

        return launch(
            self._hydra_context, self._config, job_overrides, initial_job_idx, size=self._size, workers=self._workers
        )


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, but what is wrong with a job of a stacked sweep is found by the launcher alone.

    Hydra composes every job once more beforehand and gives up the whole sweep for one that is wrong, in which time
    the launcher composes and writes it.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Called by Hydra with the overrides of all jobs."""
        if not isinstance(self.launcher, StackedLauncher):
            super().validate_batch_is_legal(batch)
