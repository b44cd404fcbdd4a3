"""Where Hydra looks for plugins. Imported at every start, and by every Hydra application, so it imports little.

Hydra 1.3 takes plugins of this package alone; later ones are told of them by entry points.
"""

from collections.abc import Sequence
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cl_runner.config.schema import Config
from cl_runner.config.sweep_schema import (
    SearchSweeperConfig,
    SlurmLauncherConfig,
    SlurmLocalLauncherConfig,
    StackedLauncherConfig,
    SweeperConfig,
)

# Hydra's store is that of the process, and so of others too: names there are ours alone.
_STORE = ConfigStore.instance().store
_STORE(name="cl_runner_schema", node=Config)
_STORE(group="hydra/sweeper", name="cl_runner_schema", node=SweeperConfig)
_STORE(group="hydra/sweeper", name="search_schema", node=SearchSweeperConfig)
_STORE(group="hydra/launcher", name="stacked_schema", node=StackedLauncherConfig)
_STORE(group="hydra/launcher", name="slurm_schema", node=SlurmLauncherConfig)
_STORE(group="hydra/launcher", name="slurm_local_schema", node=SlurmLocalLauncherConfig)


class GridSweeper(Sweeper):
    """`hydra/sweeper=cl_runner`: see `cl_runner.sweeps.sweeper`; finds its settings in the sweep's config."""

    def __init__(self, **_: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`, with the config of the sweep."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Have the jobs launched that `arguments`, the overrides of the command line, add to those of the config."""
        from cl_runner.sweeps.sweeper import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        return sweep(self.config, self.hydra_context.config_loader, self.launcher, arguments)


class SearchSweeper(Sweeper):
    """`hydra/sweeper=search`: see `cl_runner.sweeps.search`; finds its settings, and the launcher's, in the sweep's
    config.
    """

    def __init__(self, **_: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before `sweep`, with the config of the sweep."""
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        """Search, with `arguments` as the overrides of the command line."""
        from cl_runner.sweeps.search.sweeper import search

        assert self.config is not None
        assert self.hydra_context is not None
        search(self.hydra_context, self.config, arguments)


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
