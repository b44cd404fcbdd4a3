"""From a composed Hydra config to a checked `Config`, with errors that name the field."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.combinations import check_combinations
from cl_runner.config.data import filled, input_shape
from cl_runner.config.ranges import check_keys, check_ranges
from cl_runner.config.refusals import refusal
from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError
from cl_runner.runs.machine import check_cores, check_device

# Of an entry that is a part.
_TARGET = "_target_"


def checked(composed: DictConfig, *, here: bool = True) -> Config:
    """The typed config, with what the data say filled in; raises `ConfigError` for an unknown key, a missing value or
    one out of range, for data that do not fit, and if the run is to be trained `here`, for a device that this machine
    does not have.
    """
    check_cores(composed, here=here)
    settings = copy.deepcopy(composed)
    with open_dict(settings):
        settings.pop("hydra", None)
    config = typed(settings)
    if here:
        check_device(config.device)
    return config


def typed(settings: DictConfig) -> Config:
    """The same of settings composed without Hydra's own, and without a look at what this machine has."""
    check_keys(settings, Config)
    try:
        config = OmegaConf.to_object(settings)
    except OmegaConfBaseException as error:
        # An interpolation is looked up only now.
        raise refusal(error) from error
    assert isinstance(config, Config)
    check_ranges(config, Config)
    config = replace(config, benchmark=filled(config.benchmark))
    check_combinations(config)
    config.method.parts = check_parts(config.method.parts, whole=True)
    if config.method.parts and config.method.joint:
        raise ConfigError(
            f"method.joint: got true with method.parts.{next(iter(config.method.parts))}, allowed: true only without "
            "parts, since each task starts from a fresh network"
        )
    if config.benchmark.family == "own":
        from cl_runner.benchmarks.own import check_own

        check_own(config.benchmark)
    if config.model.kind == "module":
        # Torch is needed to tell whether it can be trained.
        from cl_runner.engine.models import blueprint

        benchmark = config.benchmark
        blueprint(config.model, input_shape(benchmark), benchmark.outputs_of(benchmark.tasks))
    return config


def check_parts(parts: Mapping[str, Any], *, whole: bool = False) -> dict[str, dict[str, Any]]:
    """The parts of one's own with all of their settings, checked; needs torch if there are any.

    Settings of a part that the method does not have, as in a sweep over methods, are left out.

    Args:
        parts: what a config says of each.
        whole: whether no setting may be missing; those of a sweep have still to be set.

    Raises:
        ConfigError: no such part, or a setting that is wrong.
    """
    given = {name: part for name, part in parts.items() if not isinstance(part, Mapping) or _TARGET in part}
    if not given:
        return {}
    from cl_runner.methods.own import checked_part

    return {str(name): checked_part(str(name), part, whole=whole) for name, part in given.items()}
