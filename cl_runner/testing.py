"""For tests of one's own parts of methods: what a part promises, in one call."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import chain
from typing import Any

from cl_runner.config.allowed import Choice, Range
from cl_runner.methods.part import Part

__all__ = ["check_part", "variants"]


def check_part(kind: type[Part], *settings: Mapping[str, Any]) -> list[str]:
    """Hold a part to what parts promise, so that sweeps give what single runs do.

    A run alone equals itself beside others in a stack; runs that share a row equal themselves apart, in parameters and
    in what the part has learned; stopped after any step and taken up equals undisturbed; no tensor of a step moves in
    memory, and no step waits for the device. All to the bit, in a domain- and a class-incremental benchmark, alone and
    with other parts.

    Args:
        kind: the class, at the top level of a module.
        settings: each a mapping of its settings, tried together; by default `variants(kind)`.

    Returns:
        What it has stood, in words.

    Raises:
        AssertionError: it does not keep a promise; says which, and where it shows.
        ConfigError: settings that it does not have.
    """
    from cl_runner.runs.contract import check

    return list(check(kind, settings or variants(kind)))


def variants(kind: type[Part]) -> list[dict[str, Any]]:
    """The default settings of a part, and those with one setting changed to each of its other values: of a range to its
    ends and its middle, of a number without a range to twice the default.

    Raises:
        ValueError: a setting has neither a default nor a range.
    """
    base = {item.name: _first(item) for item in fields(kind.Settings)}
    changed = ({**base, item.name: value} for item in fields(kind.Settings) for value in _values(item))
    found: list[dict[str, Any]] = []
    for one in chain([base], changed):
        if one not in found:
            found.append(one)
    return found


def _first(item: Any) -> Any:
    if item.default is not MISSING:
        return item.default
    if item.default_factory is not MISSING:
        return item.default_factory()
    value = next(_values(item), MISSING)
    if value is MISSING:
        raise ValueError(f"{item.name}: it has neither a default nor a range, so give settings to try")
    return value


def _values(item: Any) -> Iterator[Any]:
    allowed = item.metadata.get("allowed")
    if isinstance(allowed, Choice):
        yield from allowed.options
    elif isinstance(allowed, Range):
        ends = (allowed.low, allowed.high)
        whole = all(isinstance(end, int) for end in ends) and isinstance(item.default, int)
        middle = sum(ends) / 2 if ends[1] <= 1 else 1.0
        for value in (*ends, middle):
            if allowed.allows(value) and abs(value) <= 1000:
                yield int(value) if whole else float(value)
    elif item.type in (bool, "bool"):
        yield from (True, False)
    elif isinstance(item.default, int | float):
        yield 2 * item.default
