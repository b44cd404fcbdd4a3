"""From the name of a part's class to the class, and from what a config says of it to its settings."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cl_runner.config.descriptions import describe
from cl_runner.config.imports import imported
from cl_runner.config.ranges import check_keys, check_ranges
from cl_runner.errors import ConfigError
from cl_runner.methods.part import Part
from cl_runner.methods.settings import OWN, Choice

# What the runner calls.
_HOOKS = [name for name, value in vars(Part).items() if callable(value) or isinstance(value, classmethod)]
_HOOKS = [name for name in _HOOKS if not name.startswith("_")]


def part_class(key: str, target: str) -> type[Part]:
    """The class of a part by its dotted name.

    Args:
        key: of the setting that names it, for errors.
        target: as in `mine.si.SynapticIntelligence`.

    Raises:
        ConfigError: it cannot be imported, is no part, or has no dataclass of settings.
    """
    found = imported(key, target)
    if not (isinstance(found, type) and issubclass(found, Part)):
        raise ConfigError(f"{key}: got {target}, allowed: a class derived from cl_runner.methods.part.Part")
    if not is_dataclass(getattr(found, "Settings", None)):
        raise ConfigError(f"{key}: got {target}, allowed: a part that has its settings as a dataclass, `Settings`")
    for name in vars(found):
        # Other methods of one's own may have like names.
        near = difflib.get_close_matches(name, _HOOKS, n=1, cutoff=0.0 if name.startswith("on_") else 0.85)
        if near and not hasattr(Part, name) and callable(getattr(found, name)):
            raise ConfigError(f"{key}: {target} has {name}, which is no hook, allowed: {', '.join(near)}")
    return found


def resolved(choice: Choice) -> tuple[type[Part], Any]:
    """Class and settings of a part that was checked."""
    kind = part_class("_target_", choice.target)
    settings = choice.settings
    return kind, kind.Settings(**settings) if isinstance(settings, Mapping) else settings


def checked_part(name: str, given: object, *, whole: bool = True) -> dict[str, Any]:
    """What a config says of a part of one's own, with the values that it leaves to the class; `whole`: all of them.

    Raises:
        ConfigError: no such class, or settings that it does not have, of another type, or missing.
    """
    key = f"method.parts.{name}"
    if not name.isidentifier() or name in OWN:
        raise ConfigError(
            f"method.parts: got the name {name}, allowed: names of letters, digits and _, but for {', '.join(OWN)}"
        )
    if not isinstance(given, Mapping) or not isinstance(given.get("_target_"), str):
        raise ConfigError(f"{key}: got {given}, allowed: a mapping with _target_, the dotted name of a class")
    kind = part_class(f"{key}._target_", given["_target_"])
    schema: Any = kind.Settings
    settings = OmegaConf.create({setting: value for setting, value in given.items() if setting != "_target_"})
    for item in fields(schema):
        if item.name not in settings and item.default is not NO_DEFAULT:
            settings[item.name] = item.default
        elif item.name not in settings and item.default_factory is not NO_DEFAULT:
            settings[item.name] = item.default_factory()
    check_keys(settings, schema, f"{key}.", whole=whole)
    try:
        typed = OmegaConf.structured(schema)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {given['_target_']}.Settings is no config: {str(error).splitlines()[0]}") from error
    # That of a frozen dataclass is.
    OmegaConf.set_readonly(typed, False)
    for setting in map(str, settings):
        try:
            # Not assigned: an integer is a number too.
            OmegaConf.update(typed, setting, settings[setting], merge=False)
        except OmegaConfBaseException as error:
            allowed = describe(f"{key}.{setting}", schema)
            told = "null" if settings[setting] is None else settings[setting]
            raise ConfigError(f"{key}.{setting}: got {told}, allowed: {allowed}") from error
    check_ranges(typed, schema, f"{key}.")
    plain = OmegaConf.to_container(typed)
    assert isinstance(plain, dict)
    return {"_target_": given["_target_"], **{str(setting): plain[setting] for setting in settings}}
