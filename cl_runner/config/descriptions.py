"""What a setting allows, in words."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.conf import HydraConf

from cl_runner.config.schema import Config
from cl_runner.config.sweep_schema import LAUNCHERS, SWEEPERS

_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word",
    list: "a list",
    list[int]: "a list of integers",
    list[str]: "a list of words",
    dict: "a mapping",
    Any: "anything",
}


def describe(key: str, owner: type | None = None) -> str:
    """What the setting `key` (dotted) allows; for an unknown key, what stands in its place.

    Args:
        key: of a run, of Hydra (`hydra.run.dir`, or a group `hydra/launcher`), or of a sweep's launcher or sweeper.
        owner: of a launcher's or sweeper's setting, or of a part's of one's own, the dataclass that it is in.
    """
    key = key.replace("/", ".")
    prefix, schema = _schema(key, owner)
    return _described(key.removeprefix(prefix).split("."), schema, prefix)


def is_known(key: str, owner: type | None = None) -> bool:
    """Whether there is such a setting."""
    prefix, schema = _schema(key, owner)
    kind: Any = schema
    for name in key.removeprefix(prefix).split("."):
        if not is_dataclass(kind) or name not in get_type_hints(kind):
            return False
        kind, _ = _without_null(get_type_hints(kind)[name])
    return True


def _schema(key: str, owner: type | None) -> tuple[str, type]:
    """The dataclass that says what `key` allows, and the part of `key` that leads to it."""
    if key.startswith(("hydra.launcher.", "hydra.sweeper.")) and is_dataclass(owner):
        # Those of others have groups.
        return key.rpartition(".")[0] + ".", owner
    if key.startswith("hydra.launcher."):
        return "hydra.launcher.", next(iter(LAUNCHERS.values()))
    if key.startswith("hydra.sweeper."):
        name = key.split(".")[2]
        known = next((sweeper for sweeper in SWEEPERS if name in get_type_hints(sweeper)), SWEEPERS[0])
        return "hydra.sweeper.", known
    if key.startswith("method.parts.") and key.count(".") > 2 and is_dataclass(owner):
        return ".".join(key.split(".")[:3]) + ".", owner
    if key.startswith("hydra."):
        return "hydra.", HydraConf
    return "", Config


def _described(names: list[str], schema: Any, prefix: str) -> str:
    *groups, name = names
    owner: Any = schema
    for number, group in enumerate(groups):
        owner = get_type_hints(owner).get(group)
        if not is_dataclass(owner):
            return _described(groups[: number + 1], schema, prefix)
    hints = {name: kind for name, kind in get_type_hints(owner).items() if name[0] != "_" and name != "defaults"}
    if name not in hints:
        near = difflib.get_close_matches(name, hints, n=1)
        hint = f" (did you mean {prefix}{'.'.join([*groups, near[0]])}?)" if near else ""
        return (", ".join(hints) or "no settings") + hint
    kind, optional = _without_null(hints[name])
    if is_dataclass(kind):
        # None of Hydra's own has options.
        options = "the name of one of its options, or " if schema is Config else ""
        return f"{options}its settings {', '.join(get_type_hints(kind))}"
    metadata: Mapping[str, Any] = next((item.metadata for item in fields(owner) if item.name == name), {})
    return (metadata.get("words") or _kind(kind, metadata.get("allowed"))) + (", or null" if optional else "")


def _kind(kind: Any, limit: Any) -> str:
    if kind in (str, Any) and limit:
        return str(limit)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(kind.__members__)
    # Hydra's are written as `typing.List`.
    origin: Any = get_origin(kind)
    words = _KINDS.get(origin[get_args(kind)] if origin is list else kind) or _KINDS.get(origin) or str(kind)
    return f"{words} {limit or ''}".strip()


def _without_null(kind: Any) -> tuple[Any, bool]:
    """A type without its None, and whether it had one."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(part for part in get_args(kind) if part is not type(None)), True
    return kind, False
