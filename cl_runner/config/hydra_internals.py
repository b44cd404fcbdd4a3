"""What depends on the version of Hydra, and what is taken of it, and of OmegaConf, that is not of their public
interface, and why.
"""

from argparse import Namespace
from typing import Any

import hydra
import yaml
from hydra._internal import defaults_list
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from omegaconf._utils import get_omega_conf_dumper

IS_1_3 = hydra.__version__.startswith("1.3.")

# A glob of a recorded sweep is of presets where that sweep found them; Hydra's public functions look in the folders of
# this process.
LOADER, SEARCH_PATH = ConfigLoaderImpl, ConfigSearchPathImpl

# Jobs of a sweep are composed from what they have in common by the step of `load_sweep_config` that sets their values.
APPLY_OVERRIDES = ConfigLoaderImpl._apply_overrides_to_config

# Some errors do not tell what they are about: it is known by which of these functions they came through.
CREATE_CALLBACKS = Callbacks.__init__
LOAD_CONFIG = ConfigLoaderImpl._load_configuration_impl
LOAD_DEFAULTS = defaults_list._create_defaults_tree_impl
LOAD_PRESET = ConfigRepository.load_config


def parse_options() -> Namespace:
    """Parse the command line, with options between overrides too, as Hydra does from 1.4 on, which answers a wrong one
    by its whole usage.

    Raises:
        SystemExit: an option that there is not. argparse writes about it to standard error.
    """
    return get_args_parser().parse_intermixed_args()


def name_overrides(config: DictConfig, overrides: list[Override]) -> None:
    """Set `hydra.job.override_dirname` of a job; from 1.4 on it is looked up."""
    if IS_1_3:
        from hydra._internal.config_loader_impl import get_overrides_dirname

        form = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=overrides, kv_sep=form.kv_sep, item_sep=form.item_sep, exclude_keys=form.exclude_keys
        )


def yaml_of(plain: Any) -> str:
    """What `OmegaConf.to_yaml` makes of plain data, without making nodes of them first, which takes three times as
    long."""
    text: str = yaml.dump(
        plain, Dumper=get_omega_conf_dumper(), default_flow_style=False, allow_unicode=True, sort_keys=False
    )
    return text
