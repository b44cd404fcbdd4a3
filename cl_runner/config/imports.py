"""Objects of one's own code by their dotted names, and what is recorded of that code."""

import hashlib
import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any

from cl_runner.config.allowed import DottedName
from cl_runner.errors import ConfigError, in_words


def search_also(directory: str) -> None:
    """Have modules that are not among the installed packages looked for in `directory`."""
    if directory not in sys.path:
        sys.path.append(directory)
    # Files that are as young as this process may not be known yet.
    importlib.invalidate_caches()


def imported(key: str, name: str) -> Any:
    """What is called `name`, MODULE.OBJECT; the module is an installed one, or lies in the current directory, which is
    that in which the command was started.

    Raises:
        ConfigError: there is no such thing, or importing its module fails; the setting `key` asks for it.
    """
    module, _, attribute = name.rpartition(".")
    if not DottedName().allows(name):
        raise ConfigError(f"{key}: got {name!r}, allowed: {DottedName()}")
    search_also(str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise ConfigError(
                f"{key}: got {name}, allowed: a name in a module that is installed or lies in {Path.cwd()}, "
                f"and there is no module {missing}"
            ) from error
        raise ConfigError(f"{key}: got {name}, but importing {module} fails: {in_words(error)}") from error
    if not hasattr(found, attribute):
        raise ConfigError(
            f"{key}: got {name}, allowed: a name in the module {module} "
            f"({getattr(found, '__file__', None) or 'a folder'}), which has no {attribute}"
        )
    return getattr(found, attribute)


@cache
def file_and_hash(found: object) -> dict[str, str | None]:
    """The source file of a class or a function and its SHA-256; both None of what has none.

    They are those of when this was first asked: a file that is edited later is not what this process has imported.
    """
    try:
        file = inspect.getsourcefile(inspect.unwrap(found))  # type: ignore[arg-type] # or TypeError
        content = Path(file or "").read_bytes()
    except (TypeError, OSError):
        return {"file": None, "sha256": None}
    return {"file": file, "sha256": hashlib.sha256(content).hexdigest()}
