"""From a run's recorded settings, which are plain data, to a checked `Config`; nothing is composed or resolved."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from cl_runner.config.schema import Config
from cl_runner.errors import ConfigError

# Characters of a word, and entries of a list, at most.
_LONGEST = 4096


def checked_settings(settings: object) -> Config:
    """The settings of a run, each of its type and in its range.

    A setting that there was not yet when the run was recorded is what runs had before it. An interpolation such as
    `${oc.env:NAME}` stays text, for what it gives here and now is not what it gave then.

    Raises:
        ConfigError: a setting that is unknown, missing, of another type or out of range.
    """
    found = _checked(settings, Config, "")
    assert isinstance(found, Config)
    return found


def dotted(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a config by its name on the command line, such as `method.ewc_lambda`."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            yield from dotted(value, f"{prefix}{item.name}.")
        elif isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _entries(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _entries(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _checked(settings: object, schema: Any, prefix: str) -> Any:
    if not isinstance(settings, Mapping):
        told = "nothing" if settings is None else brief(settings)
        raise ConfigError(f"{prefix.rstrip('.') or 'settings'}: got {told}, allowed: settings by name")
    hints, values = _hints(schema), dict[str, Any]()
    for key in settings:
        if key not in hints:
            raise ConfigError(f"{prefix}{brief(key)}: unknown setting, allowed: {', '.join(hints)}")
    for name, (kinds, metadata) in hints.items():
        if is_dataclass(kinds[0]):
            values[name] = _checked(settings.get(name, {}), kinds[0], f"{prefix}{name}.")
        elif name not in settings and "before" in metadata:
            values[name] = metadata["before"]
        elif name in settings and _fits(settings[name], kinds, metadata):
            values[name] = float(settings[name]) if _is(float, settings[name]) and float in kinds else settings[name]
        else:
            told = _told(settings[name]) if name in settings else "nothing"
            raise ConfigError(f"{prefix}{name}: got {told}, allowed: {_described(prefix + name)}")
    return schema(**values)


def _fits(value: object, kinds: tuple[Any, ...], metadata: Mapping[str, Any]) -> bool:
    if value is None:
        # What the data say is recorded.
        return type(None) in kinds and "filled" not in metadata
    allowed = metadata.get("allowed")
    # Three question marks are OmegaConf's word for a value that is missing.
    return value != "???" and any(_is(kind, value) for kind in kinds) and (not allowed or bool(allowed.allows(value)))


@cache
def _hints(schema: Any) -> dict[str, tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """The types that each field may have, one or several, and its metadata."""
    types = get_type_hints(schema)
    return {
        item.name: (get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,), item.metadata)
        for item in fields(schema)
        for kind in [types[item.name]]
    }


def _is(kind: Any, value: object) -> bool:
    if kind is Any:
        # What it may be besides is said by what is allowed.
        return not isinstance(value, str | list) or len(value) <= _LONGEST
    if get_origin(kind) is dict:
        return isinstance(value, dict) and len(value) <= _LONGEST and all(map(_is_plain, value.items()))
    if get_origin(kind) is list:
        (entry,) = get_args(kind)
        return isinstance(value, list) and len(value) <= _LONGEST and all(_is(entry, item) for item in value)
    if kind in (int, float) and not isinstance(value, bool):
        # A larger one is neither a number of ours nor can it become one.
        return isinstance(value, (int, kind)) and abs(value) < 2.0**1000
    return type(value) is kind and not (isinstance(value, str) and len(value) > _LONGEST)


def _is_plain(entry: tuple[object, object]) -> bool:
    """Whether an entry of an open mapping has a word for a name, and a plain value."""
    name, value = entry
    if not isinstance(name, str) or len(name) > _LONGEST:
        return False
    if isinstance(value, dict):
        return len(value) <= _LONGEST and all(map(_is_plain, value.items()))
    if isinstance(value, list):
        return len(value) <= _LONGEST and all(_is_plain(("", item)) for item in value)
    return value is None or any(_is(kind, value) for kind in (bool, int, float, str))


def _told(value: object) -> str:
    told = brief(value)
    return f"{told}, an interpolation, which is not resolved here" if "${" in told else told


def _described(key: str) -> str:
    # Needs Hydra, which readers of good runs do without.
    from cl_runner.config.descriptions import describe

    return describe(key)


def brief(value: object) -> str:
    """What somebody else wrote, in a message: cut where it is long."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
