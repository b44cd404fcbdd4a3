"""From a composed Hydra config to a checked `Config`, with errors that name the field."""

import copy
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.combinations import check_combinations
from cl_runner.config.data import filled
from cl_runner.config.ranges import check_keys, check_ranges
from cl_runner.config.refusals import refusal
from cl_runner.config.schema import Config, MethodConfig
from cl_runner.runs.machine import check_cores, check_device


def checked(composed: DictConfig, *, here: bool = True) -> Config:
    """The typed config, with what the data say filled in; raises `ConfigError` for an unknown key, a missing value or
    one out of range, for data that do not fit, and if the run is to be trained `here`, for a device that this machine
    does not have.
    """
    composed = copy.deepcopy(composed)
    check_cores(composed, here=here)
    with open_dict(composed):
        composed.pop("hydra", None)
    check_keys(composed, Config)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        # An interpolation is looked up only now.
        raise refusal(error) from error
    assert isinstance(config, Config)
    check_ranges(config, Config)
    config = replace(config, benchmark=filled(config.benchmark))
    check_combinations(config)
    _check_parts(config.method)
    if here:
        check_device(config.device)
    return config


def _check_parts(method: MethodConfig) -> None:
    """Replace what is said of parts of one's own by all of their settings, checked; needs torch if there are any."""
    if method.parts:
        from cl_runner.methods.own import checked_part

        method.parts = {name: checked_part(name, given) for name, given in method.parts.items()}
