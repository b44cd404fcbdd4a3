"""The errors that end a run, each with the exit code of the process."""


class RunError(Exception):
    """An error whose message is one line for the user; no traceback is shown."""

    exit_code = 1


class ConfigError(RunError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(RunError):
    """A data file that is missing, truncated or altered."""


class ResourceError(RunError):
    """Too little memory for the run."""


class DivergenceError(RunError):
    """A loss or parameter that became infinite or not a number."""
