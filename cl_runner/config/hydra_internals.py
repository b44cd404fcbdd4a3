"""What depends on the version of Hydra, and what is taken of it that is not of its public interface, and why."""

from argparse import Namespace

import hydra
from hydra._internal import defaults_list
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args_parser

IS_1_3 = hydra.__version__.startswith("1.3.")

# A glob of a recorded sweep is of presets where that sweep found them; Hydra's public functions look in the folders of
# this process.
LOADER, SEARCH_PATH = ConfigLoaderImpl, ConfigSearchPathImpl

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
