"""Which runs are the same: settings that do nothing in a run are no part of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_runner.config.schema import Config
from cl_runner.methods.acting import idle_settings
from cl_runner.report.scores import METRICS
from cl_runner.report.settings import NAMES, shown


@dataclass(frozen=True)
class Repeat:
    """A run with the settings and the seed of `first`, which counts in its stead.

    What differs between the two does nothing in them: `idle` has these settings by name, with the reason; none if all
    are the same. `alike`: their metrics are the same, too.
    """

    directory: Path
    first: Path
    idle: dict[str, str]
    alike: bool


def without_idle(row: Mapping[str, Any], config: Config) -> tuple[dict[str, Any], dict[str, str]]:
    """A run's settings with null for those that do nothing in it, and these with the reason."""
    idle = {NAMES.get(key, key): reason for key, reason in idle_settings(config).items()}
    return {key: None if key in idle else value for key, value in row.items()}, idle


def take_repeats(
    found: dict[Path, dict[str, Any]], configs: Mapping[Path, Config], keys: Sequence[str]
) -> list[Repeat]:
    """Take out all but the first of the runs `found` that agree in `keys` but for settings that do nothing in them.

    These are null in `found` then.
    """
    first: dict[tuple[str, ...], tuple[Path, dict[str, Any]]] = {}
    repeats = []
    for directory, row in list(found.items()):
        found[directory], idle = without_idle(row, configs[directory])
        same, other = first.setdefault(tuple(shown(found[directory].get(key)) for key in keys), (directory, row))
        if same != directory:
            differing = {key: reason for key, reason in idle.items() if shown(row.get(key)) != shown(other.get(key))}
            alike = all(shown(row.get(name)) == shown(other.get(name)) for name in METRICS)
            repeats.append(Repeat(directory, same, differing, alike))
            del found[directory]
    return repeats
