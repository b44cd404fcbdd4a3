"""The settings of a sweep: of what computes it, and of what it is made of. As in `cl_runner.config.schema` values stand
in ``conf/`` only, here are names, types and what is allowed.
"""

from dataclasses import dataclass, field
from typing import Any

from cl_runner.config.allowed import Choice, InStep, PlainData, Range, Words

# Upper ends as of a run's settings: what is above is a slip.
_MANY = 10_000_000
_PETABYTE = 1e6
_YEAR = 525_600


@dataclass
class StackedLauncherConfig:
    """How `hydra/launcher=stacked` computes a sweep."""

    _target_: str
    size: int | None = field(metadata={"allowed": Range(1, _MANY)})
    workers: int | None = field(metadata={"allowed": Range(1, 1024)})


@dataclass
class SlurmLocalLauncherConfig:
    """How `hydra/launcher=slurm_local` submits the stacks of a sweep; the names are submitit's, but for the first."""

    _target_: str
    size: int | None = field(metadata={"allowed": Range(1, _MANY)})
    wait: bool
    array_parallelism: int | None = field(metadata={"allowed": Range(1, 100_000)})
    timeout_min: int = field(metadata={"allowed": Range(1, _YEAR)})
    # SLURM's own end.
    signal_delay_s: int = field(metadata={"allowed": Range(0, 65_535)})
    gpus_per_node: int | None = field(metadata={"allowed": Range(0, 1024)})
    setup: list[str] = field(metadata={"allowed": Words()})


@dataclass
class SlurmLauncherConfig(SlurmLocalLauncherConfig):
    """How `hydra/launcher=slurm` submits them; null leaves a setting to the site."""

    name: str
    partition: str | None
    qos: str | None
    account: str | None
    constraint: str | None
    exclude: str | None
    gres: str | None
    cpus_per_task: int | None = field(metadata={"allowed": Range(1, 65_536)})
    mem_gb: float | None = field(metadata={"allowed": Range(0, _PETABYTE, open_low=True)})
    max_num_timeout: int = field(metadata={"allowed": Range(0, _MANY)})
    additional_parameters: list[str] = field(metadata={"allowed": Words()})


# By the name of the class that Hydra makes of each.
LAUNCHERS = {
    "StackedLauncher": StackedLauncherConfig,
    "SlurmLauncher": SlurmLauncherConfig,
    "SlurmLocalLauncher": SlurmLocalLauncherConfig,
}


@dataclass
class SweeperConfig:
    """What a sweep is made of, besides the command line: see `cl_runner.sweeps.grids.union_of_grids`."""

    _target_: str
    max_batch_size: int | None = field(metadata={"allowed": Range(1, _MANY)})
    params: dict[str, Any] | None = field(metadata={"words": "overrides by key, as in {seed: '0,1,2'}"})
    grids: dict[str, Any] | None = field(
        metadata={
            "words": "names of grids, each with its overrides, as in {masks: {method: global_mask, freeze: '0.5,0.9'}}"
        }
    )
    zipped: list[Any] = field(metadata={"allowed": InStep()})
    fail_fast: bool


@dataclass
class OptunaConfig:
    """What of the settings of `hydra/sweeper=optuna`, another package's, is not any number."""

    n_trials: int = field(metadata={"allowed": Range(1, _MANY)})
    n_jobs: int = field(metadata={"allowed": Range(1, _MANY)})
    max_failure_rate: float = field(metadata={"allowed": Range(0, 1)})


@dataclass
class SearchSweeperConfig:
    """What `hydra/sweeper=search` looks for, and how: see `cl_runner.sweeps.search`."""

    _target_: str
    space: dict[str, Any] = field(
        metadata={"words": 'ranges by key, as in {freeze: "uniform(0.1, 0.99)", method.ewc_lambda: "log(1, 1e6)"}'}
    )
    trials: int = field(metadata={"allowed": Range(1, 100_000)})
    batch: int = field(metadata={"allowed": Range(1, 10_000)})
    seeds: int = field(metadata={"allowed": Range(1, 1000)})
    fresh_seeds: int = field(metadata={"allowed": Range(2, 1000)})
    sampler: str = field(metadata={"allowed": Choice(("tpe", "random", "cmaes", "qmc", "gp"))})
    sampler_arguments: dict[str, Any] = field(metadata={"allowed": PlainData()})
    pruner: str = field(metadata={"allowed": Choice(("successive_halving", "hyperband", "median", "none"))})
    pruner_arguments: dict[str, Any] = field(metadata={"allowed": PlainData()})
    # Of Optuna's samplers.
    seed: int = field(metadata={"allowed": Range(0, 2**32 - 1)})


# Those with settings of their own; a name that two have is of the first.
SWEEPERS = (SweeperConfig, SearchSweeperConfig)
