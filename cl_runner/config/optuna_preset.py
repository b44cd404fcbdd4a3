"""`hydra/sweeper=optuna` is the preset of another package, hydra-optuna-sweeper; here are its defaults for our runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from cl_runner.errors import RunError

_DEFAULTS = {
    "direction": "maximize",
    # Of the trials of a batch: one that diverges is no reason to end the search.
    "max_failure_rate": 1.0,
    # Instead of null, to which the command line can add nothing.
    "params": {},
}


@contextmanager
def suited_optuna() -> Iterator[None]:
    """Meanwhile the preset, if the package is here, has these defaults. It is that of the whole process, and so of
    other applications too.

    Raises:
        RunError: every trial failed.
    """
    # Imports what stores it.
    Plugins.instance()
    presets = ConfigStore.instance().repo["hydra"]["sweeper"]
    if "optuna.yaml" not in presets:
        yield
        return
    # Of each of its parts it says at length that it is imported.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    before = presets["optuna.yaml"]
    presets["optuna.yaml"] = replace(before, node=OmegaConf.merge(before.node, _DEFAULTS))
    try:
        yield
    except ValueError as error:
        if str(error) != "No trials are completed yet.":
            raise
        # It asks for the best of them. Why each one failed was told.
        raise RunError("no trial is complete") from error
    finally:
        presets["optuna.yaml"] = before
