"""Where presets lie, and a config composed of them."""

from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import DictConfig

from cl_runner.config.hydra_internals import IS_1_3

# What is said to Hydra of how to compose: 1.3 behaves as a version that is chosen, 1.4 warns of the choice.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_1_3 else {}
# And to its command line. 1.4 wants to know which callbacks and log handlers settings may name: any, for who writes
# the settings of a run writes its code as well.
MAIN = VERSION_BASE or {"execution_whitelist": vars(hydra.utils)["UNSAFE_DISABLE_EXECUTION_CHECKS"]}


def config_dir() -> Path:
    """Where the YAML files are: inside an installed package, or beside it in a checkout."""
    root = Path(__file__).parents[1]
    packaged = root / "conf"
    return packaged if packaged.is_dir() else root.parent / "conf"


def composed(*overrides: str) -> DictConfig:
    """The config of a run by these overrides, as the command line composes it, without Hydra's settings.

    Raises:
        HydraException: they cannot be composed.
    """
    with hydra.initialize_config_dir(str(config_dir()), **VERSION_BASE):
        return hydra.compose("config", overrides=list(overrides))
