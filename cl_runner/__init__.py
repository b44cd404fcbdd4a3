"""cl-runner: a config-driven experiment runner for continual learning."""

import time
from typing import Any

__all__ = ["load_run"]

# About when the process started; a run counts its seconds from here.
IMPORTED = time.perf_counter()


def __getattr__(name: str) -> Any:
    # Imported when asked for: it needs torch, which the command line's help does not.
    if name == "load_run":
        from cl_runner.results.run import load_run

        return load_run
    raise AttributeError(f"module 'cl_runner' has no attribute {name!r}")
