"""What a setting allows, as data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        return value in self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(self.options)


@dataclass(frozen=True)
class Range:
    """A number between two ends; an open end is itself excluded."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        # What an interpolation brings here may be anything.
        if not isinstance(value, (int, float)):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low, high = (str(end) if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        if self.open_low:
            return f"above {low}, {'below' if self.open_high else 'at most'} {high}"
        return f"from {low} to {'below ' * self.open_high}{high}"


@dataclass(frozen=True)
class EachOf:
    """A list of at least one entry, each allowed by `entry`."""

    entry: Range

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        return isinstance(value, Sequence) and len(value) > 0 and all(self.entry.allows(item) for item in value)

    def __str__(self) -> str:
        return f"with at least one entry, each {self.entry}"


@dataclass(frozen=True)
class WordOrClasses:
    """One of a few words, or a list of distinct classes; OmegaConf has no type for that, so all is checked here."""

    words: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        if isinstance(value, str) or not isinstance(value, Sequence):
            return value in self.words
        whole = all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
        return whole and 0 < len(value) == len(set(value))

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}, or a list of distinct classes, as in [3,1,4,0]"


@dataclass(frozen=True)
class Words:
    """A list of words, in which OmegaConf would take lists too."""

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        return isinstance(value, Sequence) and all(isinstance(item, str) for item in value)

    def __str__(self) -> str:
        return ""


@dataclass(frozen=True)
class InStep:
    """A list of lists of settings, none of which is there twice."""

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        if not isinstance(value, Sequence) or not all(
            isinstance(group, Sequence) and not isinstance(group, str) and len(group) > 1 for group in value
        ):
            return False
        keys = [key for group in value for key in group]
        return all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)

    def __str__(self) -> str:
        return "of lists of two settings or more, none twice, as in [[train.epochs,train.learning_rate]]"


@dataclass(frozen=True)
class DottedName:
    """What something is imported by."""

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        parts = value.split(".") if isinstance(value, str) else []
        return len(parts) > 1 and all(part.isidentifier() for part in parts)

    def __str__(self) -> str:
        return "a dotted name, as in mine.nets.make_cnn"


@dataclass(frozen=True)
class PlainData:
    """A mapping of words to words, numbers, true, false, null, and lists and mappings of these."""

    def allows(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        if isinstance(value, Mapping):
            return all(isinstance(key, str) and self._holds(item) for key, item in value.items())
        return False

    def _holds(self, value: Any) -> bool:
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return all(map(self._holds, value))
        plain = value is None or isinstance(value, str | bool | int | float)
        return self.allows(value) or (plain and not (isinstance(value, float) and not math.isfinite(value)))

    def __str__(self) -> str:
        return "of words to plain values, as in {width: 16}"
