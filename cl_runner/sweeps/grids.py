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
    zipped: Sequence[Sequence[str]] = (),
) -> list[list[str]]:
    """The overrides of each job of a sweep: the products of `params` with each of `grids`, every job once.

    `params` vary slowest: where they are the seeds, more seeds add jobs and leave the numbers of the others. Settings
    that are `zipped` vary in step, each of a group by its next value; in a grid that has one of a group, the others
    vary with that.

    Args:
        params: overrides with sweep values, common to all grids.
        grids: by name, overrides with sweep values; they win over `params`. Empty: `params` alone make the sweep.
        given: the overrides of the command line; they win over both.
        presets: finds those that a `glob` matches.
        zipped: groups of keys, none twice. One that has a single value, and is no sweep, has it in every job.

    Raises:
        HydraException: a value that does not parse.
        WrongCommandError: there are no jobs, or far too many, or settings in step have not equally many values.
    """
    parser = OverridesParser.create(presets)
    overrides = parser.parse_overrides(list(given))
    common = [*parser.parse_overrides(_lines(params)), *overrides]
    wins = {_name(override) for override in overrides}
    own = [
        [override for override in parser.parse_overrides(_lines(grid)) if _name(override) not in wins]
        for grid in grids.values() or [{}]
    ]
    _check_known(zipped, [*common, *itertools.chain(*own)])
    # Of each grid, the keys that vary with its own.
    along = [
        {key for group in zipped if not {_name(entry) for entry in grid}.isdisjoint(group) for key in group}
        for grid in own
    ]
    starts = _product((entry for entry in common if _name(entry) not in set.intersection(*along)), zipped)
    ends = [
        _product([*(entry for entry in common if _name(entry) in taken), *grid], zipped)
        for grid, taken in zip(own, along, strict=True)
    ]
    jobs: dict[frozenset[str], list[str]] = {}
    for start in starts:
        for product in ends:
            for end in product:
                keys = {_key(entry) for entry in end}
                job = [*(entry for entry in start if _key(entry) not in keys), *end]
                jobs.setdefault(frozenset(job), job)
    return list(jobs.values())


def _check_known(zipped: Sequence[Sequence[str]], overrides: Sequence[Override]) -> None:
    swept = dict.fromkeys(_name(override) for override in overrides if override.is_sweep_override())
    for key in itertools.chain(*zipped):
        if key not in map(_name, overrides):
            among = ", ".join(swept) or "none, as the sweep has no lists of values"
            raise WrongCommandError(f"hydra.sweeper.zipped: got {key}, allowed: settings that are swept: {among}")


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [with_entry(f"{key}={'null' if value is None else value}") for key, value in settings.items()]


def _product(overrides: Iterable[Override], zipped: Sequence[Sequence[str]]) -> list[list[str]]:
    # Of a key that comes twice the later counts, in the place of the earlier.
    latest = {override.get_key_element(): override for override in overrides}
    values = {key: _values(override) for key, override in latest.items()}
    axes = _axes(latest, zipped)
    for keys in axes:
        if len({len(values[key]) for key in keys}) > 1:
            lengths = ", ".join(f"{key} with {len(values[key])}" for key in keys)
            raise WrongCommandError(f"hydra.sweeper.zipped: got {lengths} values, allowed: equally many of each")
    if math.prod(len(values[keys[0]]) for keys in axes) > _MOST_JOBS:
        names = ", ".join(key for key, among in values.items() if len(among) > 1)
        raise WrongCommandError(f"{names}: got a sweep of more than {_MOST_JOBS} jobs, allowed: fewer")
    steps = [list(zip(*([f"{key}={value}" for value in values[key]] for key in keys), strict=True)) for keys in axes]
    return [list(itertools.chain(*job)) for job in itertools.product(*steps)]


def _axes(overrides: Mapping[str, Override], zipped: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Keys that vary together, each with those in step with it, in the order of the first of them."""
    swept = {_name(override): key for key, override in overrides.items() if override.is_sweep_override()}
    groups = [tuple(swept[name] for name in group if name in swept) for group in zipped]
    group_of = {key: group for group in groups for key in group}
    return list(dict.fromkeys(group_of.get(key, (key,)) for key in overrides))


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


def _name(override: Override) -> str:
    """Its key, whether or not it is added."""
    return override.get_key_element().lstrip("+~")


def _key(override: str) -> str:
    return override.partition("=")[0]
