"""`cl-run check mine.si.SynapticIntelligence`: a part of one's own put to the test, see `cl_runner.testing`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import yaml

from cl_runner.errors import ContractError, RunError, WrongCommandError, in_words

_USAGE = "cl-run check MODULE.CLASS [SETTING=VALUE[,VALUE...] ...]"


def check(arguments: Sequence[str]) -> int:
    """Print what a part has stood, line by line; returns the exit code: 1 if it breaks a promise.

    Args:
        arguments: the dotted name of the class, and settings to try, all combinations of them; without any the default
            settings, and each setting at each of its other values.

    Raises:
        WrongCommandError, ConfigError: no such class or setting.
    """
    if not arguments or arguments[0].startswith("-"):
        print(f"{_USAGE}\n\n{__doc__}")
        return 0 if arguments else 2
    from cl_runner.methods.own import part_class
    from cl_runner.runs.contract import check as stood
    from cl_runner.testing import variants

    name, *given = arguments
    kind = part_class("check", name)
    try:
        settings = list(_combinations(given)) if given else variants(kind)
    except ValueError as error:
        raise WrongCommandError(
            f"check: {error}, as in cl-run check {name} {fields(kind.Settings)[0].name}=1"
        ) from error
    print(f"{name} in {len(settings)} settings")
    try:
        for words in stood(kind, settings):
            print(f"ok  {words}", flush=True)
    except ContractError as error:
        raise RunError(str(error)) from error
    except RunError:
        raise
    except Exception as error:
        # The part's own.
        raise RunError(in_words(error)) from error
    return 0


def _combinations(given: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    keys, values = [], []
    for setting in given:
        key, equals, text = setting.partition("=")
        if not equals or not text:
            raise WrongCommandError(f"check: got {setting}, allowed: SETTING=VALUE; {_USAGE}")
        keys.append(key)
        values.append([yaml.safe_load(value) for value in text.split(",")])
    for combination in product(*values):
        yield dict(zip(keys, combination, strict=True))
