"""cl-runner: a config-driven experiment runner for continual learning."""

from typing import Any

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: it needs torch, which the command line's help does not.
    if name == "load_run":
        from cl_runner.results import load_run

        return load_run
    raise AttributeError(f"module 'cl_runner' has no attribute {name!r}")
