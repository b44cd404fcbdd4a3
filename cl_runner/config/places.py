"""Paths in settings."""

import os
from pathlib import Path

from cl_runner.errors import ConfigError


def place(key: str, given: str) -> Path:
    """The path that the setting `key` gives, with `~` and environment variables of the machine that reads it.

    Raises:
        ConfigError: a variable is not set.
    """
    expanded = os.path.expandvars(given)
    if "$" in expanded:
        raise ConfigError(f"{key}: {given} names a variable that is not set here")
    return Path(expanded).expanduser()
