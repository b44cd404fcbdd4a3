"""Where presets lie, and a config composed of them."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

# Hydra 1.3 has behaviours of older versions to choose from; 1.4 has its own alone, and warns of the choice.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


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
