"""The space of a search: for each of its settings the values that it may take."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cl_runner.config.overrides import with_entry
from cl_runner.errors import ConfigError

SPACE = "hydra.sweeper.space"
_FORMS = "uniform(a, b), log(a, b), int(a, b) or choice(x, y, ...)"
# What makes other problems of a run, whose scores do not compare, or another run of the same settings.
_NOT_SEARCHED = ("benchmark", "seed", "hydra", "experiment", "objective")
_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
# A value as Optuna has it, and records can hold it.
Value = float | int | str


@dataclass(frozen=True)
class Dimension:
    """What one setting may be: a number from `low` to `high`, or one of `choices`, each as it is said to Hydra."""

    kind: Literal["uniform", "log", "int", "choice"]
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()

    @property
    def ends(self) -> list[Value]:
        """Values that are wrong if any is."""
        if self.kind == "choice":
            return list(self.choices)
        ends = self.low, self.high
        return [int(end) for end in ends] if self.kind == "int" else list(ends)

    def suggested(self, key: str, trial: Any) -> Value:
        """What an Optuna trial is to try."""
        found: Value
        if self.kind == "choice":
            found = trial.suggest_categorical(key, self.choices)
        elif self.kind == "int":
            found = trial.suggest_int(key, int(self.low), int(self.high))
        else:
            found = trial.suggest_float(key, self.low, self.high, log=self.kind == "log")
        return found


def parsed(space: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions of a space by the keys of the settings.

    Raises:
        ConfigError: there are none, or one is not of the form it should have, or of a setting that cannot be searched.
    """
    if not space:
        raise ConfigError(f'{SPACE}: got nothing, allowed: ranges by key, as in {{freeze: "uniform(0.1, 0.99)"}}')
    return {key: _dimension(key, value) for key, value in _flat(space)}


def _flat(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted keys, however they were nested: `hydra.sweeper.space.method.ewc_lambda=...` nests."""
    for name, value in space.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _dimension(key: str, value: Any) -> Dimension:
    place = f"{SPACE}.{key}"
    if not re.fullmatch(r"\w[\w./]*", key):
        raise ConfigError(f"{place}: got the key {key}, allowed: the name of a setting")
    if re.split(r"[./]", key)[0] in _NOT_SEARCHED:
        raise ConfigError(f"{place}: a search cannot be over {key}, allowed: settings of model, train, fisher, method")
    call = _CALL.fullmatch(str(value))
    kind = call[1] if call else ""
    if call is None or kind not in ("uniform", "log", "int", "choice"):
        raise ConfigError(f"{place}: got {value}, allowed: {_FORMS}")
    if kind == "choice":
        return Dimension("choice", choices=_choices(place, str(value).strip()))
    try:
        low, high = (int(text) if kind == "int" else float(text) for text in call[2].split(","))
    except ValueError:
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise ConfigError(f"{place}: got {value}, allowed: {kind}(a, b) of two {numbers}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{place}: got {value}, allowed: a below b")
    if kind == "log" and low <= 0:
        raise ConfigError(f"{place}: got {value}, allowed: a above 0")
    return Dimension(kind, low, high)  # type: ignore[arg-type] # it is one of them


def _choices(place: str, value: str) -> tuple[str, ...]:
    """The values of a choice, in Hydra's grammar."""
    try:
        override = OverridesParser.create().parse_override(f"key={value}")
        found = tuple(override.sweep_string_iterator())
    except (HydraException, ValueError) as error:
        raise ConfigError(f"{place}: got {value}, allowed: choice(x, y, ...) of values in Hydra's grammar") from error
    if len(set(found)) < max(2, len(found)):
        raise ConfigError(f"{place}: got {value}, allowed: choice(x, y, ...) of two values at least, each once")
    return found


def overrides(values: Mapping[str, Value], given: Sequence[str], seed: int | None = None) -> list[str]:
    """The overrides of a job: those of the command line, but for what `values` set, or the seed."""
    own: dict[str, Value] = {**values, **({} if seed is None else {"seed": seed})}
    kept = [entry for entry in given if entry.partition("=")[0].lstrip("+") not in own]
    return [*kept, *(with_entry(f"{key}={value}") for key, value in own.items())]
