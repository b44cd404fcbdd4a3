"""The jobs of a sweep: the union of its grids."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from cl_runner.config.overrides import with_entry
from cl_runner.errors import WrongCommandError

# More jobs than anyone waits for: it takes hours to compose them.
_MOST_JOBS = 100_000


def union_of_grids(
    params: Mapping[str, Any],
    grids: Mapping[str, Mapping[str, Any]],
    given: Sequence[str],
    presets: ConfigLoader | None = None,
) -> list[list[str]]:
    """The overrides of each job of a sweep: the products of `params` with each of `grids`, every job once.

    `params` vary slowest: where they are the seeds, more seeds add jobs and leave the numbers of the others.

    Args:
        params: overrides with sweep values, common to all grids.
        grids: by name, overrides with sweep values; they win over `params`. Empty: `params` alone make the sweep.
        given: the overrides of the command line; they win over both.
        presets: finds those that a `glob` matches.

    Raises:
        HydraException: a value that does not parse.
        WrongCommandError: there are no jobs, or far too many.
    """
    parser = OverridesParser.create(presets)
    overrides = parser.parse_overrides(list(given))
    common = _product([*parser.parse_overrides(_lines(params)), *overrides])
    wins = {override.get_key_element() for override in overrides}
    own = [
        _product(
            override for override in parser.parse_overrides(_lines(grid)) if override.get_key_element() not in wins
        )
        for grid in grids.values() or [{}]
    ]
    jobs: dict[frozenset[str], list[str]] = {}
    for start in common:
        for product in own:
            for end in product:
                keys = {_key(entry) for entry in end}
                job = [*(entry for entry in start if _key(entry) not in keys), *end]
                jobs.setdefault(frozenset(job), job)
    return list(jobs.values())


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [with_entry(f"{key}={'null' if value is None else value}") for key, value in settings.items()]


def _product(overrides: Iterable[Override]) -> list[list[str]]:
    # Of a key that comes twice the later counts, in the place of the earlier.
    values = {override.get_key_element(): _values(override) for override in overrides}
    if math.prod(map(len, values.values())) > _MOST_JOBS:
        swept = ", ".join(key for key, among in values.items() if len(among) > 1)
        raise WrongCommandError(f"{swept}: got a sweep of more than {_MOST_JOBS} jobs, allowed: fewer")
    lines = ([f"{key}={value}" for value in among] for key, among in values.items())
    return [list(job) for job in itertools.product(*lines)]


def _values(override: Override) -> list[str]:
    """What an override sets, in each job another; no more of them than tell that there are too many."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise WrongCommandError(f"{override.input_line}: got a sweep over all of an interval, allowed: some values")
    try:
        # A range may be endless, as good as.
        values = list(itertools.islice(override.sweep_string_iterator(), _MOST_JOBS + 1))
    except ValueError as error:
        raise WrongCommandError(f"{override.input_line}: {error}") from error
    if not values:
        raise WrongCommandError(f"{override.input_line}: got a sweep over nothing, allowed: one value at least")
    return values


def _key(override: str) -> str:
    return override.partition("=")[0]
