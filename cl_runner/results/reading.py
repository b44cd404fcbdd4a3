"""Reading files that somebody else may have written: as data, whole, and no more than they can be expected to hold."""

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from cl_runner.errors import DamagedError

# Bytes of a file of settings or metrics, and of a table, at most: a hundred times what long runs write.
SETTINGS, TABLE = 2**22, 2**26
# Mappings and lists within one another, at most.
_DEPTH = 32
# Characters of a number, at most: longer ones take Python long, and are none of ours.
_DIGITS = 40
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
# libyaml's parser is ten times as fast, but not in every build of PyYAML.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(file: Path, most: int) -> bytes:
    """The content of a regular file.

    Raises:
        DamagedError: it is missing, unreadable, larger than `most` bytes, or of another kind, such as a pipe, which
            would keep its reader waiting.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(file, "is no regular file")
        with file.open("rb") as opened:
            content = opened.read(min(status.st_size, most) + 1)
    except OSError as error:
        raise DamagedError(file, error.strerror or str(error)) from error
    if len(content) > most:
        raise DamagedError(file, f"is larger than {most} bytes")
    return content


def read_tail(file: Path, most: int = 2**16) -> str:
    """The last `most` bytes of a text, such as a log; empty if there is none."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return ""
        with file.open("rb") as opened:
            opened.seek(max(0, status.st_size - most))
            return opened.read(most).decode("utf-8", errors="replace")
    except OSError:
        return ""


def parse_json(file: Path, content: bytes) -> Any:
    """The value that the content of `file` is in JSON, all of whose numbers are finite.

    Raises:
        DamagedError: it is not valid, or has a key twice, or nests too deeply.
    """
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refused,
            parse_float=_finite,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedError(file, f"not valid JSON: {error}") from error


def parse_yaml(file: Path, content: bytes) -> Any:
    """The value that the content of `file` is in YAML: mappings by words, lists, words, numbers, booleans and null.

    Aliases are refused, for of few lines they make a structure without end, or one that takes forever to go through.
    No run's file has any.

    Raises:
        DamagedError: it is not valid, or has a key twice, an alias or a value of another type, or nests too deeply.
    """
    try:
        loader = _Loader(content.decode())
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file.
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DamagedError(file, f"not valid YAML: {error.problem}{line}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DamagedError(file, f"not valid YAML: {' '.join(str(error).split())}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError("a number is too large")
    return int(digits)


def _check_nodes(root: yaml.Node) -> None:
    """Raises `ValueError` for what `parse_yaml` refuses, before anything is made of the nodes."""
    waiting, seen = [(root, 1)], set()
    while waiting:
        node, depth = waiting.pop()
        if id(node) in seen:
            raise ValueError("it has an alias, which no run writes")
        seen.add(id(node))
        if depth > _DEPTH:
            raise ValueError(f"it nests more than {_DEPTH} levels deep")
        if node.tag not in _PLAIN:
            raise ValueError(f"a value of type {re.sub(r'.*[:!]', '', node.tag)[:_DIGITS]}")
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag[-4:] == ":str"]
            if len(keys) < len(node.value):
                raise ValueError("a key that is no word")
            if len(set(keys)) < len(keys):
                raise ValueError("a key is there twice")
            waiting += [(item, depth + 1) for pair in node.value for item in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(item, depth + 1) for item in node.value]
        elif not node.tag.endswith(":str") and len(node.value) > _DIGITS:
            raise ValueError("a number is too large")
