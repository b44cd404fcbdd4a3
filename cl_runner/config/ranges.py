"""Each setting by itself: whether it is known, has a value, and is in its range."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.descriptions import describe
from cl_runner.config.refusals import refusal
from cl_runner.errors import ConfigError


def check_keys(settings: DictConfig, schema: Any, prefix: str = "", *, whole: bool = True) -> None:
    """Whether a composed config has the settings of `schema`, all of them if `whole`, and no others.

    Raises:
        ConfigError: an unknown setting, or one without a value, or with one that cannot be looked up.
    """
    hints = _hints(schema)
    for name in map(str, settings):
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: unknown setting, allowed: {describe(prefix + name, schema)}")
    for name, kind in hints.items():
        try:
            # An interpolation is looked up only now.
            value = settings[name]
        except OmegaConfBaseException as error:
            if whole and (name not in settings or OmegaConf.is_missing(settings, name)):
                raise ConfigError(f"{prefix}{name}: got nothing, allowed: {describe(prefix + name, schema)}") from error
            raise refusal(error, f"{prefix}{name}") from error
        if is_dataclass(kind):
            check_keys(value, kind, f"{prefix}{name}.")


def check_ranges(settings: Any, schema: type, prefix: str = "") -> None:
    """Whether each setting is in its range, which is all that can be said of a sweep before its jobs are composed.

    Args:
        settings: an instance of `schema`, or a composed config, in which what a sweep has still to set may be missing.
        schema: the dataclass that says what is allowed.
        prefix: of the settings' names in messages.

    Raises:
        ConfigError: a value out of range.
    """
    for key, value, allowed in _limits(settings, schema, prefix):
        if not allowed.allows(value):
            given = "null" if value is None else value
            raise ConfigError(f"{key}: got {given}, allowed: {describe(key, schema)}")


@cache
def _hints(schema: Any) -> dict[str, Any]:
    return get_type_hints(schema)


def _limits(settings: Any, schema: type, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    hints = _hints(schema)
    for item in fields(schema):
        if isinstance(settings, DictConfig):
            if item.name not in settings:
                continue
            # Not as an attribute: a mapping has an `update` of its own.
            value = settings[item.name]
        else:
            value = getattr(settings, item.name)
        if is_dataclass(hints[item.name]):
            yield from _limits(value, hints[item.name], f"{prefix}{item.name}.")
        # What may be null is so by its type.
        elif "allowed" in item.metadata and not (value is None and type(None) in get_args(hints[item.name])):
            yield f"{prefix}{item.name}", value, item.metadata["allowed"]
