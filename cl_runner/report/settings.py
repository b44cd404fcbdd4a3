"""Settings of runs as columns: which of them vary, which to show, how to name, select and label by them."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from cl_runner.config.overrides import OPEN
from cl_runner.config.schema import INCIDENTAL, Config
from cl_runner.errors import ConfigError
from cl_runner.plain_text import printable

NAMES = {"method.name": "method", "benchmark.name": "benchmark", "model.name": "model"}
# What does not change the results, or is what a mean is taken over.
BOOKKEEPING = ("seed", *INCIDENTAL)
# Which of the given folders a run lies in: a setting where it is named, and else none.
FOLDER = "folder"
# A group's option chooses these settings too.
_CHOSEN_BY = {
    "method": ("method.", "freeze"),
    "benchmark": ("benchmark.", "train."),
    "model": ("model.",),
}


def _never_null(kind: type[Any], prefix: str) -> Iterator[str]:
    for field in fields(kind):
        key = f"{prefix}{field.name}"
        if is_dataclass(field.type):
            yield from _never_null(field.type, f"{key}.")  # type: ignore[arg-type]
        elif type(None) not in get_args(field.type):
            yield NAMES.get(key, key)


# Where such a setting is null, it does nothing.
_NEVER_NULL = set(_never_null(Config, ""))


def _is_never_null(key: object) -> bool:
    """Also of those of one's own code, which are null in runs without it."""
    return key in _NEVER_NULL or str(key).startswith(OPEN)


def shown(value: Any) -> str:
    """A setting's value as typed on the command line; equal numbers give equal text."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if value is None or pd.isna(value):
        return "null"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).lower() if str(value) in ("True", "False") else printable(str(value))


def as_column(values: Sequence[Any]) -> pd.Series:
    """A column of one type: booleans, integers, numbers (null is NaN), or words."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds == {int}:
        return pd.Series(values)
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return pd.Series(values, dtype=float)
    return pd.Series([None if value is None else shown(value) for value in values], dtype=object)


def varying(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of `keys` that differ between rows of `table`."""
    return [key for key in keys if table[key].nunique(dropna=False) > 1]


def acting_apart(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of `keys` that have several values where they act; that a setting does nothing is no value of it."""
    return [key for key in keys if _count(table[key]) > 1]


def idle(values: pd.Series) -> pd.Series:
    """In which runs, or rows, the setting with these values (a column of a table) does nothing."""
    return values.isna() & _is_never_null(values.name)


def distinguishing(table: pd.DataFrame, settings: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The settings by which runs are told apart, and what is left out as it follows from one of these.

    Settings that vary, but for the seed and bookkeeping; a value that is the same in all runs of a method (or of
    a benchmark) comes with that choice, and is returned in the second value: `{"method.mask": "method", ...}`. Where a
    setting does nothing follows from others, too.
    """
    candidates = acting_apart(table, [key for key in settings if key not in BOOKKEEPING])
    # The choices first: they are what the others follow from.
    candidates.sort(key=lambda key: (key not in ("benchmark", "method", "model"), not key.startswith("benchmark")))
    follows = {
        key: choice
        for choice, prefixes in reversed(_CHOSEN_BY.items())
        if choice in candidates
        for key in candidates
        if key != choice and key.startswith(prefixes) and _determined(table, key, choice)
    }
    return [key for key in candidates if key not in follows], follows


def _determined(table: pd.DataFrame, key: str, by: str) -> bool:
    return bool((table.groupby(by, dropna=False)[key].agg(_count) <= 1).all())


def _count(values: pd.Series) -> int:
    return values.nunique(dropna=_is_never_null(values.name))


def select(table: pd.DataFrame, settings: Sequence[str], condition: str, option: str) -> pd.DataFrame:
    """The rows that fulfil `condition`: `key=value`, or `key=value,value` for any of these.

    Raises:
        ConfigError: no such setting, or no such run; the message names `option` and says what there is.
    """
    key, equals, text = condition.partition("=")
    key = known(NAMES.get(key, key), settings, option)
    # Commas within brackets belong to a list, such as model.hidden=[100,100].
    canonical = (lambda folder: str(Path(folder))) if key == FOLDER else _canonical
    wanted = {canonical(value) for value in re.split(r",(?![^\[]*\])", text)}
    values = table[key].map(shown) if equals else pd.Series(dtype=object)
    selected = table[values.isin(wanted)] if equals else table[:0]
    if selected.empty:
        present = ", ".join(dict.fromkeys(map(shown, table[key].sort_values())))
        raise ConfigError(f"{option} {condition}: no finished run has it, allowed: {key}= one of {present}")
    return selected


def known(key: str, settings: Sequence[str], option: str) -> str:
    """`key` itself.

    Raises:
        ConfigError: it is not one of `settings`.
    """
    if key not in settings:
        near = difflib.get_close_matches(key, settings, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{option}: unknown setting {key}{hint}, allowed: {', '.join(sorted(settings))}")
    return key


def _canonical(text: str) -> str:
    text = text.strip().strip("'\"")
    if text.startswith("["):
        return f"[{','.join(_canonical(entry) for entry in text[1:-1].split(','))}]"
    for number in (int, float):
        try:
            return shown(number(text))
        except ValueError:
            continue
    return text.lower() if text.lower() in ("true", "false", "null") else text


def labels(rows: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """A short name for each of `rows`, which differ in `keys`: `ewc, ewc_lambda=10`.

    What is the same in all rows of a method tells none of them apart and is left out.
    """
    within = rows.groupby("method", dropna=False) if "method" in keys else None
    short = {key: key.rpartition(".")[2] for key in keys}
    ambiguous = {name for name in short.values() if list(short.values()).count(name) > 1}
    parts: list[list[str]] = [[] for _ in range(len(rows))]
    for key in keys:
        if key in ("method", "benchmark"):
            told = pd.Series(True, index=rows.index)
        elif within is not None:
            told = within[key].transform(lambda values: values.nunique(dropna=False)) > 1
        else:
            told = pd.Series(rows[key].nunique(dropna=False) > 1, index=rows.index)
        name = key if short[key] in ambiguous else short[key]
        for part, value, wanted in zip(parts, rows[key], told, strict=True):
            if wanted:
                part.append(shown(value) if key in ("method", "benchmark", "model") else f"{name}={shown(value)}")
    return [", ".join(part) for part in parts]
