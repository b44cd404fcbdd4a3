"""cl-runner: a config-driven experiment runner for continual learning."""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_runner.cli.api import run, sweep
    from cl_runner.results.run import load_run

__all__ = ["load_run", "run", "sweep"]

# About when the process started; a run of the command line counts its seconds from here.
IMPORTED = time.perf_counter()

_PLACES = {"load_run": "cl_runner.results.run", "run": "cl_runner.cli.api", "sweep": "cl_runner.cli.api"}


def __getattr__(name: str) -> Any:
    # Imported when asked for: they need torch or Hydra, which takes seconds.
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'cl_runner' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
