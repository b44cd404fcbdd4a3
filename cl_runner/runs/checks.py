"""From a composed Hydra config to a checked `Config`, with errors that name the field.

Nothing here imports torch unless a GPU is asked for, so that a bad setting is refused at once.
"""

import copy
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.datasets import DATASETS
from cl_runner.config.descriptions import describe
from cl_runner.config.refusals import refusal
from cl_runner.config.schema import LAUNCHERS, BenchmarkConfig, Config, SlurmLauncherConfig, SweeperConfig
from cl_runner.errors import ConfigError
from cl_runner.limits import cores

_LAUNCHER, _SWEEPER = "hydra.launcher", "hydra.sweeper"


def checked(composed: DictConfig, *, here: bool = True) -> Config:
    """The typed config; raises `ConfigError` for an unknown key, a missing value or one out of range, and if the run is
    to be trained `here`, for a device that this machine does not have.
    """
    composed = copy.deepcopy(composed)
    check_cores(composed, here=here)
    with open_dict(composed):
        composed.pop("hydra", None)
    _check_keys(composed, Config, prefix="")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        # An interpolation is looked up only now.
        raise refusal(error) from error
    assert isinstance(config, Config)
    check_ranges(config, Config)
    _check_together(config)
    if here:
        check_device(config.device)
    return config


def check_ranges(settings: Any, schema: type, prefix: str = "") -> None:
    """Each setting by itself, which is all that can be said of a sweep before its jobs are composed.

    Args:
        settings: an instance of `schema`, or a composed config, in which what a sweep has still to set may be missing.
        schema: the dataclass that says what is allowed.
        prefix: of the settings' names in messages.

    Raises:
        ConfigError: a value out of range.
    """
    for key, value, allowed in _limits(settings, schema, prefix):
        if not allowed.allows(value):
            given = "null" if value is None else value
            raise ConfigError(f"{key}: got {given}, allowed: {describe(key, schema)}")


def check_cores(composed: DictConfig, *, here: bool = True) -> None:
    """Whether the threads of a run, and of the runs that a launcher computes at the same time, have cores.

    More threads than cores are many times slower, not a little.

    Args:
        composed: with Hydra's settings or without; what a sweep has still to set may be missing.
        here: whether this machine computes them; elsewhere it is the allocation that counts.

    Raises:
        ConfigError: there are more, and `oversubscribe` does not ask for it.
    """
    threads, at_once = OmegaConf.select(composed, "threads") or 1, 1
    if OmegaConf.select(composed, "oversubscribe") or not isinstance(threads, int):
        return
    allowed, name = cores(), "the cores that this process may use"
    if not here:
        allowed = OmegaConf.select(composed, f"{_LAUNCHER}.cpus_per_task") or threads
        name = f"{_LAUNCHER}.cpus_per_task"
    else:
        for setting in ("workers", "array_parallelism"):
            key = f"{_LAUNCHER}.{setting}"
            at_once = OmegaConf.select(composed, key) or at_once
            # A GPU computes for any number of processes.
            if at_once * threads > allowed and at_once > 1 and OmegaConf.select(composed, "device") != "cuda":
                raise ConfigError(
                    f"{key}: got {at_once} with threads={threads}, allowed: at most {allowed} threads in all, {name}, "
                    "or oversubscribe=true"
                )
    if threads > allowed:
        raise ConfigError(f"threads: got {threads}, allowed: at most {allowed}, {name}, or oversubscribe=true")


def check_launcher(settings: DictConfig, sweep: Path) -> bool:
    """Whether the launcher of a sweep into this directory is one of ours.

    Raises:
        ConfigError: its settings are out of range, or it submits to SLURM where there is none, or has no use for the
            directory's name.
    """
    schema = LAUNCHERS.get(settings._target_.rpartition(".")[2]) if isinstance(settings, DictConfig) else None
    if schema is None:
        return False
    check_ranges(settings, schema, f"{_LAUNCHER}.")
    if "timeout_min" in settings and settings.signal_delay_s >= 60 * settings.timeout_min:
        raise ConfigError(
            f"{_LAUNCHER}.signal_delay_s: got {settings.signal_delay_s} with {_LAUNCHER}.timeout_min="
            f"{settings.timeout_min}, allowed: less than that limit, {60 * settings.timeout_min} seconds"
        )
    if "timeout_min" in settings and set(str(sweep.resolve())) & set("%\\\n"):
        # SLURM and submitit put numbers of jobs in for `%`, and the others end what they read of it.
        raise ConfigError(
            f"hydra.sweep.dir: got {str(sweep.resolve())!r}, allowed: a path without %, backslashes and ends of lines"
        )
    if schema is SlurmLauncherConfig and shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher: got slurm, but this machine has no SLURM (sbatch is not found), "
            "allowed: stacked, slurm_local"
        )
    return True


def check_sweeper(settings: DictConfig) -> None:
    """Raises `ConfigError` if a sweep's grids are not overrides by the names of grids."""
    # What is no sweeper at all Hydra refuses.
    if not isinstance(settings, DictConfig) or not settings._target_.endswith("GridSweeper"):
        return
    check_ranges(settings, SweeperConfig, f"{_SWEEPER}.")
    grids = settings.grids or {}
    if not all(isinstance(grid, DictConfig) for grid in grids.values()):
        raise ConfigError(f"{_SWEEPER}.grids: got {grids}, allowed: {describe(f'{_SWEEPER}.grids')}")


def _check_keys(node: DictConfig, schema: Any, prefix: str) -> None:
    hints = get_type_hints(schema)
    for name in map(str, node):
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: unknown setting, allowed: {describe(prefix + name)}")
    for name, kind in hints.items():
        if name not in node or OmegaConf.is_missing(node, name):
            raise ConfigError(f"{prefix}{name}: got nothing, allowed: {describe(prefix + name)}")
        if is_dataclass(kind):
            _check_keys(node[name], kind, f"{prefix}{name}.")


def _limits(settings: Any, schema: type, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    hints = get_type_hints(schema)
    for item in fields(schema):
        if isinstance(settings, DictConfig):
            if item.name not in settings:
                continue
            # Not as an attribute: a mapping has an `update` of its own.
            value = settings[item.name]
        else:
            value = getattr(settings, item.name)
        if is_dataclass(hints[item.name]):
            yield from _limits(value, hints[item.name], f"{prefix}{item.name}.")
        # What may be null is so by its type.
        elif "allowed" in item.metadata and not (value is None and type(None) in get_args(hints[item.name])):
            yield f"{prefix}{item.name}", value, item.metadata["allowed"]


def _check_together(config: Config) -> None:
    train, method = config.train, config.method
    if train.epochs is not None and train.iterations is not None:
        raise ConfigError(
            f"train.iterations: got {train.iterations} with train.epochs={train.epochs}, allowed: one of the two; "
            "set the other to null (train.epochs=null)"
        )
    if train.epochs is None and train.iterations is None:
        raise ConfigError("train.epochs: got null with train.iterations=null, allowed: one of the two set")
    if train.first_epochs is not None and train.iterations is not None:
        raise ConfigError(
            f"train.first_epochs: got {train.first_epochs} with train.iterations={train.iterations}, allowed: null"
        )
    _check_benchmark(config.benchmark)
    if method.joint and (method.penalty != "none" or method.mask != "none"):
        raise ConfigError(
            f"method.joint: got true with method.penalty={method.penalty} and method.mask={method.mask}, "
            "allowed: true only without penalty and mask, since each task starts from a fresh network"
        )


def _check_benchmark(benchmark: BenchmarkConfig) -> None:
    dataset, family = DATASETS[benchmark.dataset], benchmark.family
    if (family == "regression") != (benchmark.dataset == "curve"):
        others = "curve" if family == "regression" else ", ".join(name for name in DATASETS if name != "curve")
        raise ConfigError(f"benchmark.dataset: got {benchmark.dataset}, allowed: {others} (benchmark.family={family})")
    if family == "split":
        if benchmark.classes_per_task < 2:
            raise ConfigError("benchmark.classes_per_task: got 1, allowed: at least 2 in a split task")
        used = benchmark.tasks * benchmark.classes_per_task
        if used > dataset.classes:
            raise ConfigError(
                f"benchmark.tasks: got {benchmark.tasks} with benchmark.classes_per_task={benchmark.classes_per_task}, "
                f"allowed: at most {dataset.classes} classes in all"
            )
        order = benchmark.class_order
        if not isinstance(order, str) and (len(order) < used or max(order) >= dataset.classes):
            raise ConfigError(
                f"benchmark.class_order: got {order} with benchmark.tasks={benchmark.tasks} and "
                f"benchmark.classes_per_task={benchmark.classes_per_task}, allowed: at least {used} classes, each "
                f"from 0 to {dataset.classes - 1}"
            )
    elif benchmark.classes_per_task != dataset.classes:
        what = "has one output" if family == "regression" else "holds every class"
        raise ConfigError(
            f"benchmark.classes_per_task: got {benchmark.classes_per_task}, allowed: {dataset.classes} "
            f"(each {family} task {what})"
        )
    if family == "regression":
        if benchmark.scenario != "domain":
            raise ConfigError(f"benchmark.scenario: got {benchmark.scenario}, allowed: domain in a regression")
        return
    for key, wanted, whole in (
        ("train_samples", benchmark.train_samples, dataset.train),
        ("test_samples", benchmark.test_samples, dataset.test),
    ):
        # Stratified sampling needs as many samples as classes on both sides.
        if wanted is not None and wanted > whole - dataset.classes:
            raise ConfigError(
                f"benchmark.{key}: got {wanted}, allowed: at most {whole - dataset.classes}, "
                f"or null for all {whole} of {benchmark.dataset}"
            )


def check_device(name: str) -> None:
    """Raises `ConfigError` if this machine does not have the device."""
    if name not in ("cuda", "mps"):
        return
    import torch

    if not (torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()):
        raise ConfigError(f"device: got {name}, which this machine does not have, allowed here: auto, cpu")
